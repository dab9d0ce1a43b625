"""The office of folders: the promises of every office, and what strangers may put into its folders."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crypto.digests import digest
from gateway.core.errors import OfferGone, OfficeUnavailable, PartChanged
from gateway.core.exchange import State
from gateway.flow.ports import BadOffer, Offer
from tests.adapters.contract import EXCHANGE, ORG, OTHER, PARTS, REASONS, OfficeContract, acts, content, delivery, status, tray
from tests.adapters.folder_world import FolderWorld


@pytest.fixture
def world(tmp_path: Path) -> FolderWorld:
    return FolderWorld(tmp_path / "office")


class TestFolderOffice(OfficeContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FolderWorld:
        return FolderWorld(tmp_path / "office")


GOOD: dict[str, Any] = {
    "title": "关于召开会议的函",
    "level": "内部",
    "to": [ORG],
    "signature": ["榕城市财政局"],
    "writtenDate": "2026-07-01",
}
BODY = (("正文.pdf", b"%PDF-1.7"),)
FILES = [{"name": "正文.pdf", "role": "body"}]


async def rules(world: FolderWorld, source: str = "a") -> list[str]:
    """The rules by which the tray refuses that folder, after refusing it and seeing that nothing else happened."""
    world.put("good", GOOD | {"files": FILES}, BODY)
    offers = await tray(world.office)
    assert isinstance(offers["good"], Offer)
    assert content(offers["good"]) == list(BODY)
    bad = offers[source]
    assert isinstance(bad, BadOffer), bad
    await world.office.refuse(source, bad.reasons)
    assert list(await tray(world.office)) == ["good"]
    assert world.refused_rules(source) == [reason.rule for reason in bad.reasons]
    return [reason.rule for reason in bad.reasons]


# ---- what may lie in the outbox --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"colour": "red"}, "document/unknown-field"),
        ({"number": "榕财〔2026〕01号"}, "document/number"),
        ({"files": [{"name": "别的.pdf", "role": "body"}]}, "offer/file-missing"),
        ({"files": [*FILES, {"name": "../../etc/passwd", "role": "attachment"}]}, "part/name-path"),
        ({"files": [*FILES, {"name": "长" * 100 + ".pdf", "role": "attachment"}]}, "part/name-long"),
        ({"files": [*FILES, {"name": "status.json", "role": "attachment"}]}, "part/name-reserved"),
        ({"writtenDate": "2999-01-01"}, "document/date-future"),
        ({"files": [{"name": "正文.pdf", "role": "body", "mediaType": "PDF!"}]}, "offer/media-type"),
        ({"to": ["113501"]}, "document/recipient-code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_document_json_that_is_wrong(world: FolderWorld, fields: dict[str, Any], rule: str):
    world.put("a", GOOD | {"files": FILES} | fields, BODY)
    assert rule in await rules(world)


async def test_all_faults_are_told_at_once(world: FolderWorld):
    folder = world.put("a", GOOD | {"files": [{"name": "缺.pdf", "role": "body"}]}, (("多.txt", b"x"),))
    (folder / "子文件夹").mkdir()
    (folder / "链接").symlink_to("/etc/passwd")
    assert set(await rules(world)) == {"offer/nested-folder", "offer/link", "offer/file-missing", "offer/file-not-listed"}


async def test_a_link_in_a_files_place_is_not_followed(world: FolderWorld):
    secret = world.root / "secret"
    secret.write_bytes(b"secret")
    folder = world.put("a", GOOD | {"files": FILES}, ())
    (folder / "正文.pdf").symlink_to(secret)
    assert await rules(world) == ["offer/link"]


@pytest.mark.parametrize("name", ["正文.pdf", "document.json"])
async def test_a_pipe_is_not_opened(world: FolderWorld, name: str):
    folder = world.put("a", GOOD | {"files": FILES}, BODY)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert await rules(world) == ["offer/not-a-file"]


async def test_a_socket_is_no_file(world: FolderWorld, monkeypatch: pytest.MonkeyPatch):
    folder = world.put("a", GOOD | {"files": FILES}, BODY)
    monkeypatch.chdir(folder)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        assert await rules(world) == ["offer/not-a-file"]


async def test_document_json_that_is_a_link(world: FolderWorld):
    folder = world.put("a", GOOD, BODY)
    (folder / "document.json").rename(world.root / "elsewhere.json")
    (folder / "document.json").symlink_to(world.root / "elsewhere.json")
    assert await rules(world) == ["offer/link"]


async def test_document_json_that_is_missing_too_large_or_no_json(world: FolderWorld):
    world.approve_badly("a")
    assert await rules(world) == ["offer/no-document"]
    (world.put("b", GOOD, BODY) / "document.json").write_bytes(b" " * (256 * 1024 + 1))
    (world.put("c", GOOD, BODY) / "document.json").write_bytes(b"\xff{")
    offers = await tray(world.office)
    assert [offers[name].reasons[0].rule for name in "bc"] == ["document/too-large", "document/not-utf8"]


async def test_a_link_to_a_folder_in_the_outbox(world: FolderWorld):
    target = world.put("t", GOOD | {"files": FILES}, BODY).rename(world.root / "elsewhere")
    (world.root / "outbox" / "a").symlink_to(target)
    assert await rules(world) == ["offer/not-a-folder"]
    assert (world.root / "refused" / "a" / "offered").is_symlink()
    assert (target / "正文.pdf").exists()


async def test_reasons_json_that_is_a_folder_is_wrapped(world: FolderWorld):
    folder = world.put("a", GOOD | {"files": FILES}, BODY)
    (folder / "reasons.json").mkdir()
    assert await rules(world) == ["offer/nested-folder"]
    assert (world.root / "refused" / "a" / "offered" / "正文.pdf").read_bytes() == b"%PDF-1.7"


async def test_too_many_files(world: FolderWorld):
    folder = world.put("a", GOOD | {"files": FILES}, BODY)
    for number in range(1100):
        (folder / str(number)).touch()
    assert await rules(world) == ["offer/too-many-files"]


async def test_what_the_desktop_leaves_is_not_sent_and_no_fault(world: FolderWorld):
    folder = world.put("a", GOOD | {"files": FILES}, BODY)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", ".~lock.正文.pdf#"):
        (folder / name).write_bytes(b"x")
    (world.root / "outbox" / "note.txt").touch()
    (world.root / "outbox" / ".hidden").mkdir()
    offers = await tray(world.office)
    assert list(offers) == ["a"]
    assert content(offers["a"]) == list(BODY)


async def test_without_files_named_the_only_file_is_the_body(world: FolderWorld):
    world.put("one", GOOD, BODY)
    world.put("two", GOOD, (*BODY, ("附件.txt", b"x")))
    world.put("none", GOOD, ())
    offers = await tray(world.office)
    assert content(offers["one"]) == list(BODY)
    assert [offers[name].reasons[0].rule for name in ("two", "none")] == ["offer/which-body", "offer/no-files"]


async def test_the_only_files_name_is_judged_too(world: FolderWorld):
    world.put("a", GOOD, (("a:b.pdf", b"x"),))
    assert await rules(world) == ["part/name-path"]


async def test_a_name_in_decomposed_form_is_found(world: FolderWorld):
    world.put("a", GOOD | {"files": [{"name": "é.txt", "role": "body"}]}, ((unicodedata.normalize("NFD", "é.txt"), b"x"),))
    assert content((await tray(world.office))["a"]) == [("é.txt", b"x")]


async def test_a_folder_name_that_is_no_text(world: FolderWorld):
    for name in (b"\xff\xfe", b"bytes:41"):
        world.approve_badly(os.fsdecode(name))
    offers = await tray(world.office)
    assert set(offers) == {"bytes:fffe", "bytes:62797465733a3431"}
    for source, bad in offers.items():
        assert source.encode("utf-8")
        await world.office.refuse(source, bad.reasons)
    assert await tray(world.office) == {}


async def test_not_ready_is_not_looked_at(world: FolderWorld):
    folder = world.put("a", {"nonsense": 1}, (), ready=False)
    assert await tray(world.office) == {}
    (folder / ".ready").touch()
    assert isinstance((await tray(world.office))["a"], BadOffer)


async def test_an_unchanged_folder_is_read_once(world: FolderWorld):
    folder = world.put("a", GOOD | {"files": FILES}, BODY)
    first, second = (await tray(world.office))["a"], (await tray(world.office))["a"]
    assert first is second
    (folder / "正文.pdf").write_bytes(b"other content")
    assert content((await tray(world.office))["a"]) == [("正文.pdf", b"other content")]


# ---- files that do not stay ------------------------------------------------------------------------------------------------------


def _replace_by_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def _replace_by_twin(file: Path) -> None:
    twin = file.with_name("twin")
    twin.write_bytes(file.read_bytes())
    twin.replace(file)


@pytest.mark.parametrize(
    ("meddle", "error"),
    [
        (lambda file: file.write_bytes(b"longer than before"), PartChanged),
        (lambda file: file.write_bytes(b""), PartChanged),
        (_replace_by_twin, PartChanged),
        (_replace_by_link, PartChanged),
        (lambda file: (file.unlink(), file.mkdir()), PartChanged),
        (lambda file: file.unlink(), OfferGone),
        (lambda file: shutil.rmtree(file.parent), OfferGone),
    ],
)
async def test_a_file_that_changed_since_it_was_offered(world: FolderWorld, meddle: Callable[[Path], object], error: type[Exception]):
    folder = world.put("a", GOOD | {"files": FILES}, BODY)
    (part,) = (await tray(world.office))["a"].parts
    meddle(folder / "正文.pdf")
    with pytest.raises(error):
        b"".join(part.read())


async def test_a_file_that_grows_while_it_is_read(world: FolderWorld):
    folder = world.put("a", GOOD | {"files": FILES}, (("正文.pdf", bytes(1_000_000)),))
    (part,) = (await tray(world.office))["a"].parts
    reading = part.read()
    next(reading)
    with (folder / "正文.pdf").open("ab") as file:
        file.write(b"more")
    with pytest.raises(PartChanged):
        b"".join(reading)


async def test_settling_leaves_alone_what_was_exchanged_meanwhile(world: FolderWorld):
    world.put("a", GOOD | {"files": FILES}, BODY)
    await tray(world.office)
    shutil.rmtree(world.root / "outbox" / "a")
    world.put("a", GOOD | {"files": FILES}, (("正文.pdf", b"another document"),))
    await world.office.settle("a", EXCHANGE)
    await world.office.report(status(State.SEALED))
    assert content((await tray(world.office))["a"]) == [("正文.pdf", b"another document")]
    assert world.states("out", EXCHANGE) == {ORG: "SEALED"}
    with pytest.raises(OfferGone):
        await FolderWorld(world.root).office.fetch("gone", EXCHANGE)


# ---- sent and refused ------------------------------------------------------------------------------------------------------------


async def test_refused_under_a_name_that_is_taken(world: FolderWorld):
    for _ in range(3):
        world.put("a", GOOD | {"files": FILES}, BODY)
        await world.office.refuse("a", REASONS)
    assert sorted(path.name for path in (world.root / "refused").iterdir()) == ["a", "a~2", "a~3"]
    assert not (world.root / "refused" / "a" / ".ready").exists()
    reason = world.json("refused", "a~3", "reasons.json")["reasons"][0]
    assert set(reason) == {"rule", "at", "zh", "en", "fix", "fix_zh"}


async def test_a_refused_name_of_full_length_still_finds_a_place(world: FolderWorld):
    name = "长" * 85  # 255 bytes
    for _ in range(2):
        world.put(name, GOOD | {"files": FILES}, BODY)
        await world.office.refuse(name, REASONS)
    assert len(list((world.root / "refused").iterdir())) == 2


async def test_status_json_tells_the_source_and_follows_the_receipts(world: FolderWorld):
    world.put("七月", GOOD | {"files": FILES}, BODY)
    await world.office.settle("七月", EXCHANGE)
    await world.office.report(status(State.DELIVERED))
    fields = world.json("sent", EXCHANGE, "status.json")
    assert (fields["v"], fields["source"], fields["updated"]) == ("yizhan-status/1", "七月", "2026-07-01T08:30:00Z")
    assert fields["recipients"][0]["events"] == [{"event": "ContentHandover", "by": ORG, "at": "2026-07-01T08:30:00Z"}]


async def test_a_status_somebody_spoilt_is_written_anew(world: FolderWorld):
    world.put("a", GOOD | {"files": FILES}, BODY)
    await world.office.settle("a", EXCHANGE)
    for spoilt in (b"{", b"[]", b"\xff", b'{"updated": 7}'):
        (world.root / "sent" / EXCHANGE / "status.json").write_bytes(spoilt)
        await world.office.report(status(State.SEALED))
        assert world.states("out", EXCHANGE) == {ORG: "SEALED"}


# ---- inbox -----------------------------------------------------------------------------------------------------------------------

HOSTILE = ("SIGNED", "Returned", "signed.done", "document.json", "STATUS.JSON", "_SIGNED", "reasons.json", "普通.txt")


async def test_a_part_cannot_answer_for_our_people(world: FolderWorld):
    parts = [(name, name.encode()) for name in HOSTILE]
    await world.office.deliver(delivery(parts=parts))
    assert world.delivered(EXCHANGE) == dict(parts)
    assert await acts(world.office) == []
    assert await acts(world.restart().office) == []
    files = [each["file"] for each in world.json("inbox", EXCHANGE, "document.json")["files"]]
    assert len({file.casefold() for file in files}) == len(files)
    assert {"_SIGNED", "__SIGNED", "普通.txt"} <= set(files)


async def test_reserved_names_of_full_length_are_delivered(world: FolderWorld):
    """A name may fill what a file system takes; with our mark before it, its stem gives way and its ending stays."""
    marked = "signed." + "签" * 81 + "a.pdf"
    long = (marked, "_signed." + "签" * 81 + ".pdf", "RETURNED." + "签" * 82)
    assert all(len(name.encode()) == 255 for name in long)
    parts = [(name, b"%d" % number) for number, name in enumerate(long)]
    await world.office.deliver(delivery(parts=parts))
    assert world.delivered(EXCHANGE) == dict(parts)
    assert await acts(world.office) == []
    files = [each["file"] for each in world.json("inbox", EXCHANGE, "document.json")["files"]]
    assert all(len(file.encode()) <= 255 for file in files)
    assert len({file.casefold() for file in files}) == len(files)
    assert files[0] == "_signed." + "签" * 81 + ".pdf"
    assert files[1].startswith("__signed.")
    assert files[1].endswith("签.pdf")


async def test_the_delivered_folder_says_what_it_is(world: FolderWorld):
    await world.office.deliver(delivery())
    fields = world.json("inbox", EXCHANGE, "document.json")
    assert (fields["v"], fields["exchange"], fields["sender"]["name"]) == ("yizhan-inbox/1", EXCHANGE, "榕城市财政局")
    assert fields["document"]["title"] == "关于召开会议的函"
    assert fields["files"][0]["digest"] == digest("sha256", PARTS[0][1])
    assert world.json("inbox", EXCHANGE, "status.json")["direction"] == "in"
    assert world.litter() == []


async def test_many_parts_need_few_open_files(world: FolderWorld):
    parts = [(f"{number}.txt", str(number).encode()) for number in range(200)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)  # descriptors are given out from below: this many are open
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 60, hard))
    try:
        await world.office.deliver(delivery(parts=parts))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert world.delivered(EXCHANGE) == dict(parts)


@contextmanager
def no_room_for_files_above(size: int) -> Iterator[None]:
    """Writing more than that into one file fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_no_room_leaves_nothing_and_can_be_repeated(world: FolderWorld):
    with no_room_for_files_above(100_000), pytest.raises(OfficeUnavailable):
        await world.office.deliver(delivery())
    assert list((world.root / "inbox").iterdir()) == []
    await world.office.deliver(delivery())
    assert world.delivered(EXCHANGE) == dict(PARTS)


