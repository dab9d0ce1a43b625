"""Targets of what people and their office systems write: document.json, markers, status files, part names, configuration, policy."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from adapters.folder_acts import _text
from adapters.folder_files import entries, folder_at
from adapters.folder_reading import DOCUMENT, MAX_ENTRIES, read_offer
from adapters.folder_status import STATUS, first_status, note_act, read_status, show
from crypto.certificates import ChainCache
from crypto.digests import digest
from crypto.errors import Malformed, YizhanError
from crypto.signed_data import sign_detached
from crypto.suites import SUITES, Suite
from gateway.config import Config
from gateway.core.directory import Directory, DirectoryError, DirectoryHead, EntryRef
from gateway.core.document_json import DocumentDraft, read_document_json
from gateway.core.document_number import is_document_number, suggested_number
from gateway.core.errors import BadConfiguration, BadInput
from gateway.core.exchange import State
from gateway.core.explain import Reason, explain
from gateway.core.manifest import MAX_PARTS, check_part_name
from gateway.core.organisation import check_code
from gateway.core.part_names import checked_part_name, part_names_reasons
from gateway.core.policy.load import load_policy
from gateway.flow.ports import BadOffer, RecipientStatus, Status
from gateway.net.time_stream import split_stream_url
from tests.core import samples
from tests.core.policy import worlds
from tests.core.worlds import entries_of
from tests.crypto.pki import NOW
from tests.fuzz.good import both, good
from tests.fuzz.target import Target

_POLICY = Path(__file__).resolve().parents[2] / "policies" / "default.toml"

# ---- document.json -------------------------------------------------------------------------------------------------------------------


def _documents() -> Sequence[bytes]:
    least = {"title": "关于开展检查的函", "level": "内部", "to": [samples.FINANCE]}
    full = least | {
        "type": "通知",
        "urgency": "特急",
        "number": "政办函〔2026〕1号",
        "to": [{"org": samples.FINANCE, "name": "市财政局"}],
        "copy": [samples.HEALTH],
        "files": [{"name": "正文.pdf", "role": "body"}, {"name": "附件.xlsx", "level": "公开", "mediaType": "application/pdf"}],
        "signatory": ["张三"],
        "writtenDate": "2026年3月1日",
        "deadline": "2026-03-09T17:00:00+08:00",
        "copyNumber": "12",
        "printQuota": 3,
        "docketYear": 2026,
        "keywords": "检查",
    }
    return [json.dumps(each, ensure_ascii=False, indent=indent).encode() for each in (least, full) for indent in (None, 2)]


def _document(data: bytes) -> None:
    """A draft whose document travels, or every reason at once, each fit to be shown."""
    draft = _draft(data)
    document = draft.document
    assert type(document).from_bytes(document.to_bytes()) == document
    assert _draft(document.to_bytes()).document == document
    for file in draft.files:
        assert check_part_name(file.name) == file.name


def _draft(data: bytes) -> DocumentDraft:
    try:
        return read_document_json(data, NOW)
    except BadInput as error:
        _check_reasons(error.reasons)
        raise


def _check_reasons(reasons: Sequence[Reason]) -> None:
    assert reasons
    for reason in reasons:
        assert reason.zh and reason.en and reason.fix and reason.fix_zh
        assert "\n" not in reason.zh + reason.en


# ---- the folder office ---------------------------------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    """A folder in memory where there is one: these targets write files by the thousand."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="yizhan-fuzz-", dir=memory if memory.is_dir() and os.access(memory, os.W_OK) else None))


@cache
def _emptied(name: str) -> Path:
    """A folder of that name, removed when the process ends."""
    import atexit
    import shutil

    atexit.register(shutil.rmtree, _folder(), ignore_errors=True)
    place = _folder() / name
    place.mkdir()
    return place


