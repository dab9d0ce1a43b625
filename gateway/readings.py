"""What operators look at: reasons not to be ready, and readings taken only when somebody scrapes the metrics."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime

from crypto.certificates import Certificate
from gateway.core.canonical import format_time
from gateway.core.policy import MODES
from gateway.flow.degraded import Absence
from gateway.flow.ports import CheckpointRow
from gateway.flow.rooms import Rooms
from gateway.home import Home
from gateway.net import metrics
from gateway.net.ops import Away, LevelLeft, NotReady

DAY = 86_400.0


class NotReadyReasons:
    """``net.ops.Readiness``: answers from memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def __call__(self) -> Sequence[NotReady]:
        """What stands in the way of taking and accepting documents now."""
        return [NotReady(code=obstacle.code, text=f"{obstacle.zh}：{obstacle.en}") for obstacle in self._rooms.obstacles()]


class Absences:
    """``net.ops.Absences``: what is away, from memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def __call__(self) -> Sequence[Away]:
        """What is away now, and how long each level goes on."""
        return [_away(absence) for absence in self._rooms.degraded.absences()]


def _away(absence: Absence) -> Away:
    levels = (
        LevelLeft(
            level=stand.level,
            until=format_time(stand.until) if stand.until is not None else None,
            seconds_left=stand.left,
            stopped=stand.stopped,
        )
        for stand in absence.stands
    )
    return Away(mode=absence.mode, subject=absence.subject, since=format_time(absence.since), levels=tuple(levels))


class Readings:
    """Gauges that are looked up at a scrape."""

    def __init__(self, home: Home, rooms: Rooms) -> None:
        self._rooms = rooms
        self._home = home
        names = ["tls"] + [f"{use}-{suite}" for suite in rooms.standing.signers for use in ("sign", "encrypt")]
        self._certificates: dict[str, Certificate] = {name: home.certificate(name) for name in names}

    async def collect(self) -> metrics.Readings:
        """The readings now."""
        rooms, now = self._rooms, self._rooms.clock.now()
        checkpoint = await rooms.ledger.latest_checkpoint()
        absences = rooms.degraded.absences()
        return metrics.Readings(
            queues=self._queues(now),
            log_sizes={_origin(checkpoint): checkpoint.size} if checkpoint else {},
            open_uploads=len(rooms.uploads.all()),
            offers_waiting=dict(rooms.pressure.waiting),
            certificate_days={
                name: (certificate.not_after - now).total_seconds() / DAY for name, certificate in self._certificates.items()
            },
            directory_days=(rooms.standing.directory.expires - now).total_seconds() / DAY,
            disk_free_bytes=shutil.disk_usage(self._home.data).free,
            degraded={mode: sum(absence.mode == mode for absence in absences) for mode in MODES},
            degraded_seconds_left=_seconds_left(absences),
        )

    def _queues(self, now: datetime) -> dict[str, metrics.Queue]:
        queues: dict[str, metrics.Queue] = {}
        for (_, peer), (depth, oldest) in self._rooms.agenda.depth().items():
            age = max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
            known = queues.get(peer or "office")
            queues[peer or "office"] = metrics.Queue(
                depth=depth + (known.depth if known else 0), oldest_seconds=max(age, known.oldest_seconds if known else 0.0)
            )
        return queues


def _seconds_left(absences: Sequence[Absence]) -> dict[tuple[str, str], float]:
    """The shortest time by mode and level."""
    found: dict[tuple[str, str], float] = {}
    for absence in absences:
        for stand in absence.stands:
            if stand.left is not None:
                key = absence.mode, stand.level
                found[key] = min(stand.left, found.get(key, stand.left))
    return found


def _origin(checkpoint: CheckpointRow) -> str:
    """Whose log it is: the first line of the note (C2SP tlog-checkpoint)."""
    return checkpoint.note.split(b"\n", 1)[0].decode()