async def test_no_room_for_the_status_leaves_the_offer_where_it_is(world: FolderWorld):
    world.put("a", GOOD | {"files": FILES}, BODY)
    for act in (world.office.settle("a", EXCHANGE), world.office.refuse("a", REASONS)):
        with no_room_for_files_above(10), pytest.raises(OfficeUnavailable):
            await act
    assert content((await tray(world.office))["a"]) == list(BODY)
    await world.office.settle("a", EXCHANGE)
    assert not world.waits("a")


async def test_a_vanished_office_is_unavailable(world: FolderWorld):
    shutil.rmtree(world.root)
    for verb in (world.office.deliver(delivery()), world.office.settle("a", EXCHANGE), tray(world.office), acts(world.office)):
        with pytest.raises(OfficeUnavailable):
            await verb


async def test_something_else_in_the_documents_place(world: FolderWorld):
    (world.root / "inbox" / EXCHANGE).write_bytes(b"a file")
    with pytest.raises(OfficeUnavailable):
        await world.office.deliver(delivery())
    assert world.litter() == []


# ---- answers ---------------------------------------------------------------------------------------------------------------------


async def test_an_empty_return_waits_a_little_then_is_told(world: FolderWorld):
    await world.office.deliver(delivery())
    marker = world.root / "inbox" / EXCHANGE / "RETURNED"
    marker.touch()
    assert await acts(world.office) == []
    assert marker.exists()
    os.utime(marker, (1, 1))
    assert await acts(world.office) == []
    assert not marker.exists()
    (told,) = world.json("inbox", EXCHANGE, "status.json")["acts"]
    assert (told["act"], told["outcome"], told["reasons"][0]["rule"]) == ("RETURNED", "refused", "act/no-reason")
    world.send_back(EXCHANGE, "缺页")
    assert [act.reason for act in await acts(world.office)] == ["缺页"]


