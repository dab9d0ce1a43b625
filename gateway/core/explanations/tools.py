"""Texts of the command line, the pilot authority and the doctor."""

from __future__ import annotations

from gateway.core.explanations.text import Text

TOOLS: dict[str, Text] = {
    "pilot/nothing-to-revoke": Text(
        zh="{org} 没有有效的“{purpose}”证书",
        en="{org} has no valid {purpose} certificate",
        fix="Check the organisation code and the purpose (sign, encrypt, tls); `yizhan authority list` shows what was issued.",
        fix_zh="请核对单位代码和用途（sign、encrypt、tls）；`yizhan authority list` 可列出已签发的证书。",
    ),
    "bench-failed": Text(
        zh="性能测量未能完成：有公文没有送达、送达两次或耗时过久",
        en="the measurement came to nothing: a document did not arrive, arrived twice, or took far too long",
        fix="Look at the log file named; on a machine busy with other work, measure again when it is idle.",
        fix_zh="请查看所指的日志文件；机器繁忙时，请待空闲后重测。",
    ),
    "cli/no-database": Text(
        zh="还没有数据库：{place}",
        en="there is no database yet: {place}",
        fix="Run `yizhan serve --home DIR` once.",
        fix_zh="请先运行一次 `yizhan serve --home DIR`。",
    ),
    "cli/log-is-whole": Text(
        zh="日志 {origin} 完好（{size} 项），无须另起",
        en="the log {origin} is whole ({size} leaves): there is nothing to give up",
        fix="Start the gateway as usual.",
        fix_zh="请照常启动网关。",
    ),
    "cli/unknown-exchange": Text(
        zh="本机没有交换 {exchange}",
        en="there is no exchange {exchange} here",
        fix="`yizhan trace --home DIR` lists the exchanges this gateway knows.",
        fix_zh="`yizhan trace --home DIR` 可列出本网关的全部交换。",
    ),
    "cli/ambiguous-exchange": Text(
        zh="“{exchange}”对应多个交换：{candidates}",
        en="{exchange} is the beginning of several exchanges: {candidates}",
        fix="Give more characters of the one you mean; two senders may have used one id, so the sender's code stands behind it.",
        fix_zh="请多给出几位；不同发文单位可能使用同一编号，故编号后附发文单位代码。",
    ),
    "cli/not-in-inbox": Text(
        zh="收件箱中没有 {exchange}",
        en="{exchange} is not in the inbox",
        fix="Only a delivered document can be signed for or returned; `yizhan trace` shows where it stands.",
        fix_zh="只有已送达的公文才能签收或退回；`yizhan trace` 可查看其状态。",
    ),
    "cli/already-answered": Text(
        zh="{exchange} 已经{act}",
        en="{exchange} was answered already: {act}",
        fix="An outcome is stated once and cannot be changed.",
        fix_zh="结果只作一次，不能更改。",
    ),
    "cli/reason-needed": Text(
        zh="退回必须写明理由",
        en="a return needs a reason",
        fix="Give one with --reason, at most {longest} characters.",
        fix_zh="请用 --reason 写明，不超过 {longest} 字。",
    ),
    "cli/no-such-file": Text(
        zh="无法读取文件 {file}：{problem}",
        en="cannot read the file {file}: {problem}",
        fix="Check the path and its permissions.",
        fix_zh="请检查路径和权限。",
    ),
    "cli/file-twice": Text(
        zh="两个文件同名：{file}",
        en="two files have the name {file}",
        fix="Rename one; names must differ in more than case.",
        fix_zh="请改名；仅大小写不同也算同名。",
    ),
    "cli/recipient-twice": Text(
        zh="收件单位重复：{org}",
        en="{org} is named twice as recipient",
        fix="Name each organisation once, with --to or with --copy.",
        fix_zh="每个单位只写一次：主送用 --to，抄送用 --copy。",
    ),
    "cli/no-office-folder": Text(
        zh="本网关的办公系统不是文件夹",
        en="this gateway's office is not a folder",
        fix="`yizhan send` and `sign-for` write into the folder office; use the agency's own office system.",
        fix_zh="`yizhan send` 与 `sign-for` 只用于文件夹式办公系统；请使用本单位的办公系统。",
    ),
    "cli/exists": Text(
        zh="{place} 已存在",
        en="{place} exists already",
        fix="Name a new folder; nothing is overwritten.",
        fix_zh="请另指定一个新目录；已有内容不会被覆盖。",
    ),
    "cli/nothing-sealed": Text(
        zh="交换 {exchange} 还没有可导出的证据",
        en="exchange {exchange} holds no evidence yet",
        fix="Evidence exists once the document was sealed or accepted.",
        fix_zh="公文封装或接收之后才有证据。",
    ),
}
