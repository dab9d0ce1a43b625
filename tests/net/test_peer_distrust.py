"""A peer with a good certificate and bad manners: whatever it answers, the client says Unreachable or PeerProblem, soon and in bounded memory."""

from __future__ import annotations

import asyncio
import re

import pytest

from crypto.digests import digest
from gateway.core.errors import PeerProblem, Unreachable
from gateway.flow.ports import Pending, ReceiptAnswer, Receipted, SignedReceipt
from gateway.net import frames
from gateway.net.calling import CallLimits
from gateway.net.peer_client import MAX_RECEIPTED, PeerClient
from gateway.net.tls import server_context
from tests.net.world import parcel_of

RECEIPTS = (SignedReceipt(body=b"receipt", signature=b"s"),)


def http(status: int, body: bytes = b"", **fields: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} x",
        f"Content-Length: {len(body)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
async def liar(gateways):
    """A client towards ``south``, whose answers the test dictates one by one; the requests' heads are kept."""
    answers: list[bytes | None] = []
    heads: list[str] = []

    async def handle(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                heads.append(head)
                length = re.search(r"Content-Length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                answer = answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server_context(gateways.enrol("south")))
    port = server.sockets[0].getsockname()[1]
    limits = CallLimits(answer_seconds=2.0, silence_seconds=2.0)
    client = PeerClient(gateways.enrol("north"), {"south": f"https://127.0.0.1:{port}"}.get, gateways.listed, limits=limits)
    yield client, answers, heads
    await client.close()
    server.close()


BAD_ANSWERS = {
    "hangs up": None,
    "garbage": b"\0\0\0\0 nonsense\r\n\r\n",
    "a proxy's page": http(502, b"<html>bad gateway</html>", Content_Type="text/html"),
    "empty 200": http(200),
    "bad frame": http(200, b"\0\0\0\x02\x30\x00"),
    "no receipts": http(200, bytes.fromhex("0000000430023000")),
    "too large": b"HTTP/1.1 200 x\r\nContent-Length: %d\r\n\r\n" % (MAX_RECEIPTED + 1),
    "204 to an offer": http(204),
    "other pending": http(202, b'{"offset":0,"state":"lost","v":"yizhan-pending/1"}'),
    "redirect": http(307, Location="https://127.0.0.1/elsewhere"),
    "problem without a word": http(400, b'{"status":400}'),
    "short body": b"HTTP/1.1 200 x\r\nContent-Length: 50\r\nConnection: close\r\n\r\nx",
    "long field": b"HTTP/1.1 200 x\r\nX: " + b"y" * 10_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_answers_outside_the_protocol_are_no_answers(liar, answer):
    client, answers, _ = liar
    answers.append(answer)
    with pytest.raises(Unreachable):
        await client.send("south", parcel_of(1, b"x"))


async def test_silence_ends(liar):
    client, answers, _ = liar
    answers.append(b"")
    async with asyncio.timeout(4):
        with pytest.raises(Unreachable, match="Timeout"):
            await client.send("south", parcel_of(1, b"x"))


async def test_an_endless_answer_is_left(liar):
    client, answers, _ = liar
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answers.append(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n" + piece * (MAX_RECEIPTED // 0x10000 + 2))
    with pytest.raises(Unreachable, match="above"):
        await client.send("south", parcel_of(1, b"x"))


async def test_a_short_chunked_answer_is_read(liar):
    client, answers, _ = liar
    frame = frames.pack_receipts(RECEIPTS)
    answers.append(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(frame), frame))
    assert await client.send("south", parcel_of(1, b"x")) == Receipted(receipts=RECEIPTS)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), ("999999999", 86_400), ("-1", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("9" * 40, None)]
)
async def test_retry_after_is_bounded(liar, text, seconds):
    client, answers, _ = liar
    answers.append(http(503, b'{"code":"busy","retryable":true}', Retry_After=text))
    with pytest.raises(PeerProblem) as caught:
        await client.send("south", parcel_of(1, b"x"))
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("offset", ["-1", "3000001", "x", "00", None])
async def test_offsets_that_cannot_be(liar, offset):
    client, answers, _ = liar
    answers.append(http(202, frames.pack_pending(Pending(state="upload", offset=0))))
    answers.append(http(204, **({"Upload_Offset": offset} if offset else {})))
    answers.append(http(204, Upload_Offset="0"))  # to HEAD
    with pytest.raises(Unreachable):
        await client.send("south", parcel_of(1, b"x" * 3_000_000))


async def test_an_upload_that_never_grows_ends(liar):
    client, answers, heads = liar
    answers.append(http(202, frames.pack_pending(Pending(state="upload", offset=0))))
    answers.extend(http(204, Upload_Offset=str(offset)) for offset in (1_000_000, 1_500_000, 1_500_000))
    with pytest.raises(Unreachable, match="stays at 1500000"):
        await client.send("south", parcel_of(1, b"x" * 3_000_000))
    assert [head.split()[0] for head in heads] == ["POST", "PATCH", "PATCH", "PATCH"]


async def test_an_upload_offer_for_content_that_went_along_comes_through(liar):
    """The flow sees it and decides; the client does not send twice."""
    client, answers, _ = liar
    answers.append(http(202, frames.pack_pending(Pending(state="upload", offset=0))))
    assert await client.send("south", parcel_of(1, b"x")) == Pending(state="upload", offset=0)


@pytest.mark.parametrize(
    ("fields", "word"), [({"Yizhan_Problem": "not-found"}, "not-found"), ({"Yizhan_Problem": "brand-new"}, "brand-new")]
)
async def test_problems_of_head_come_in_their_header(liar, fields, word):
    client, answers, _ = liar
    answers.append(http(202, frames.pack_pending(Pending(state="upload", offset=0))))
    answers.append(None)  # the upload breaks
    answers.append(http(404, **fields))
    with pytest.raises(PeerProblem) as caught:
        await client.send("south", parcel_of(1, b"x" * 3_000_000))
    assert caught.value.problem == word
    assert caught.value.retryable is False


async def test_a_head_without_a_word_is_no_answer(liar):
    client, answers, _ = liar
    answers.append(http(202, frames.pack_pending(Pending(state="upload", offset=0))))
    answers.append(None)
    answers.append(http(404))
    with pytest.raises(Unreachable):
        await client.send("south", parcel_of(1, b"x" * 3_000_000))


async def test_answers_must_match_the_receipts_sent(liar):
    client, answers, _ = liar
    one = frames.pack_answers([ReceiptAnswer(digest=digest("sha256", b"a"), code="ok", retryable=False)])
    answers.append(http(200, one))
    with pytest.raises(Unreachable, match="1 answers to 2"):
        await client.send_receipts("south", RECEIPTS * 2)
    answers.append(http(503, b'{"code":"stopping","retryable":true}'))
    with pytest.raises(PeerProblem):
        await client.send_receipts("south", RECEIPTS)


async def test_a_bad_proof_is_no_answer(liar):
    client, answers, _ = liar
    answers.append(http(200, b'{"leaf":"!","proof":"","v":"yizhan-proof/1"}'))
    with pytest.raises(Unreachable):
        await client.proof("south", digest("sha256", b"x"))
