"""Carrying out steps inside the open transaction, as few statements as possible.

The rows of all members of a batch are grouped by statement and executed in bulk. That is the same as one member after the other as long
as none conflicts and none depends on what another did to the same row before: work keyed alike and passages moved twice are folded while
grouping, everything else that depends on order raises ``NotTogether``. So does every conflict. The caller then rolls the batch back to
its start and gives each member a savepoint of its own, in which exactly the conflicting ones fail; ``name_conflict`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from crypto.errors import LocalError
from gateway.core.errors import AlreadyOpen, NameTaken, Superseded
from gateway.core.exchange import State
from gateway.core.step import Advance, Finish, Keep, KeepReceipt, KeepSealed, OpenExchange, Remember, Schedule, Step, Work
from gateway.store.statements import Row, Statements, advance_row, exchange_row, passage_rows, receipt_row, sealed_row, work_row


class NotTogether(Exception):
    """These members cannot be carried out in bulk. No verdict about any of them, unless there is only one."""


@dataclass(frozen=True, slots=True)
class _Gone:
    """The work under a key ends up finished: whatever it carries (None), or only while it carries one of these details."""

    details: frozenset[bytes] | None


class Together:
    """The rows of one or many steps, grouped by statement."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        # In the order of execution: a row comes after the exchange it refers to.
        self._exchanges: list[Row] = []
        self._passages: list[Row] = []
        self._sealed: list[Row] = []
        self._envelopes: list[Row] = []
        self._contents: list[Row] = []
        self._receipts: list[Row] = []
        self._kept: list[Row] = []
        self._moves: dict[tuple[str, str, str], tuple[list[str], Advance]] = {}
        self._work: dict[str, Work | _Gone] = {}
        self._remembered: dict[str, str] = {}
        self._tokens: dict[int, bytes] = {}
        self._mentioned: set[tuple[str, str]] = set()

    def take(self, step: Step, leaves: Mapping[str, int]) -> None:
        """Add a member; ``leaves`` gives the index of its leaf about an object. Raises NotTogether."""
        for change in step.changes:
            self._TAKE[type(change)](self, change, leaves)

    def carry_out(self, cursor: Any) -> None:
        """Execute. Raises NotTogether, or the driver's IntegrityError, which says the same."""
        say = self._statements
        bulk = (
            (say.exchange, self._exchanges),
            (say.passage, self._passages),
            (say.sealed, self._sealed),
            (say.envelope, self._envelopes),
            (say.content, self._contents),
            (say.receipt, self._receipts),
            (say.keep, self._kept),
            (say.remember, list(self._remembered.items())),
        )
        for text, rows in bulk:
            if rows:
                cursor.executemany(text, rows)
        self._carry_out_moves(cursor)
        self._carry_out_work(cursor)
        self._carry_out_tokens(cursor)

    def _open(self, change: OpenExchange, _leaves: Mapping[str, int]) -> None:
        if (change.direction, change.key) in self._mentioned:
            raise NotTogether  # something spoke of it before it was there
        self._exchanges.append(exchange_row(change))
        self._passages += passage_rows(change)

    def _keep_sealed(self, change: KeepSealed, _leaves: Mapping[str, int]) -> None:
        self._mentioned.add((change.direction, change.exchange))
        self._sealed.append(sealed_row(change))
        self._envelopes += [(change.direction, change.exchange, org, body) for org, body in change.envelopes]
        if change.content is not None and change.content.inline is not None:
            self._contents.append((change.direction, change.exchange, change.content.inline))

    def _advance(self, change: Advance, _leaves: Mapping[str, int]) -> None:
        self._mentioned.add((change.direction, change.exchange))
        key = (change.direction, change.exchange, change.recipient)
        before = self._moves.get(key)
        if before is None:
            self._moves[key] = (sorted(change.expect), change)
        elif before[1].to in change.expect:
            self._moves[key] = (before[0], change)
        else:
            raise NotTogether

    def _keep_receipt(self, change: KeepReceipt, leaves: Mapping[str, int]) -> None:
        self._mentioned.add((change.direction, change.exchange))
        self._receipts.append(receipt_row(change, leaves.get(change.digest)))

    def _schedule(self, change: Schedule, _leaves: Mapping[str, int]) -> None:
        self._work[change.work.key] = change.work

    def _finish(self, change: Finish, _leaves: Mapping[str, int]) -> None:
        before = self._work.get(change.key)
        if change.detail is None:
            self._work[change.key] = _Gone(None)
        elif before is None:
            self._work[change.key] = _Gone(frozenset({change.detail}))
        elif isinstance(before, Work):
            if before.detail == change.detail:
                self._work[change.key] = _Gone(None)
        elif before.details is not None:
            self._work[change.key] = _Gone(before.details | {change.detail})

    def _keep(self, change: Keep, _leaves: Mapping[str, int]) -> None:
        if change.shelf == "token":
            self._tokens.setdefault(int(change.name), change.body)
        else:
            self._kept.append((change.shelf, change.name, change.body))

    def _remember(self, change: Remember, _leaves: Mapping[str, int]) -> None:
        self._remembered[change.name] = change.value

    _TAKE: ClassVar[dict[type, Callable[[Together, Any, Mapping[str, int]], None]]] = {
        OpenExchange: _open,
        KeepSealed: _keep_sealed,
        Advance: _advance,
        KeepReceipt: _keep_receipt,
        Schedule: _schedule,
        Finish: _finish,
        Keep: _keep,
        Remember: _remember,
    }

    def _carry_out_moves(self, cursor: Any) -> None:
        by_count: dict[int, list[Row]] = {}
        for states, change in self._moves.values():
            by_count.setdefault(len(states), []).append(advance_row(change, states))
        for count, rows in by_count.items():
            cursor.executemany(self._statements.advance(count), rows)
            if cursor.rowcount != len(rows):
                raise NotTogether  # one of them is not in a state its step expects

    def _carry_out_work(self, cursor: Any) -> None:
        due: list[Row] = []
        finished: list[Row] = []
        finished_same: list[Row] = []
        for key, end in self._work.items():
            if isinstance(end, Work):
                due.append(work_row(end))
            elif end.details is None:
                finished.append((key,))
            else:
                finished_same += [(key, detail) for detail in end.details]
        for text, rows in (
            (self._statements.schedule, due),
            (self._statements.finish, finished),
            (self._statements.finish_same, finished_same),
        ):
            if rows:
                cursor.executemany(text, rows)

    def _carry_out_tokens(self, cursor: Any) -> None:
        for size, token in self._tokens.items():
            cursor.execute(self._statements.token, (token, size))
            if cursor.rowcount == 0 and cursor.execute(self._statements.find_checkpoint, (size,)).fetchone() is None:
                raise NotTogether


