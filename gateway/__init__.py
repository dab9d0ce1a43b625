"""The gateway: core (pure), flow (the journey), store and net (the outside), app (composition root), cli."""

__version__ = "0.1.0"
