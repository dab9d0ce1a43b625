"""The user's document.json: friendly, and everything that is wrong is said at once."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.document import MAX_LISTED, Addressee, Document
from gateway.core.document_json import MAX_DOCUMENT_JSON, DraftFile, read_document_json
from gateway.core.errors import BadInput

ORG, OTHER = "91350100M000100Y43", "11440100007482001H"
AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
LEAST = {"title": "关于开展检查的函", "level": "internal", "to": [ORG]}


def read(**changes):
    return read_document_json(json.dumps(LEAST | changes, ensure_ascii=False).encode(), AT)


def refused(data: bytes | None = None, **changes) -> list[tuple[str, str]]:
    with pytest.raises(BadInput) as caught:
        read_document_json(data, AT) if data is not None else read(**changes)
    reasons = caught.value.reasons
    assert all(reason.zh and reason.en and reason.fix and reason.fix_zh for reason in reasons)
    return [(reason.rule, reason.at) for reason in reasons]


def test_what_the_command_line_gives_is_enough():
    draft = read()
    assert draft.document == Document(
        title="关于开展检查的函", document_type="函", level="internal", urgency="routine", primary_recipients=(Addressee(org=ORG),)
    )
    assert draft.level == "internal"
    assert draft.recipients == ((ORG, "primary"),)
    assert draft.files == ()
    assert draft.warnings == ()


def test_every_field_is_read():
    draft = read(
        id=f"{OTHER}-2026-7",
        type="通知",
        title="关于召开会议的通知",
        copyNumber="12",
        level="机密",
        secrecyTerm="10年",
        secrecyMark="机密★10年",
        urgency="特急",
        issuingAuthorityMark="市政府办公室文件",
        number="市政办〔2026〕1号",
        signatory="张三",
        to=[{"org": ORG, "name": "市财政局"}],
        copy=OTHER,
        attachmentNote=["名单"],
        signature=["市政府办公室"],
        writtenDate="2026年3月1日",
        annotation="（此件公开发布）",
        printingAuthority="市政府办公室",
        printingDate="2026-03-01",
        releaseLevel="县团级",
        keywords=["会议", "通知"],
        docketYear=2026,
        retention="30年",
        direction="平行",
        replyTo=f"{OTHER}-2025-7",
        supersedes=[f"{OTHER}-2024-7"],
        deadline="2026-04-01T18:00:00+08:00",
        deadlineBasis="领导批示",
        printQuota=0,
        disclosure="不予公开",
        classifier="李四",
        classificationBasis="目录第3条",
        files=[{"name": "通知.pdf", "role": "body"}, {"name": "名单.xlsx", "level": "内部", "mediaType": "application/vnd.ms-excel"}],
    )
    document = draft.document
    assert all(getattr(document, field.name) not in (None, ()) for field in msgspec.structs.fields(Document))
    assert (document.copy_number, document.level, document.urgency) == ("000012", "confidential", "immediate")
    assert document.written_date == "2026-03-01"
    assert document.deadline == "2026-04-01T10:00:00Z"
    assert document.signatory == ("张三",)
    assert draft.recipients == ((ORG, "primary"), (OTHER, "copy"))
    assert draft.files == (
        DraftFile(name="通知.pdf", role="body"),
        DraftFile(name="名单.xlsx", role="attachment", level="internal", media_type="application/vnd.ms-excel"),
    )
    assert Document.from_bytes(document.to_bytes()) == document


def test_the_wire_form_is_read_as_well():
    document = read(number="市政办〔2026〕1号", id=f"{OTHER}-2026-7", copy=[OTHER], type="函").document
    assert read_document_json(document.to_bytes(), AT).document == document


@pytest.mark.parametrize("absent", [None, "", []])
def test_null_and_empty_are_as_good_as_leaving_out(absent):
    assert read(number=absent, copy=absent, files=absent).document == read().document


def test_texts_are_trimmed_and_composed():
    assert read(title="  关于e\u0301的函 ").document.title == "关于\u00e9的函"


def test_a_byte_order_mark_is_passed_over():
    assert read_document_json(b"\xef\xbb\xbf" + json.dumps(LEAST).encode(), AT).document == read().document


def test_a_document_without_level_is_policys_business():
    assert read(level=None).level is None


def test_an_outdated_urgency_is_understood_with_a_warning():
    draft = read(urgency="急件")
    assert draft.document.urgency == "urgent"
    assert [reason.rule for reason in draft.warnings] == ["document/urgency-renamed"]


def test_warnings_do_not_refuse():
    assert [reason.rule for reason in read(title="检查").warnings] == ["document/title-type"]


def test_orders_have_three_spellings():
    for word in ("令", "命令(令)", "命令（令）"):
        assert read(type=word, title="市政府令").document.document_type == "命令"


# ---- files


def test_the_first_file_is_the_body_unless_one_says_so():
    assert [file.role for file in read(files=["a.pdf", "b.pdf"]).files] == ["body", "attachment"]
    assert [(file.name, file.role) for file in read(files=["a.pdf", {"name": "b.pdf", "role": "body"}]).files] == [
        ("b.pdf", "body"),
        ("a.pdf", "attachment"),
    ]


def test_file_names_are_composed():
    assert read(files=["e\u0301.pdf"]).files[0].name == "\u00e9.pdf"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ("a.pdf", [("document/field-type", "files")]),
        ([1], [("document/field-type", "files")]),
        (["a"] * 1001, [("document/list-long", "files")]),
        ([{"name": "a", "role": "body"}, {"name": "b", "role": "body"}], [("document/bodies", "files")]),
        ([{}], [("document/field-type", "files[0].name")]),
        ([{"name": 5}], [("document/field-type", "files[0].name")]),
        ([{"name": "a", "role": "cover"}], [("document/choice", "files[0].role")]),
        ([{"name": "a", "level": "geheim"}], [("document/level", "files[0].level")]),
        ([{"name": "a", "sise": 1}], [("document/unknown-field-far", "files[0].sise")]),
        (["a", "A"], [("part/name-twice", "A")]),
        (["../etc/passwd"], [("part/name-path", "../etc/passwd")]),
        (["x" * 300], [("part/name-long", "x" * 120)]),
        (["SIGNED"], [("part/name-reserved", "SIGNED")]),
    ],
)
def test_bad_files(files, found):
    assert refused(files=files) == found


def test_the_attachment_note_is_held_against_the_files():
    assert read(files=["a", "b"], attachmentNote=["b"])
    assert refused(files=["a", "b"], attachmentNote=["b", "c"]) == [("document/attachment-note", "attachmentNote")]


# ---- fields


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"title": None}, ("document/title-missing", "title")),
        ({"title": 5}, ("document/field-type", "title")),
        ({"title": "题" * 201}, ("document/field-long", "title")),
        ({"title": "a\nb函"}, ("document/characters", "title")),
        ({"title": "a\u202eb函"}, ("document/characters", "title")),
        ({"level": "geheim"}, ("document/level", "level")),
        ({"level": ["internal"]}, ("document/field-type", "level")),
        ({"urgency": "火急"}, ("document/urgency", "urgency")),
        ({"to": None}, ("document/recipients-missing", "to")),
        ({"to": 5}, ("document/field-type", "to")),
        ({"to": [ORG] * (MAX_LISTED + 1)}, ("document/list-long", "to")),
        ({"to": ["91350100M000100Y44"]}, ("document/recipient-code", "to")),
        ({"to": ["市财政局"]}, ("document/recipient-code", "to[0].org")),
        ({"to": [ORG, ORG]}, ("document/recipient-twice", "to")),
        ({"to": [5]}, ("document/field-type", "to[0].org")),
        ({"to": [{"name": "x"}]}, ("document/recipient-code", "to[0].org")),
        ({"to": [{"org": ORG, "nmae": "x"}]}, ("document/unknown-field", "to[0].nmae")),
        ({"copy": [ORG]}, ("document/recipient-twice", "copy")),
        ({"type": "公涵"}, ("document/type", "type")),
        ({"number": "国办发[2026]1号"}, ("document/number", "number")),
        ({"number": "国办发〔2026〕1号", "documentNumber": "国办发〔2026〕1号"}, ("document/field-twice", "number")),
        ({"id": "7"}, ("document/identifier", "id")),
        ({"copyNumber": "1234567"}, ("document/copy-number", "copyNumber")),
        ({"copyNumber": "一"}, ("document/copy-number", "copyNumber")),
        ({"copyNumber": 1}, ("document/field-type", "copyNumber")),
        ({"writtenDate": "1.3.2026"}, ("document/date", "writtenDate")),
        ({"writtenDate": "20260301"}, ("document/date", "writtenDate")),
        ({"writtenDate": "2026年2月30日"}, ("document/date", "writtenDate")),
        ({"writtenDate": "0026-03-01"}, ("document/date", "writtenDate")),
        ({"writtenDate": 20260301}, ("document/field-type", "writtenDate")),
        ({"writtenDate": "2026-03-09"}, ("document/date-future", "writtenDate")),
        ({"deadline": "2026-04-01T18:00:00"}, ("document/deadline", "deadline")),
        ({"deadline": "tomorrow"}, ("document/deadline", "deadline")),
        ({"deadline": "0001-01-01T00:00:00+08:00"}, ("document/deadline", "deadline")),
        ({"deadline": 5}, ("document/field-type", "deadline")),
        ({"keywords": ["x"] * 65}, ("document/list-long", "keywords")),
        ({"keywords": [5]}, ("document/field-type", "keywords")),
        ({"keywords": ["x" * 101]}, ("document/field-long", "keywords")),
        ({"docketYear": "2026"}, ("document/field-type", "docketYear")),
        ({"docketYear": True}, ("document/field-type", "docketYear")),
        ({"printQuota": -1}, ("document/field-type", "printQuota")),
        ({"retention": "5年"}, ("document/choice", "retention")),
        ({"titel": "x"}, ("document/unknown-field", "titel")),
        ({"完全": "x"}, ("document/unknown-field-far", "完全")),
    ],
)
def test_each_bad_field(changes, found):
    assert refused(**changes) == [found]


def test_the_nearest_field_is_named():
    with pytest.raises(BadInput) as caught:
        read(wirttenDate="2026-03-01")
    assert caught.value.reasons[0].fix == "Did you mean writtenDate?"


def test_the_right_number_is_named():
    with pytest.raises(BadInput) as caught:
        read(number="国办发【26】第01号")
    assert caught.value.reasons[0].fix_zh == "应为“国办发〔2026〕1号”"


def test_everything_wrong_is_said_at_once():
    found = refused(level="x", urgency="y", titel="z", number="一", to=[ORG, ORG], files=["a/b"])
    assert {rule for rule, _ in found} == {
        "document/level",
        "document/urgency",
        "document/unknown-field",
        "document/number-form",
        "document/recipient-twice",
        "part/name-path",
    }


# ---- JSON


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "document/not-json"),
        (b"{", "document/not-json"),
        (b'{"title": NaN}', "document/not-json"),
        (b'{"docketYear": 2026.0}', "document/not-json"),
        (b'{"docketYear": ' + b"9" * 5000 + b"}", "document/not-json"),
        (b"[" * 100_000, "document/not-json"),
        (b"[]", "document/not-an-object"),
        (b'"title"', "document/not-an-object"),
        (b'{"title": "\xff"}', "document/not-utf8"),
        (b'{"title": "a", "title": "b"}', "document/field-twice"),
        (b'{"files": [{"name": "a", "name": "b"}]}', "document/field-twice"),
        (b" " * (MAX_DOCUMENT_JSON + 1), "document/too-large"),
    ],
)
def test_bytes_that_are_no_document(data, rule):
    assert [found for found, _ in refused(data)] == [rule]


def test_json_faults_name_the_place():
    with pytest.raises(BadInput) as caught:
        read_document_json(b'{\n "title": }', AT)
    assert "line 2, column 11" in caught.value.reasons[0].en


def test_lone_surrogates_are_refused():
    assert refused(b'{"title": "\\ud800", "level": "internal", "to": ["91350100M000100Y43"]}') == [("document/characters", "title")]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from([ORG, OTHER, "内部", "2026-03-01", "第5号"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["org", "name", "role", "level"]) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [*LEAST, "copy", "files", "number", "urgency", "deadline", "writtenDate", "keywords", "docketYear", "secrecyMark", "id"]
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_any_object_gives_reasons_or_a_draft_that_can_travel(fields):
    with suppress(BadInput):
        document = read_document_json(json.dumps(LEAST | fields).encode(), AT).document
        assert Document.from_bytes(document.to_bytes()) == document


@given(st.binary(max_size=60))
def test_any_bytes_give_a_draft_or_reasons(data):
    with pytest.raises(BadInput) as caught:
        read_document_json(data, AT)
    assert caught.value.reasons