def name_conflict(cursor: Any, statements: Statements, step: Step) -> LocalError | AssertionError:
    """Why a member could not be carried out by itself, now that it is undone."""
    moved: dict[tuple[str, str, str], State | None] = {}
    for change in step.changes:
        error: LocalError | None = None
        if isinstance(change, OpenExchange):
            error = _already_open(cursor, statements, change)
            moved.update({(change.direction, change.key, recipient): change.state for recipient in change.recipients})
        elif isinstance(change, KeepSealed):
            error = _already_sealed(cursor, statements, change)
        elif isinstance(change, Advance):
            key = (change.direction, change.exchange, change.recipient)
            state = moved[key] if key in moved else _state(cursor, statements, key)
            error = None if state in change.expect else _superseded(change, state)
            moved[key] = change.to
        if error is not None:
            return error
    return AssertionError("internal: a step contradicts itself or names what is not there")


def _already_open(cursor: Any, statements: Statements, change: OpenExchange) -> AlreadyOpen | NameTaken | None:
    found = cursor.execute(statements.find_exchange, (change.direction, change.key)).fetchone()
    if found is None and change.direction == "out" and change.source:
        found = cursor.execute(statements.find_offer, (change.office, change.source, change.content_digest)).fetchone()
    if found is None:
        taken = change.name and cursor.execute(statements.find_name, (change.name,)).fetchone()
        return NameTaken(f"{taken[0]} is {change.name} in the office", name=change.name) if taken else None
    exchange, sender_org, content_digest = found
    return AlreadyOpen(f"exchange {exchange} is open already", exchange=exchange, sender_org=sender_org, content_digest=content_digest)


def _already_sealed(cursor: Any, statements: Statements, change: KeepSealed) -> Superseded | None:
    found = cursor.execute(statements.find_sealed, (change.direction, change.exchange)).fetchone()
    if found is None:
        return None
    return Superseded(f"exchange {change.exchange} is sealed already", state=None, transmittal_digest=found[0])


def _state(cursor: Any, statements: Statements, key: tuple[str, str, str]) -> State | None:
    found = cursor.execute(statements.find_state, key).fetchone()
    return None if found is None else State(found[0])


def _superseded(change: Advance, state: State | None) -> Superseded:
    expected = ", ".join(sorted(change.expect))
    return Superseded(f"{change.direction} {change.exchange} to {change.recipient} is {state}, not one of {expected}", state=state)