def _outbox(data: bytes) -> None:
    """A folder of the outbox with this document.json and one file: an offer, or a bad offer with its reasons."""
    place = _emptied("outbox")
    (place / "正文.pdf").write_bytes(b"%PDF")
    (place / DOCUMENT).write_bytes(data)
    with folder_at(place) as folder:
        offer = read_offer(place, folder, "outbox", entries(folder, MAX_ENTRIES), NOW)
    if isinstance(offer, BadOffer):
        _check_reasons(offer.reasons)
        raise BadInput("a bad offer", reasons=offer.reasons)
    assert offer.recipients
    assert [part.name for part in offer.parts] == ["正文.pdf"]
    assert b"".join(offer.parts[0].read()) == b"%PDF"


def _status(data: bytes) -> None:
    """A status.json that people put something into: read as what it is or as nothing, and written over without a stumble."""
    place = _emptied("inbox")
    (place / STATUS).write_bytes(data)
    each = RecipientStatus(org=samples.FINANCE, name="市财政局", state=State.DELIVERED, at=NOW)
    status = Status(exchange=samples.EXCHANGE, direction="in", title="题", updated=NOW, recipients=(each,))
    with folder_at(place) as folder:
        read_status(folder)
        note_act(folder, "an act", "done", (explain("act/no-reason"),))
        noted = read_status(folder)
        assert noted["acts"][-1]["outcome"] == "done", noted
        show(status, folder)
        shown = read_status(folder)
    assert shown["acts"] == noted["acts"]


def _statuses() -> Sequence[bytes]:
    acts = {"acts": [{"act": "a", "outcome": "done", "reasons": []}], "updated": "2026-03-02T08:00:00Z"}
    first = json.loads(first_status(samples.EXCHANGE, "x"))
    return [json.dumps(each).encode() for each in (first, first | acts, first | {"acts": 5}, first | {"acts": None}, acts)]


def _marker(data: bytes) -> None:
    """The words of a RETURNED file on one line, whatever editor wrote them."""
    text = _text(data)
    if text is None:
        raise BadInput("not text", reasons=(explain("act/unreadable", name="RETURNED", why="not text", most=4096),))
    assert text == " ".join(text.split())
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text)
    assert _text(text.encode()) == text


_MARKERS = ("发文字号有误\n请重发".encode(), "理由".encode("gb18030"), b"\xef\xbb\xbfwrong", b"wrong\r\n")


def _names(data: bytes) -> None:
    """Part names as a folder gives them: refused with a reason, or a name the format takes."""
    names = [os.fsdecode(row) for row in data.split(b"\n")[:MAX_PARTS]]
    reasons = list(part_names_reasons(names))
    assert all(reason.zh and reason.en for reason in reasons)
    for name in names:
        assert checked_part_name(name) == name
        assert check_part_name(name) == name
    if reasons:
        raise BadInput("names that meet", reasons=tuple(reasons))


_NAMES = ("正文.pdf\n附件 1.xlsx".encode(), b"a\nA", "e\u0301".encode(), b"\xff", b"../x", b"RETURNED")
_TYPED = (samples.FINANCE.encode(), "政办函〔2026〕1号\n国发[2012]第08号".encode(), "第5号\n市令第５號".encode())


def _words(data: bytes) -> None:
    """An organisation code and a document number as somebody typed them."""
    text = data.decode("utf-8", "replace")
    for line in text.split("\n"):
        suggestion = suggested_number(line, 2026)
        assert not suggestion or is_document_number(suggestion)
    assert check_code(text) == text


# ---- configuration and policy ----------------------------------------------------------------------------------------------------------

_CONFIG = """[gateway]
id = "gw-office"
organisation = "11310000MB0001234B"
name = "市政府办公室"
[listen]
peer = "[::1]:8443"
ops = "127.0.0.1:9443"
[keys]
passphrase_file = "pass"
[office]
kind = "folder"
poll_seconds = 1.5
[time]
authorities = { gm-1 = ["tsp://127.0.0.1:318"], intl-1 = ["http://tsa.example/", "https://tsb.example/x"] }
[directory]
url = "https://directory.example/"
[trust]
crl_urls = ["http://ca.example/a.crl"]
[policy]
file = "policies/default.toml"
[storage]
head_room_mib = 1
[limits]
in_flight_per_peer = 2
"""


