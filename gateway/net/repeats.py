"""What was answered lately, so that a repeat of the very same cover by the same peer gets the same bytes without being verified again.

Sound because nothing is decided anew: the first answer was receipts, durable before it left, and format.md says a repeat of a transmittal gets
the bytes given then. The key is a digest over peer and cover; content behind a repeated cover is not looked at there either. Only receipts
are kept, never a problem. What is not here is answered from the database, as after a restart.
"""

from __future__ import annotations

from collections import OrderedDict

from crypto.digests import digest_raw


class Repeats:
    """A bounded map from (peer, cover) to the frame of receipts it was answered with; the oldest goes first."""

    CEILING = 4 * 1024 * 1024  # about 1,400 answers with one receipt: half a minute of a busy gateway, as long as a cut line is noticed
    BRING_AGAIN_SECONDS = 10.0  # receipts stated later are put on their way again no sooner: it costs a query and a sync of the disk
    LARGEST = 64 * 1024  # an answer with more than some twenty receipts is rare and would push out many others

    def __init__(self) -> None:
        self._frames: OrderedDict[bytes, bytes] = OrderedDict()
        self._told: dict[bytes, float] = {}
        self._used = 0

    @staticmethod
    def name(peer: str, cover: bytes) -> bytes:
        """The key of this cover from this peer."""
        return digest_raw("sha256", peer.encode() + b"\0" + cover)  # hashlib would let go of the interpreter, and wait for it again

    def answered(self, name: bytes) -> bytes | None:
        """The frame given then, if it is still here."""
        return self._frames.get(name)

    def bring_again(self, name: bytes, now: float) -> bool:
        """Whether what was stated after that frame should be brought again: not when that was done a moment ago."""
        if now - self._told.get(name, -self.BRING_AGAIN_SECONDS) < self.BRING_AGAIN_SECONDS:
            return False
        self._told[name] = now
        return True

    def not_brought(self, name: bytes) -> None:
        """It could not be done: the next repeat tries again."""
        self._told.pop(name, None)

    def keep(self, name: bytes, frame: bytes) -> None:
        """This was answered."""
        if len(frame) > self.LARGEST or name in self._frames:
            return
        self._frames[name] = frame
        self._used += len(frame)
        while self._used > self.CEILING:
            oldest, gone = self._frames.popitem(last=False)
            self._told.pop(oldest, None)
            self._used -= len(gone)
