"""Texts about offers and acts of an office system: what lies in its tray, and what a person put beside a document."""

from __future__ import annotations

from gateway.core.explanations.text import Text

OFFICES: dict[str, Text] = {
    "offer/not-a-folder": Text(
        zh="“{name}”不是文件夹（{kind}），不予读取",
        en="{name} is no folder ({kind}); it was not read",
        fix="Put a real folder with document.json and its files into the outbox; links are not followed.",
        fix_zh="请在发件箱中放入真实的文件夹，内含 document.json 和各文件；不跟随链接。",
    ),
    "offer/source-open": Text(
        zh="“{source}”下已有一份尚未办结的公文（交换编号 {exchange}），内容不同，不能以同名再次发送",
        en="another document was sent as {source} and its exchange {exchange} is not ended yet",
        fix="Give the folder another name, or wait until the first exchange has ended.",
        fix_zh="请更换文件夹名称，或等待前一份公文办结。",
    ),
    "offer/to-self": Text(
        zh="收文单位是本单位自己（{org}）",
        en="{org} is the sender itself",
        fix="Name another recipient.",
        fix_zh="请填写其他收文单位。",
    ),
    "offer/too-large": Text(
        zh="各部分合计 {size} 字节，一件公文最多 {largest} 字节",
        en="the parts have {size} bytes together; a document has at most {largest}",
        fix="Split it into several documents.",
        fix_zh="请拆分为多件公文发送。",
    ),
    "offer/unreadable": Text(
        zh="“{name}”无法读取：{why}",
        en="{name} cannot be read: {why}",
        fix="Give the gateway's account the right to read and move it.",
        fix_zh="请授予网关运行账户读取和移动该文件的权限。",
    ),
    "offer/too-many-files": Text(
        zh="文件夹中的文件超过 {most} 个",
        en="more than {most} files lie in the folder",
        fix="Pack attachments together, or send several documents.",
        fix_zh="请将附件打包，或分为多份公文发送。",
    ),
    "offer/no-document": Text(
        zh="缺少 document.json",
        en="there is no document.json",
        fix="Put document.json beside the files, and .ready last.",
        fix_zh="请在文件旁放入 document.json，最后再放入 .ready。",
    ),
    "offer/changed": Text(
        zh="“{name}”在读取过程中被改动",
        en="{name} changed while it was read",
        fix="Finish writing every file, then create .ready; move the folder back to the outbox to send it again.",
        fix_zh="请先写完所有文件，再创建 .ready；将文件夹移回发件箱即可重新发送。",
    ),
    "offer/link": Text(
        zh="“{name}”是链接，不予跟随",
        en="{name} is a link; links are not followed",
        fix="Copy the file itself into the folder.",
        fix_zh="请将文件本身复制到文件夹中。",
    ),
    "offer/nested-folder": Text(
        zh="“{name}”是子文件夹",
        en="{name} is a folder inside the folder",
        fix="Put the files beside document.json, or pack the folder into one archive file.",
        fix_zh="请将文件放在 document.json 旁边，或将子文件夹打包为一个文件。",
    ),
    "offer/not-a-file": Text(
        zh="“{name}”不是普通文件",
        en="{name} is no plain file",
        fix="Only plain files can be sent: no devices, pipes or sockets.",
        fix_zh="只能发送普通文件，不能是设备、管道或套接字。",
    ),
    "offer/file-missing": Text(
        zh="document.json 列出了“{name}”，但文件夹中没有",
        en="document.json names {name}, which is not in the folder",
        fix="Add the file, or take it out of document.json.",
        fix_zh="请补上该文件，或从 document.json 中删去。",
    ),
    "offer/file-not-listed": Text(
        zh="文件夹中有“{name}”，但 document.json 未列出",
        en="{name} is in the folder, but document.json does not name it",
        fix="Name it in document.json, or take it out of the folder: nothing is sent that the document does not name.",
        fix_zh="请在 document.json 中列出，或将其移出文件夹：未列出的文件不会发送。",
    ),
    "offer/media-type": Text(
        zh="“{media_type}”不是媒体类型",
        en="{media_type} is no media type",
        fix="Write it in lower case as type/subtype, for example application/pdf, or leave it out.",
        fix_zh="请用小写写成 类型/子类型，例如 application/pdf，或不填。",
    ),
    "offer/no-files": Text(
        zh="文件夹中没有可发送的文件",
        en="there is no file to send",
        fix="Put the body of the document into the folder.",
        fix_zh="请将公文正文放入文件夹。",
    ),
    "offer/which-body": Text(
        zh="文件夹中有多个文件，而 document.json 未指明正文",
        en="there are several files, and document.json does not say which is the body",
        fix='Name them in document.json: "files": [{{"name": "…", "role": "body"}}, {{"name": "…", "role": "attachment"}}].',
        fix_zh='请在 document.json 中列明："files": [{{"name": "…", "role": "body"}}, {{"name": "…", "role": "attachment"}}]。',
    ),
    "offer/sent-before": Text(
        zh="同一公文已作为交换 {exchange} 发出",
        en="the same document was sent before, as exchange {exchange}",
        fix="Nothing to do: its status is in sent/{exchange}. To send it anew, change the folder's name or the document.",
        fix_zh="无需处理：其状态见 sent/{exchange}。如需重新发送，请更改文件夹名或公文内容。",
    ),
    "act/no-reason": Text(
        zh="退回须写明原因，而 RETURNED 是空的",
        en="a return needs a reason, and RETURNED is empty",
        fix="Put a file RETURNED there again, with the reason as its text.",
        fix_zh="请重新放入 RETURNED 文件，并在其中写明退回原因。",
    ),
    "act/unreadable": Text(
        zh="“{name}”不是可读的文本文件：{why}",
        en="{name} is no readable text file: {why}",
        fix="Put a plain file there: SIGNED empty, or RETURNED with the reason as UTF-8 text of at most {most} bytes.",
        fix_zh="请放入普通文件：SIGNED 为空文件，RETURNED 以 UTF-8 写明原因，不超过 {most} 字节。",
    ),
}
