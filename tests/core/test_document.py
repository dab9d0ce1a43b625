"""The document as a value."""

from datetime import date

import msgspec
import pytest

from crypto.errors import Malformed
from gateway.core.document import DIRECTIONS, DISCLOSURES, DOCUMENT_TYPES, MAX_TITLE, RETENTIONS, Addressee, Document, is_identifier

ORG = "91350100M000100Y43"
FULL = Document(
    document_identifier=f"{ORG}-2026-1",
    document_type="通知",
    copy_number="000001",
    level="internal",
    urgency="urgent",
    issuing_authority_mark="市政府办公室文件",
    document_number="市政办〔2026〕1号",
    signatory=("张三", "李四"),
    title="关于召开会议的通知",
    primary_recipients=(Addressee(org=ORG, name="市财政局"),),
    attachment_note=("名单",),
    signature=("市政府办公室",),
    written_date="2026-03-01",
    annotation="（联系人：张三）",
    copy_recipients=(),
    printing_authority="市政府办公室",
    printing_date="2026-03-02",
    release_level="县团级",
    keywords=("会议",),
    docket_year=2026,
    retention="30年",
    direction="下行",
    reply_to=(f"{ORG}-2025-9",),
    supersedes=(f"{ORG}-2024-9",),
    deadline="2026-04-01T10:00:00Z",
    deadline_basis="领导批示",
    print_quota=3,
    disclosure="主动公开",
)


def test_a_document_survives_its_wire_form():
    assert Document.from_bytes(FULL.to_bytes()) == FULL


def test_wire_names_are_ascii_camel_case():
    names = [field.encode_name for field in msgspec.structs.fields(Document)]
    assert "documentIdentifier" in names
    assert all(name.isascii() and name[0].islower() and "_" not in name for name in names)


def test_the_eighteen_core_elements_are_there():
    names = {field.encode_name for field in msgspec.structs.fields(Document)}
    core = [
        "documentIdentifier",
        "documentType",
        "copyNumber",
        "level",
        "urgency",
        "issuingAuthorityMark",
        "documentNumber",
        "signatory",
        "title",
        "primaryRecipients",
        "attachmentNote",
        "signature",
        "writtenDate",
        "annotation",
        "copyRecipients",
        "printingAuthority",
        "printingDate",
        "releaseLevel",
    ]
    assert len(core) == 18
    assert names >= {*core, "secrecyTerm", "secrecyMark"}


def test_what_has_no_value_is_left_out():
    document = Document(title="标题", urgency="routine")
    assert document.to_bytes() == '{"title":"标题","urgency":"routine"}'.encode()


@pytest.mark.parametrize(
    "data",
    [
        '{"title":"t"}',
        '{"title":"","urgency":"routine"}',
        '{"title":"t","urgency":"soon"}',
        '{"keywords":[],"title":"t","urgency":"routine"}',
        '{"level":null,"title":"t","urgency":"routine"}',
        '{"title":"t","unknown":1,"urgency":"routine"}',
        '{"title":"t","urgency":"routine","writtenDate":"2026-3-1"}',
        '{"copyNumber":"1","title":"t","urgency":"routine"}',
        '{"docketYear":20261,"title":"t","urgency":"routine"}',
        '{"primaryRecipients":[{"org":"x"}],"title":"t","urgency":"routine"}',
        '{"level":"内部","title":"t","urgency":"routine"}',
        '{"retention":"5年","title":"t","urgency":"routine"}',
    ],
)
def test_other_spellings_are_refused(data):
    with pytest.raises(Malformed):
        Document.from_bytes(data.encode())


def test_a_title_has_a_ceiling():
    assert Document.from_bytes(Document(title="题" * MAX_TITLE, urgency="routine").to_bytes())
    with pytest.raises(Malformed):
        Document(title="题" * (MAX_TITLE + 1), urgency="routine").to_bytes()


@pytest.mark.parametrize(("field", "words"), [("retention", RETENTIONS), ("direction", DIRECTIONS), ("disclosure", DISCLOSURES)])
def test_closed_lists_and_types_say_the_same(field, words):
    for word in words:
        document = msgspec.structs.replace(FULL, **{field: word})
        assert Document.from_bytes(document.to_bytes()) == document


def test_there_are_fifteen_types():
    assert len(set(DOCUMENT_TYPES)) == 15


def test_completing_fills_only_gaps():
    bare = Document(title="标题", urgency="routine").completed(identifier="urn:uuid:x", written=date(2026, 3, 1))
    assert (bare.document_identifier, bare.written_date) == ("urn:uuid:x", "2026-03-01")
    assert FULL.completed(identifier="urn:uuid:x", written=date(2020, 1, 1)) == FULL


@pytest.mark.parametrize(
    ("level", "secret"), [(None, False), ("public", False), ("work-secret", False), ("secret", True), ("top-secret", True)]
)
def test_state_secrets(level, secret):
    assert Document(title="t", urgency="routine", level=level).state_secret is secret


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"{ORG}-2026-1", True),
        ("D2143569X-2005-17", True),
        ("urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057", True),
        (f"{ORG}-2026-0", False),
        (f"{ORG}-2026-01", False),
        (f"{ORG}-26-1", False),
        ("91350100M000100Y44-2026-1", False),
        ("D21435691-2005-17", False),
        ("urn:uuid:01890A5D-AC96-774B-BCCE-B302099A8057", False),
        ("", False),
        (f"{ORG}-2026-1\n", False),
    ],
)
def test_identifiers(text, good):
    assert is_identifier(text) is good