@pytest.mark.parametrize(
    ("spelled", "reason"),
    [
        ("附件\r\n缺页\r\n".encode("utf-8-sig"), "附件 缺页"),
        ("附件缺页".encode("gb18030"), "附件缺页"),
        ("e\u0301\x00\x07 .".encode(), "é ."),
    ],
)
async def test_a_reason_as_editors_write_it(world: FolderWorld, spelled: bytes, reason: str):
    await world.office.deliver(delivery())
    (world.root / "inbox" / EXCHANGE / "RETURNED").write_bytes(spelled)
    assert [act.reason for act in await acts(world.office)] == [reason]


@pytest.mark.parametrize(
    "meddle",
    [
        lambda marker: marker.symlink_to("/etc/passwd"),
        lambda marker: marker.write_bytes(b"x" * 5000),
        lambda marker: marker.write_bytes(b"\xff\xff\xff"),
        lambda marker: marker.mkdir(),
    ],
)
async def test_a_marker_that_is_none(world: FolderWorld, meddle: Callable[[Path], object]):
    await world.office.deliver(delivery())
    await world.office.deliver(delivery(OTHER))
    meddle(world.root / "inbox" / EXCHANGE / "RETURNED")
    world.sign_for(OTHER)
    assert [act.exchange for act in await acts(world.office)] == [OTHER]
    assert world.json("inbox", EXCHANGE, "status.json")["acts"][0]["reasons"][0]["rule"] == "act/unreadable"


