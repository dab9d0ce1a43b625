"""Texts of the rules of a document and of reading document.json."""

from __future__ import annotations

from gateway.core.explanations.text import Text

_READING: dict[str, Text] = {
    "document/too-large": Text(
        zh="document.json 有 {size} 字节，超过上限 {largest}",
        en="document.json has {size} bytes, more than {largest}",
        fix="Keep only metadata in it; content belongs into the files beside it.",
        fix_zh="其中只应有元数据；内容请放入同一文件夹的文件中。",
    ),
    "document/not-utf8": Text(
        zh="document.json 不是 UTF-8 编码（第 {offset} 字节）",
        en="document.json is not UTF-8 (byte {offset})",
        fix="Save it as UTF-8.",
        fix_zh="请以 UTF-8 编码保存。",
    ),
    "document/not-json": Text(
        zh="document.json 不是合法的 JSON：第 {line} 行第 {column} 列，{problem}",
        en="document.json is not JSON: line {line}, column {column}: {problem}",
        fix="Correct the spelling there: quotation marks, commas, brackets; numbers are whole.",
        fix_zh="请检查该处的引号、逗号和括号；数字须为整数。",
    ),
    "document/not-an-object": Text(
        zh="document.json 应是一个对象",
        en="document.json is not an object",
        fix='Write the fields between braces: {{"title": …}}.',
        fix_zh="请将各字段写在花括号内：{{“title”: …}}。",
    ),
    "document/field-twice": Text(
        zh="字段“{field}”出现两次", en="field {field} stands there twice", fix="Keep one of them.", fix_zh="请只保留一个。"
    ),
    "document/unknown-field": Text(
        zh="没有字段“{field}”", en="there is no field {field}", fix="Did you mean {nearest}?", fix_zh="是否应为“{nearest}”？"
    ),
    "document/unknown-field-far": Text(
        zh="没有字段“{field}”",
        en="there is no field {field}",
        fix="Take it out; known here: {known}.",
        fix_zh="请删除；可用字段：{known}。",
    ),
    "document/field-type": Text(
        zh="字段“{field}”应是{expected_zh}", en="field {field} is not {expected}", fix="Give it {expected}.", fix_zh="请填写{expected_zh}。"
    ),
    "document/field-long": Text(
        zh="字段“{field}”有 {length} 字，超过 {most} 字",
        en="field {field} has {length} characters, more than {most}",
        fix="Shorten it to {most} characters.",
        fix_zh="请缩短到 {most} 字以内。",
    ),
    "document/list-long": Text(
        zh="字段“{field}”有 {count} 项，超过 {most} 项",
        en="field {field} lists {count}, more than {most}",
        fix="List at most {most}.",
        fix_zh="请不要超过 {most} 项。",
    ),
    "document/characters": Text(
        zh="字段“{field}”含有控制字符、换行或改变文字方向的字符",
        en="field {field} holds control characters, line breaks or characters that turn the direction of text",
        fix="Write it on one line in plain characters.",
        fix_zh="请改为一行普通文字。",
    ),
    "document/choice": Text(
        zh="字段“{field}”没有取值“{value}”",
        en="field {field} has no value {value}",
        fix="Use one of: {choices}.",
        fix_zh="请使用：{choices}。",
    ),
    "document/level": Text(
        zh="没有“{level}”这个密级",
        en="there is no level {level}",
        fix="Use 公开 (public), 内部 (internal), 工作秘密 (work-secret), 秘密 (secret), 机密 (confidential) or 绝密 (top-secret).",
        fix_zh="请使用 公开、内部、工作秘密、秘密、机密、绝密 之一。",
    ),
    "document/urgency": Text(
        zh="没有“{urgency}”这个紧急程度",
        en="there is no urgency {urgency}",
        fix="Use 特提 (flash), 特急 (immediate), 加急 (urgent) or 平件 (routine), or leave it out.",
        fix_zh="请使用 特提、特急、加急、平件 之一，或不填。",
    ),
    "document/urgency-renamed": Text(
        zh="“{urgency}”已停用，按“{now}”处理",
        en="{urgency} is no longer in use; taken as {now}",
        fix="Write {now}.",
        fix_zh="请改为“{now}”。",
    ),
    "document/copy-number": Text(
        zh="份号“{number}”应为 1 至 6 位数字",
        en="copy number {number} is not one to six digits",
        fix="Write digits only, such as 000001.",
        fix_zh="请只填数字，如 000001。",
    ),
    "document/bodies": Text(
        zh="有 {count} 个文件标为正文",
        en="{count} files are marked as the body",
        fix="Mark one file as body and the others as attachment.",
        fix_zh="请只将一个文件标为 body，其余标为 attachment。",
    ),
}

