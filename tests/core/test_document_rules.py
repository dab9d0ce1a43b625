"""The rules of a document, one by one: each holds for a good document and speaks for the fault it is about."""

from datetime import UTC, datetime

import msgspec
import pytest

from gateway.core import document_rules
from gateway.core.document import Addressee, Document
from gateway.core.document_rules import ERRORS, WARNINGS, lint

ORG, OTHER = "91350100M000100Y43", "11440100007482001H"
AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
GOOD = Document(
    title="关于开展检查的函",
    document_type="函",
    urgency="routine",
    level="internal",
    document_number="市政办函〔2026〕5号",
    written_date="2026-03-01",
    primary_recipients=(Addressee(org=ORG),),
)
REQUEST = {"document_type": "请示", "title": "关于经费的请示", "signatory": ("张三",), "annotation": "（联系人：张三，电话：010-12345678）"}
SECRET = {"level": "confidential", "secrecy_term": "10年", "copy_number": "000001", "classifier": "张三", "secrecy_mark": "机密★10年"}


def rules(attachments: int | None = None, at: datetime | None = AT, **changes: object) -> tuple[list[str], list[str]]:
    errors, warnings = lint(msgspec.structs.replace(GOOD, **changes), at, attachments=attachments)
    return [reason.rule for reason in errors], [reason.rule for reason in warnings]


def test_a_good_document_is_good():
    assert rules() == ([], [])


@pytest.mark.parametrize(
    "changes", [REQUEST, SECRET, {"document_type": None}, {"document_number": None, "written_date": None}, {"level": None}]
)
def test_other_good_documents(changes):
    assert rules(**changes) == ([], [])


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("document/title-missing", {"title": "  ", "document_type": None}),
        ("document/identifier", {"document_identifier": "5"}),
        ("document/identifier", {"reply_to": ("5",)}),
        ("document/identifier", {"supersedes": (f"{ORG}-2026-1", "5")}),
        ("document/type", {"document_type": "公涵"}),
        ("document/number", {"document_number": "国办发[2026]1号"}),
        ("document/number-form", {"document_number": "一号文件"}),
        ("document/secrecy-term", SECRET | {"secrecy_term": "十年", "secrecy_mark": None}),
        ("document/secrecy-term-without-level", {"secrecy_term": "10年"}),
        ("document/secrecy-mark", SECRET | {"secrecy_mark": "机密*10年"}),
        ("document/secrecy-mark", {"secrecy_mark": "内部★1年"}),
        ("document/secrecy-mark-differs", SECRET | {"secrecy_mark": "秘密★10年"}),
        ("document/secrecy-mark-differs", SECRET | {"secrecy_mark": "机密"}),
        ("document/secrecy-mark-differs", {"secrecy_mark": "机密★1年"}),
        ("document/secrecy-mark-differs", {"secrecy_mark": "机密", "level": None}),
        ("document/signatory-missing", {"direction": "上行"}),
        ("document/recipient-code", {"primary_recipients": (Addressee(org="91350100M000100Y44"),)}),
        ("document/recipient-code", {"copy_recipients": (Addressee(org="91350100M000100Y44"),)}),
        ("document/recipient-twice", {"copy_recipients": (Addressee(org=ORG),)}),
        ("document/recipient-twice", {"primary_recipients": (Addressee(org=ORG), Addressee(org=ORG))}),
        ("document/recipients-missing", {"primary_recipients": ()}),
        ("document/primary-missing", {"primary_recipients": (), "copy_recipients": (Addressee(org=ORG),)}),
        ("document/one-superior", REQUEST | {"primary_recipients": (Addressee(org=ORG), Addressee(org=OTHER))}),
        ("document/date", {"written_date": "2026-02-30", "document_number": None}),
        ("document/date", {"printing_date": "2026-02-30"}),
        ("document/date-future", {"written_date": "2026-03-03"}),
        ("document/deadline", {"deadline": "2026-02-30T10:00:00Z"}),
    ],
)
def test_each_error(rule, changes):
    assert rules(**changes)[0] == [rule]


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("document/title-type", {"title": "关于开展检查"}),
        ("document/number-fits", {"document_number": "第5号"}),
        ("document/number-fits", {"document_number": "第5期"}),
        ("document/number-year", {"document_number": "市政办函〔2025〕5号"}),
        ("document/secret-element-missing", SECRET | {"classifier": None}),
        ("document/secret-element-missing", SECRET | {"copy_number": None}),
        ("document/secret-element-missing", SECRET | {"secrecy_term": None, "secrecy_mark": "机密"}),
        ("document/secrecy-term-long", SECRET | {"secrecy_term": "21年", "secrecy_mark": None}),
        ("document/signatory-usual", REQUEST | {"signatory": ()}),
        ("document/contact-missing", REQUEST | {"annotation": None}),
        ("document/contact-missing", REQUEST | {"annotation": "（联系人：张三）"}),
        ("document/contact-missing", REQUEST | {"annotation": "010-12345678"}),
        ("document/direction", {"document_type": "批复", "title": "关于经费的批复", "direction": "上行", "signatory": ("张三",)}),
        ("document/direction", REQUEST | {"direction": "下行"}),
        ("document/printed-before", {"printing_date": "2026-02-28"}),
        ("document/deadline-past", {"deadline": "2026-03-01T07:00:00Z"}),
        ("document/basis-without-deadline", {"deadline_basis": "领导批示"}),
    ],
)
def test_each_warning(rule, changes):
    assert rules(**changes) == ([], [rule])