async def test_of_two_answers_the_first_is_offered_first(world: FolderWorld):
    await world.office.deliver(delivery())
    world.send_back(EXCHANGE, "缺页")
    os.utime(world.root / "inbox" / EXCHANGE / "RETURNED", (10, 10))
    world.sign_for(EXCHANGE)
    (act,) = await acts(world.office)
    assert act.kind == "return"


async def test_answers_given_while_the_gateway_was_down_are_found(world: FolderWorld):
    await world.office.deliver(delivery())
    await world.office.deliver(delivery(OTHER))
    world.sign_for(EXCHANGE)
    (act,) = await acts(world.restart().office)
    await world.office.acknowledge(act)
    again = world.restart()
    assert await acts(again.office) == []
    again.sign_for(OTHER)
    assert [each.exchange for each in await acts(again.office)] == [OTHER]


async def test_a_document_put_away_is_no_error(world: FolderWorld):
    await world.office.deliver(delivery())
    world.sign_for(EXCHANGE)
    (act,) = await acts(world.office)
    shutil.rmtree(world.root / "inbox" / EXCHANGE)
    await world.office.acknowledge(act)
    await world.office.report(status(State.SIGNED_FOR, direction="in"))
    assert await acts(world.office) == []


async def test_the_status_of_a_delivered_document_keeps_what_became_of_the_act(world: FolderWorld):
    await world.office.deliver(delivery())
    world.sign_for(EXCHANGE)
    (act,) = await acts(world.office)
    await world.office.acknowledge(act)
    await world.office.report(status(State.SIGNED_FOR, direction="in"))
    fields = world.json("inbox", EXCHANGE, "status.json")
    assert fields["acts"] == [{"act": "SIGNED", "outcome": "done", "reasons": []}]
    assert world.states("in", EXCHANGE) == {ORG: "SIGNED_FOR"}
