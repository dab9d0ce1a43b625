"""People of the office as the log names them: by a random account number, for a log cannot forget (docs/format.md, Leaf).

Which number is whose stands in two small values beside the log, both erasable: the number under a keyed digest of the account, and the
account, sealed, under its number.
"""

from __future__ import annotations

import base64

from crypto.randomness import random_bytes
from gateway.core.step import Remember, Step
from gateway.flow.alone import Alone
from gateway.flow.rooms import Rooms


class Accounts:
    """Numbers of the accounts of one office, or (``of``) of another circle of people: the same name there is another account."""

    def __init__(self, rooms: Rooms, *, of: str | None = None) -> None:
        self._rooms = rooms
        self._of = of or rooms.office.name
        self._alone = Alone()

    async def number(self, account: str) -> str:
        """The account's number, the same each time; any name an operating system gives will do."""
        key = self._rooms.standing.storage_key
        known_as = f"account/{key.digest('account', f'{self._of}/{account}')}"
        async with self._alone.under(known_as):
            number = await self._rooms.ledger.remembered(known_as)
            if number is None:
                number = f"a-{random_bytes(8).hex()}"
                sealed = key.seal(account.encode("utf-8", "surrogateescape"), name_of(number).encode())
                named = Remember(name=name_of(number), value=base64.b64encode(sealed).decode())
                await self._rooms.record(Step(changes=(Remember(name=known_as, value=number), named)))
        return number


def name_of(number: str) -> str:
    """Under which the sealed account is remembered; also what its seal is bound to."""
    return f"account-name/{number}"