def _configuration(data: bytes) -> None:
    config = Config.from_toml(data)
    assert Config.from_toml(config.to_toml().encode()) == config
    for urls in config.time.authorities.values():
        for url in urls:
            assert not url.startswith("tsp:") or split_stream_url(url)


def _policy(data: bytes) -> None:
    policy = load_policy(data)
    assert policy.digest == digest("sha256", data)
    assert load_policy(data) == policy


def _policies() -> Sequence[bytes]:
    return [_POLICY.read_bytes(), worlds.TEXT.encode()]


# ---- the directory as one ------------------------------------------------------------------------------------------------------------


@cache
def _chains(suite_id: str) -> ChainCache:
    return good(suite_id).pki.cache


_NAMED = re.compile(rb'"(?:code|id)":"([A-Za-z0-9.-]{1,64})"')
_KIND = re.compile(rb'"v":"yizhan-(organisation|gateway|authority)/1"')


def _directory(data: bytes) -> None:
    """The directory authority itself signs a head that lists one entry of any bytes: refused, or opened and asked."""
    suite = SUITES["gm-1" if b"gm-1" in data else "intl-1"]
    pki = good(suite.id).pki
    named, kind = _NAMED.search(data), _KIND.search(data)
    name = f"{(kind[1] if kind else b'gateway').decode()}/{(named[1] if named else b'x').decode()}"
    ref = EntryRef(id=name, digest=digest(suite.digest, data))
    head = DirectoryHead(version=1, prev=None, issued=samples.CREATED, expires=samples.EXPIRES, entries=(ref,)).to_bytes()
    signature = sign_detached(head, pki.directory.signer, at=pki.now).der
    authority = pki.directory.certificate
    directory = Directory.open(head, signature, {ref.digest: data}, chains=_chains(suite.id), authority=authority, now=pki.now)
    try:
        _ask(directory, suite)
    except YizhanError as error:  # no arrival may be blamed for what the directory says
        raise AssertionError(f"a directory that was believed answers with {error!r}") from error


def _ask(directory: Directory, suite: Suite) -> None:
    for organisation in directory.organisations:
        code = organisation.code
        for certificate in (*directory.signing_certificates(code, suite), *directory.encryption_certificates(code, suite)):
            assert certificate.organisation == code
            assert certificate.suite is suite
        directory.gateways_of(code)
    directory.time_authority_fingerprints(suite)


def _entries() -> Sequence[bytes]:
    return [entry.to_bytes() for each in both() for entry in entries_of(each.pki)[:3]]


OFFICE_TARGETS = (
    Target(name="document-json", run=_document, errors=(BadInput,), seeds=_documents, shape="json", milliseconds=40),
    Target(name="outbox", run=_outbox, errors=(BadInput,), seeds=_documents, shape="json", milliseconds=40, slow=True),
    Target(name="status-json", run=_status, errors=(), seeds=_statuses, shape="json", slow=True),
    Target(name="marker", run=_marker, errors=(BadInput,), seeds=lambda: _MARKERS, shape="text", longest=4096),
    Target(name="part-names", run=_names, errors=(BadInput,), seeds=lambda: _NAMES, shape="text", longest=1024),
    Target(name="words", run=_words, errors=(Malformed,), seeds=lambda: _TYPED, shape="text", longest=512),
    Target(
        name="configuration",
        run=_configuration,
        errors=(BadConfiguration,),
        seeds=lambda: [_CONFIG.encode()],
        shape="text",
        milliseconds=40,
    ),
    Target(
        name="policy",
        run=_policy,
        errors=(BadConfiguration,),
        seeds=_policies,
        shape="text",
        longest=16 * 1024,
        milliseconds=250,
        slow=True,
    ),
    Target(name="directory", run=_directory, errors=(Malformed, DirectoryError), seeds=_entries, shape="json", slow=True),
)
