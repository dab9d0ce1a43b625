"""The attacker of ``test_hostile_crowd``, a process of its own: every trick at once, again and again, until it is ended.

    python -m tests.faults.hostile_attacker HOME SUITE VICTIM_ORG HOST PORT [TRICK …]

It holds the keys of a member of the network and the addresses 127.0.0.2 (as a stranger) and 127.0.0.3 (as that member). It makes what needs
signing first, says ``ready``, attacks, and tells at its end how often it did what and what it heard, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import ssl
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from crypto.errors import YizhanError
from gateway.flow.ports import SignedReceipt
from gateway.home import Home
from gateway.net.frames import CONTENT_TYPE, EXCHANGE_TYPE, RECEIPTS_TYPE, pack_receipts
from gateway.net.tls import TlsIdentity, _as_file
from tests.faults.hostile import Forge, Made, forge_of, good_content, head

STRANGER, MEMBER = "127.0.0.2", "127.0.0.3"
HALF_OPEN = 300
REPLAYERS, FORGERS = 8, 6
POISONED = 40


def tls(identity: TlsIdentity | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if identity is not None:
        with _as_file(identity.chain) as chain, _as_file(identity.key) as key:
            context.load_cert_chain(chain, key, password=identity.password)
    return context


class Attack:
    def __init__(self, forge: Forge, identity: TlsIdentity, host: str, port: int) -> None:
        self.forge = forge
        self.member, self.nobody = tls(identity), tls(None)
        self.place = (host, port)
        self.heard: Counter[str] = Counter()
        self.good: Made
        self.poisoned: list[Made] = []
        self.forged: list[bytes] = []

    async def prepare(self) -> None:
        """What must be signed beforehand: one good exchange, crowded ones, and poisoned contents."""
        self.good = await self.forge.good()
        self.crowded = await self._with_content(lambda zip_: zip_, others=999)
        tricks = (
            lambda zip_: zip_.replace(b"\x00\x00\x21\x00", b"\x01\x00\x21\x00", 1),  # another time
            lambda zip_: b"MZ" * 50 + zip_,  # a prefix
            lambda zip_: zip_ + zip_,
            lambda zip_: zip_[:8] + b"\x08" + zip_[9:],  # says it is compressed
            lambda zip_: zip_[:14] + b"\xff" * 12 + zip_[26:],
            lambda zip_: os.urandom(len(zip_)),
        )
        self.poisoned = [await self._with_content(tricks[number % len(tricks)]) for number in range(POISONED)]
        for made in [self.good, *self.poisoned[:4]]:
            for _ in range(10):  # a bit of the signature, which is verified before it is found out
                at = made.cover.rindex(b"\x30\x45") if b"\x30\x45" in made.cover else len(made.cover) // 2
                spot = at + 12 + random.randrange(40)
                cover = made.cover[:spot] + bytes([made.cover[spot] ^ 1]) + made.cover[spot + 1 :]
                self.forged.append(head("POST", "/v1/exchanges", EXCHANGE_TYPE, len(cover) + len(made.content)) + cover + made.content)

    async def _with_content(self, bend, others: int = 0) -> Made:
        exchange = self.forge.new_id()
        zip_, manifest = good_content(self.forge.standing, self.forge.suite, exchange, os.urandom(3000))
        return await self.forge.make(exchange, bend(zip_), manifest, others=others)

    # ---- connections

    async def connect(self, context: ssl.SSLContext | None, address: str):
        return await asyncio.wait_for(asyncio.open_connection(*self.place, ssl=context, local_addr=(address, 0)), 15)

    async def ask(self, stream, request: bytes) -> None:
        reader, writer = stream
        writer.write(request)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        self.heard[answer[9:12].decode()] += 1
        length = next((int(line[15:]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        if length and not request.startswith(b"HEAD"):
            await reader.readexactly(length)

    async def repeatedly(self, name: str, one) -> None:
        """One trick over and over; whatever the other side does, go on."""
        while True:
            try:
                await one()
                self.heard[name] += 1
            except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError, YizhanError):
                self.heard[name + " cut"] += 1
                await asyncio.sleep(0.01)

    async def asking(self, requests) -> None:
        """Many requests on one member's connection."""
        stream = await self.connect(self.member, MEMBER)
        try:
            while True:
                await self.ask(stream, requests())
        finally:
            stream[1].transport.abort()

    async def spoken(self, context: ssl.SSLContext | None, address: str, data: bytes, wait: float = 1.0) -> None:
        """Say something and hang up, after hearing what there is to hear for a moment."""
        _, writer = stream = await self.connect(context, address)
        try:
            writer.write(data)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream[0].read(4096), wait)
        finally:
            writer.transport.abort()

    async def trickle(self, request: bytes, seconds: float) -> None:
        """A byte now and then."""
        _, writer = await self.connect(self.member, MEMBER)
        try:
            ends = time.monotonic() + seconds
            for byte in request:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.2)
                if time.monotonic() > ends or writer.transport.is_closing():
                    break
        finally:
            writer.transport.abort()

    # ---- the tricks

    def replays(self):
        request = self.good.request()
        return self.asking(lambda: request)

    def forgeries(self):
        return self.asking(lambda: random.choice(self.forged))

    def poisons(self):
        return self.asking(lambda: random.choice(self.poisoned).request())

    def crowds(self):
        return self.asking(self.crowded.request)

    def receipts(self):
        frame = pack_receipts([SignedReceipt(body=os.urandom(600), signature=os.urandom(2000)) for _ in range(1000)])
        request = head("POST", "/v1/receipts", RECEIPTS_TYPE, len(frame)) + frame
        return self.asking(lambda: request)

    def uploads_of_nothing(self):
        path = f"/v1/exchanges/{self.forge.new_id()}/content"
        fields = {"Upload_Offset": "0", "Yizhan_Transmittal": "sha256:" + "0" * 64}
        return self.asking(lambda: head("PATCH", path, CONTENT_TYPE, 100, **fields) + b"x" * 100)

    def shapes(self):
        return self.spoken(self.member, MEMBER, random.choice(SHAPES))

    def cut_off(self):
        whole = self.good.request()
        return self.spoken(self.member, MEMBER, whole[: random.randrange(len(whole))], wait=0.05)

    def endless(self):
        return self.spoken(self.member, MEMBER, head("POST", "/v1/receipts", RECEIPTS_TYPE, 8 * 1024 * 1024) + b"x" * 2_000_000, wait=5)

    def slow_heads(self):
        return self.trickle(self.good.request()[:200], 15)

    def slow_bodies(self):
        return self.trickle(self.good.request(), 15)

    def shakes(self):
        return self.spoken(self.nobody, STRANGER, b"GET / HTTP/1.1\r\n\r\n", wait=0.5)

    def garbage(self):
        return self.spoken(None, STRANGER, os.urandom(300), wait=0.5)

    def downgrades(self):
        return self.spoken(tls(None, ssl.TLSVersion.TLSv1_2), STRANGER, b"", wait=0.5)

    async def half_open(self) -> None:
        """Connections that say nothing, hundreds of them."""
        held = []
        try:
            while len(held) < HALF_OPEN:
                held.append(await self.connect(None, STRANGER))
            await asyncio.sleep(2)
        finally:
            for _, writer in held:
                writer.transport.abort()

    def crew(self):
        yield from ((self.replays, REPLAYERS), (self.forgeries, FORGERS), (self.poisons, 3), (self.crowds, 1), (self.receipts, 2))
        yield from ((self.uploads_of_nothing, 2), (self.shapes, 2), (self.cut_off, 2), (self.endless, 1), (self.slow_heads, 3))
        yield from ((self.slow_bodies, 3), (self.shakes, 4), (self.garbage, 2), (self.downgrades, 1), (self.half_open, 1))

    async def go(self, only: list[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for trick, times in self.crew():
                if only and trick.__name__ not in only:
                    continue
                for _ in range(times):
                    group.create_task(self.repeatedly(trick.__name__, trick))


SHAPES = [
    b"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(500)) + b"\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300,
    b"\0" * 2000,
]


async def attack(home: Path, suite: str, to: str, host: str, port: int, only: list[str]) -> None:
    forge = forge_of(home, suite, to)
    identity = Home.open(home).tls()
    this = Attack(forge, identity, host, port)
    await this.prepare()
    sys.stdout.write("ready\n")
    sys.stdout.flush()

    def end() -> None:
        sys.stdout.write(json.dumps(this.heard) + "\n")
        sys.stdout.flush()
        os._exit(0)  # it leaves as rudely as it came

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()  # it ends with whoever started it
    await this.go(only)


def main() -> None:
    os.nice(19)  # two cores carry the victim, the honest sender and the authority as well: it shall take what they leave
    home, suite, to, host, port, *only = sys.argv[1:]
    asyncio.run(attack(Path(home), suite, to, host, int(port), only))


if __name__ == "__main__":
    main()