@pytest.mark.parametrize("document_type", ["公告", "通告", "决议", "公报"])
def test_published_documents_need_no_primary_recipient(document_type):
    changes = {"document_type": document_type, "title": f"关于某事的{document_type}"}
    assert rules(primary_recipients=(), copy_recipients=(Addressee(org=ORG),), **changes) == ([], [])


def test_a_request_has_exactly_one_superior():
    assert rules(**REQUEST, copy_recipients=(Addressee(org=OTHER),))[0] == []


def test_an_order_is_titled_and_numbered_as_one():
    assert rules(document_type="命令", title="市政府令", document_number="第5号") == ([], [])


def test_minutes_are_numbered_as_such():
    assert rules(document_type="纪要", title="会议纪要", document_number="第5期") == ([], [])


def test_another_type_may_be_titled_freely():
    assert rules(document_type="其他", title="材料") == ([], [])


@pytest.mark.parametrize(("noted", "attachments", "errors"), [(1, 1, 0), (1, 2, 1), (2, 0, 1), (0, 3, 0), (1, None, 0)])
def test_the_note_of_attachments_agrees_with_them(noted, attachments, errors):
    found, _ = rules(attachments=attachments, attachment_note=("名单",) * noted)
    assert found == ["document/attachment-note"] * errors


@pytest.mark.parametrize("written", ["2026-03-01", "2026-03-02", "1999-01-01"])
def test_a_date_may_be_tomorrow_and_any_day_before(written):
    assert rules(written_date=written, document_number=None) == ([], [])


def test_without_a_moment_nothing_is_in_the_future():
    assert rules(at=None, written_date="2099-01-01", document_number=None, deadline="2001-01-01T00:00:00Z") == ([], [])


def test_work_secrets_may_be_marked_by_their_name():
    assert rules(level="work-secret", secrecy_mark="工作秘密") == ([], [])


@pytest.mark.parametrize(("written", "full"), [("2012-05-01", "2012"), ("1999-05-01", "1912")])
def test_a_number_is_mended_by_the_year_of_the_document(written, full):
    (reason,) = lint(msgspec.structs.replace(GOOD, document_number="国办发〔12〕1号", written_date=written), AT)[0]
    assert reason.fix == f"Write 国办发〔{full}〕1号"


def test_a_number_is_mended_without_any_date():
    (reason,) = lint(msgspec.structs.replace(GOOD, document_number="国办发〔12〕1号", written_date=None), None)[0]
    assert reason.fix == "Write 国办发〔2012〕1号"


def test_the_nearest_type_is_offered():
    for wrong, right in (("通只", "通知"), ("令", "命令"), ("xyz", "其他")):
        (reason,) = lint(msgspec.structs.replace(GOOD, document_type=wrong), AT)[0]
        assert f"Did you mean {right}?" in reason.fix


def test_every_rule_of_the_file_is_in_force():
    defined = {
        name
        for name, value in vars(document_rules).items()
        if callable(value) and getattr(value, "__annotations__", {}).get("subject") == "Subject"
    }
    helpers = {name for name in defined if name.startswith("_")}
    assert {rule.__name__ for rule in (*ERRORS, *WARNINGS)} == defined - helpers
