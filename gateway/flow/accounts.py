"""People of the office as the log names them: by a random account number, for a log cannot forget (docs/format.md, Leaf).

Which number is whose stands in two small values beside the log, both erasable: the number under a keyed digest of the account, and the
account, sealed, under its number.
"""

from __future__ import annotations

import base64

from crypto.content_cipher import StorageKey
from crypto.randomness import random_bytes
from gateway.core.step import Remember, Step
from gateway.flow.alone import Alone
from gateway.flow.rooms import Rooms

OPERATORS = "operators"  # the circle of people who act at the command line


class Accounts:
    """Numbers of the accounts of one office, or (``of``) of another circle of people: the same name there is another account."""

    def __init__(self, rooms: Rooms, *, of: str | None = None) -> None:
        self._rooms = rooms
        self._of = of or rooms.office.name
        self._alone = Alone()

    async def number(self, account: str) -> str:
        """The account's number, the same each time; any name an operating system gives will do."""
        key = self._rooms.standing.storage_key
        known_as = known_name(key, self._of, account)
        async with self._alone.under(known_as):
            number = await self._rooms.ledger.remembered(known_as)
            if number is None:
                number, values = fresh_number(key, known_as, account)
                await self._rooms.record(Step(changes=tuple(Remember(name=name, value=value) for name, value in values.items())))
        return number


def known_name(key: StorageKey, of: str, account: str) -> str:
    """Under which the number of an account is remembered."""
    return f"account/{key.digest('account', f'{of}/{account}')}"


def fresh_number(key: StorageKey, known_as: str, account: str) -> tuple[str, dict[str, str]]:
    """A number nobody has, and the two values to remember with it."""
    number = f"a-{random_bytes(8).hex()}"
    sealed = key.seal(account.encode("utf-8", "surrogateescape"), name_of(number).encode())
    return number, {known_as: number, name_of(number): base64.b64encode(sealed).decode()}


def name_of(number: str) -> str:
    """Under which the sealed account is remembered; also what its seal is bound to."""
    return f"account-name/{number}"