_ELEMENTS: dict[str, Text] = {
    "document/title-missing": Text(zh="没有标题", en="the title is missing", fix="Give the document a title.", fix_zh="请填写标题。"),
    "document/title-type": Text(
        zh="标题没有以文种“{type}”结尾",
        en="the title does not end in the document's type {type}",
        fix="End the title in {type}.",
        fix_zh="标题宜以“{type}”结尾。",
    ),
    "document/identifier": Text(
        zh="“{identifier}”不是公文标识",
        en="{identifier} is no document identifier",
        fix="Write <organisation code>-<year>-<serial> or urn:uuid:…; or leave it out where it is this document's own.",
        fix_zh="请写成 单位代码-年份-流水号 或 urn:uuid:…；本公文的标识也可不填。",
    ),
    "document/type": Text(
        zh="没有文种“{type}”",
        en="there is no document type {type}",
        fix="Did you mean {nearest}? Types: {types}.",
        fix_zh="是否应为“{nearest}”？文种有：{types}。",
    ),
    "document/number": Text(
        zh="发文字号“{number}”不符合 GB/T 9704",
        en="document number {number} is not spelled as GB/T 9704 asks",
        fix="Write {suggestion}",
        fix_zh="应为“{suggestion}”",
    ),
    "document/number-form": Text(
        zh="“{number}”不是发文字号",
        en="{number} is no document number",
        fix="Write it like 国办发〔2012〕1号: issuer, year in full in 〔〕, serial without 第 and without leading zeros, 号.",
        fix_zh="请写成 国办发〔2012〕1号 的形式：机关代字、六角括号中的四位年份、不编虚位且不加“第”的序号、“号”。",
    ),
    "document/number-fits": Text(
        zh="发文字号“{number}”的形式与文种“{type}”不合",
        en="a number like {number} does not go with type {type}",
        fix="Use 第N号 for orders, 第N期 for minutes and 机关代字〔年份〕N号 for the rest.",
        fix_zh="命令用“第N号”，纪要用“第N期”，其余用“机关代字〔年份〕N号”。",
    ),
    "document/number-year": Text(
        zh="发文字号“{number}”的年份不是成文日期的年份 {year}",
        en="the year in {number} is not the year of the written date, {year}",
        fix="Check number and written date.",
        fix_zh="请核对发文字号与成文日期。",
    ),
    "document/secrecy-term": Text(
        zh="保密期限“{term}”的写法不对",
        en="secrecy term {term} is not spelled right",
        fix="Write 10年, 6个月, 2030年12月31日 or 长期.",
        fix_zh="请写成 10年、6个月、2030年12月31日 或 长期。",
    ),
    "document/secrecy-term-without-level": Text(
        zh="有保密期限“{term}”，但密级不是国家秘密",
        en="there is a secrecy term {term}, but no level that has one",
        fix="Correct the level or take the term out.",
        fix_zh="请更正密级，或删去保密期限。",
    ),
    "document/secrecy-term-long": Text(
        zh="保密期限“{term}”超过该密级的 {longest} 年",
        en="secrecy term {term} is longer than the {longest} years of this level",
        fix="Check the term.",
        fix_zh="请核对保密期限。",
    ),
    "document/secrecy-mark": Text(
        zh="密级标志“{mark}”的写法不对",
        en="secrecy mark {mark} is not spelled right",
        fix="Write it like 机密★1年.",
        fix_zh="请写成 机密★1年 的形式。",
    ),
    "document/secrecy-mark-differs": Text(
        zh="密级标志“{mark}”与密级、保密期限不一致（应为“{expected}”）",
        en="secrecy mark {mark} is not what level and term say ({expected})",
        fix="Make mark, level and term agree: the highest of them is the one to keep.",
        fix_zh="请使标志、密级和保密期限一致；以较高者为准。",
    ),
    "document/secret-element-missing": Text(
        zh="涉密公文缺少“{field}”", en="a document with state secrets lacks {field}", fix="Fill in {field}.", fix_zh="请填写“{field}”。"
    ),
    "document/signatory-missing": Text(
        zh="上行文没有签发人",
        en="a document that goes up names no signatory",
        fix="Name who signed it in signatory.",
        fix_zh="请在 signatory 中填写签发人。",
    ),
    "document/signatory-usual": Text(
        zh="“{type}”一般是上行文，应标注签发人",
        en="a {type} usually goes up and names its signatory",
        fix="Fill in signatory and direction.",
        fix_zh="请填写 signatory 和 direction。",
    ),
    "document/recipients-missing": Text(
        zh="没有收件单位",
        en="there is no recipient",
        fix="Name at least one organisation code in to.",
        fix_zh="请在 to 中填写至少一个单位代码。",
    ),
    "document/primary-missing": Text(
        zh="“{type}”没有主送机关",
        en="a {type} needs a primary recipient",
        fix="Name at least one organisation in to; only 公告, 通告, 决议 and 公报 go without.",
        fix_zh="请在 to 中填写主送机关；只有公告、通告、决议、公报可以没有。",
    ),
    "document/recipient-code": Text(
        zh="“{org}”不是有效的统一社会信用代码",
        en="{org} is no unified social credit code",
        fix="Check the 18 characters; the last one is a check character.",
        fix_zh="请核对18位代码；末位为校验码。",
    ),
    "document/recipient-twice": Text(
        zh="收件单位 {org} 重复",
        en="recipient {org} is named twice",
        fix="Name it once, in to or in copy.",
        fix_zh="请只在 to 或 copy 中写一次。",
    ),
    "document/one-superior": Text(
        zh="请示只能有一个主送机关，现有 {count} 个",
        en="a request (请示) goes to exactly one superior, not {count}",
        fix="Keep one organisation in to; others who should know belong into copy.",
        fix_zh="请只保留一个主送机关；需要知晓的列为抄送。",
    ),
    "document/contact-missing": Text(
        zh="请示应在附注中写明联系人姓名和电话",
        en="a request (请示) names a contact and a telephone number in its annotation",
        fix="Write annotation like （联系人：张三，电话：010-12345678）.",
        fix_zh="请在 annotation 中写明，如（联系人：张三，电话：010-12345678）。",
    ),
    "document/attachment-note": Text(
        zh="附件说明有 {noted} 项，附件有 {count} 个",
        en="the attachment note lists {noted}, there are {count} attachments",
        fix="Make attachmentNote and the attachments agree.",
        fix_zh="请使附件说明与附件一致。",
    ),
    "document/date": Text(
        zh="“{date}”不是日期",
        en="{date} is no date",
        fix="Write it like 2026-03-01 or 2026年3月1日.",
        fix_zh="请写成 2026-03-01 或 2026年3月1日。",
    ),
    "document/date-future": Text(
        zh="成文日期 {date} 在将来", en="the written date {date} lies in the future", fix="Check the date.", fix_zh="请核对成文日期。"
    ),
    "document/printed-before": Text(
        zh="印发日期 {printed} 早于成文日期 {written}",
        en="printing date {printed} is before written date {written}",
        fix="Check both dates.",
        fix_zh="请核对两个日期。",
    ),
    "document/direction": Text(
        zh="“{type}”一般是{usual}文，不是{direction}文",
        en="a {type} usually goes {usual}, not {direction}",
        fix="Check type and direction.",
        fix_zh="请核对文种与行文方向。",
    ),
    "document/deadline": Text(
        zh="“{deadline}”不是带时区的时刻",
        en="{deadline} is no moment with a time zone",
        fix="Write it like 2026-03-01T18:00:00+08:00.",
        fix_zh="请写成 2026-03-01T18:00:00+08:00。",
    ),
    "document/deadline-past": Text(
        zh="办理时限 {deadline} 已过", en="the deadline {deadline} has passed", fix="Check the deadline.", fix_zh="请核对办理时限。"
    ),
    "document/basis-without-deadline": Text(
        zh="有时限依据而没有办理时限",
        en="there is a basis for a deadline, but no deadline",
        fix="Fill in deadline, or take deadlineBasis out.",
        fix_zh="请填写 deadline，或删去 deadlineBasis。",
    ),
}

