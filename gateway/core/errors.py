"""Errors of the rooms above ``crypto``, in the same two families (``crypto.errors``): ours and theirs.

The families say whom to blame; ``ProblemError`` is the one shape in which an arrival is answered without a receipt.
"""

from __future__ import annotations

from crypto.errors import LocalError, RemoteError


class ProblemError(RemoteError):
    """A peer's request is answered by a problem document instead of a receipt; never ends an exchange.

    ``problem`` is the stable word the peer sees (docs/protocol.md, Problems); the message is for our own log.
    """

    code = "problem"

    def __init__(self, problem: str, message: str, /, *, retryable: bool, **facts: object) -> None:
        super().__init__(message, problem=problem, retryable=retryable, **facts)
        self.problem = problem
        self.retryable = retryable


class Unreachable(RemoteError):
    """A peer, an authority or an office did not answer. Try again later."""

    code = "unreachable"


class PeerProblem(RemoteError):
    """A peer answered with a problem document. Facts: ``problem``, ``retryable``, ``retry_after`` (seconds or None)."""

    code = "peer-problem"


class AlreadyOpen(LocalError):
    """This exchange (or this office offer) is open already. Fact: ``exchange``, the id that was there first."""

    code = "already-open"


class NameTaken(LocalError):
    """Another arrival has this name in the office already. Fact: ``name``."""

    code = "name-taken"


class Superseded(LocalError):
    """The passage is no longer in a state this step expects. Fact: ``state``, the state found."""

    code = "superseded"


class JournalStopped(LocalError):
    """The journal met a failure it may not continue after; the process must stop and recover."""

    code = "journal-stopped"


class LogBehind(JournalStopped):
    """The database has signed more than it holds: an older copy was put back. Facts: ``size`` there, ``mark`` signed."""

    code = "log-behind"


class NoRoom(LocalError):
    """Not enough disk head-room for what was about to be written."""

    code = "no-room"


class TooManyUploads(RemoteError):
    """A peer holds as many open uploads as it may."""

    code = "too-many-uploads"


class PartChanged(RemoteError):
    """A part of an offer is not what it was when the offer was made."""

    code = "part-changed"


class OfferGone(RemoteError):
    """The office no longer has the offer an exchange was opened for."""

    code = "offer-gone"


class OfficeUnavailable(LocalError):
    """The office system cannot take a delivery now. Try again later."""

    code = "office-unavailable"


class BadInput(RemoteError):
    """A person's or an office's input does not hold. Fact: ``reasons``, a tuple of explain.Reason."""

    code = "bad-input"


class BadConfiguration(LocalError):
    """A configuration or policy file cannot be used; names file and key."""

    code = "bad-configuration"
