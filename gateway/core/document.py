"""The document 公文 as a value: the 18 core elements of GB/T 33480 and the extensions an exchange needs.

Its parts (body, attachments) are not here but in the manifest, and its rules are in ``document_rules``: a value may be read long after
it was written, by a gateway with other rules. Every text is bounded, for this travels inside every manifest.

Aligned with GB/T 33480-2016; the English names are our own, for the public excerpt shows none.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

import msgspec

from gateway.core.canonical import OrgCode, Wire
from gateway.core.levels import LEVELS
from gateway.core.organisation import BadOrganisationCode, check_code, check_old_code

MAX_TITLE = 200  # GB/T 9704 gives none; two hundred characters are five printed lines
MAX_WORDS = 100  # names, marks, notes of one line
MAX_NOTE = 1_000  # characters of one free field: half a page
MAX_LISTED = 1_000  # recipients, as in a transmittal
MAX_FEW = 64  # signing organisations, keywords, related documents, notes of attachments

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORDS)]
Note = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NOTE)]
Date = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\Z")]
Moment = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z\Z")]
Few = Annotated[tuple[Line, ...], msgspec.Meta(max_length=MAX_FEW)]

LevelId = Literal["public", "internal", "work-secret", "secret", "confidential", "top-secret"]
UrgencyId = Literal["flash", "immediate", "urgent", "routine"]

DOCUMENT_TYPES = (
    "决议",
    "决定",
    "命令",
    "公报",
    "公告",
    "通告",
    "意见",
    "通知",
    "通报",
    "报告",
    "请示",
    "批复",
    "议案",
    "函",
    "纪要",
)  # 条例 art. 8
OTHER_TYPE = "其他"  # policy may refuse it
DIRECTIONS = ("上行", "下行", "平行")
RETENTIONS = ("永久", "30年", "10年")  # 国家档案局令第8号
DISCLOSURES = ("主动公开", "依申请公开", "不予公开")

_IDENTIFIER = re.compile(r"([0-9A-Z]{18}|[0-9A-Z]{9})-(\d{4})-([1-9]\d{0,9})", re.ASCII)
_UUID_URN = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


class Addressee(Wire, frozen=True, kw_only=True):
    """A recipient as the document names it: the organisation, and the name printed for it where that differs."""

    org: OrgCode
    name: Line | None = None


class Document(Wire, frozen=True, kw_only=True, rename="camel"):
    """The metadata of one document. Field by field: GB/T 33480 clause, or extension."""

    document_identifier: Line | None = None  # 4.1 公文标识; given when the exchange is opened, if the office gave none
    document_type: Line | None = None  # 4.2 文种
    copy_number: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}\Z")] | None = None  # 4.3 份号
    level: LevelId | None = None  # 4.4 密级; its rules are policy's
    secrecy_term: Line | None = None  # 4.4 保密期限
    secrecy_mark: Line | None = None  # 4.4 as printed: 机密★1年
    urgency: UrgencyId  # 4.5 紧急程度
    issuing_authority_mark: Line | None = None  # 4.6 发文机关标志
    document_number: Line | None = None  # 4.7 发文字号
    signatory: Few = ()  # 4.8 签发人; several on a joint document
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TITLE)]  # 4.9 标题
    primary_recipients: Annotated[tuple[Addressee, ...], msgspec.Meta(max_length=MAX_LISTED)] = ()  # 4.10 主送机关
    attachment_note: Annotated[tuple[Note, ...], msgspec.Meta(max_length=MAX_FEW)] = ()  # 4.11 附件说明, one line an attachment
    signature: Few = ()  # 4.12 发文机关或签发人署名; the lead organisation first
    written_date: Date | None = None  # 4.13 成文日期
    annotation: Note | None = None  # 4.14 附注
    copy_recipients: Annotated[tuple[Addressee, ...], msgspec.Meta(max_length=MAX_LISTED)] = ()  # 4.15 抄送机关
    printing_authority: Line | None = None  # 4.16 印发机关
    printing_date: Date | None = None  # 4.17 印发日期
    release_level: Line | None = None  # 4.18 发布层次
    # Extensions (GB/T 33480 clause 5): they add, none redefines a core element.
    keywords: Few = ()  # 主题词
    docket_year: Annotated[int, msgspec.Meta(ge=1900, le=9999)] | None = None  # 年度
    retention: Literal["永久", "30年", "10年"] | None = None  # 保管期限
    direction: Literal["上行", "下行", "平行"] | None = None  # 行文方向
    reply_to: Few = ()  # identifiers this one answers
    supersedes: Few = ()  # identifiers this one replaces
    deadline: Moment | None = None  # 办理时限
    deadline_basis: Note | None = None
    print_quota: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None  # 允许打印份数, per recipient
    disclosure: Literal["主动公开", "依申请公开", "不予公开"] | None = None  # 公开方式
    classifier: Line | None = None  # 定密责任人
    classification_basis: Note | None = None  # 定密依据

    def completed(self, *, identifier: str, written: date) -> Document:
        """The document with identifier and written date filled in where the office gave none."""
        return msgspec.structs.replace(
            self,
            document_identifier=self.document_identifier or identifier,
            written_date=self.written_date or written.isoformat(),
        )

    @property
    def state_secret(self) -> bool:
        """Whether the level marked is one of the three of the law on state secrets."""
        return self.level is not None and LEVELS[self.level].state_secret


def is_identifier(text: str) -> bool:
    """Whether a text has the form of a document identifier: ``<code>-<year>-<serial>`` with a good code, or a UUID URN."""
    if _UUID_URN.fullmatch(text):
        return True
    match = _IDENTIFIER.fullmatch(text)
    if match is None:
        return False
    try:
        (check_code if len(match[1]) == 18 else check_old_code)(match[1])
    except BadOrganisationCode:
        return False
    return True