_PARTS: dict[str, Text] = {
    "part/name-empty": Text(zh="文件没有名称", en="a file has no name", fix="Give it a name.", fix_zh="请为文件命名。"),
    "part/name-long": Text(
        zh="文件名过长：“{name}”",
        en="the file name is too long: {name}",
        fix="Use at most {characters} characters and {bytes} bytes.",
        fix_zh="文件名不超过 {characters} 字、{bytes} 字节。",
    ),
    "part/name-path": Text(
        zh="“{name}”不是单纯的文件名",
        en="{name} is not a plain file name",
        fix='Use a name without / \\ : * ? " < > | or what looks like a slash, and without a dot or space at either end.',
        fix_zh='文件名不得含有 / \\ : * ? " < > | 或形似斜线的字符（如“／”），首尾不得为句点或空格。',
    ),
    "part/name-characters": Text(
        zh="文件名“{name}”含有控制字符、改变文字方向的字符或不可见字符，或不是 Unicode NFC 形式",
        en="file name {name} holds control, direction or invisible characters, or is not in Unicode normal form C",
        fix="Rename the file in plain characters.",
        fix_zh="请用普通文字重新命名。",
    ),
    "part/name-reserved": Text(
        zh="文件名“{name}”另有含义，不能用作文件名",
        en="{name} has a meaning of its own and cannot be a file of a document",
        fix="Rename the file.",
        fix_zh="请重新命名。",
    ),
    "part/name-twice": Text(
        zh="文件名“{name}”与“{other}”重复（不分大小写）",
        en="{name} and {other} are the same name but for case",
        fix="Rename one of them.",
        fix_zh="请将其中一个重新命名。",
    ),
}

DOCUMENTS: dict[str, Text] = {**_READING, **_ELEMENTS, **_PARTS}
