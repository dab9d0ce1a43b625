"""ROOM 3: office systems. One file a kind; each implements ``flow.ports.OfficeSystem`` and nothing more."""
