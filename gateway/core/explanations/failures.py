"""Texts of our own failures: configuration, keys, disk, database."""

from __future__ import annotations

from gateway.core.explanations.text import Text

_SUPPORT = "Look at the log around this moment; if it happens again, report it with the output of `yizhan doctor`."
_SUPPORT_ZH = "请查看此刻前后的日志；若再次出现，请附上 `yizhan doctor` 的输出报告。"

FAILURES: dict[str, Text] = {
    "error": Text(zh="出现错误", en="something failed", fix=_SUPPORT, fix_zh=_SUPPORT_ZH),
    "local-error": Text(zh="本网关出现错误", en="something failed in this gateway", fix=_SUPPORT, fix_zh=_SUPPORT_ZH),
    "internal": Text(zh="本网关暂时无法处理", en="this gateway cannot do this now", fix=_SUPPORT, fix_zh=_SUPPORT_ZH),
    "impossible-transition": Text(zh="状态不允许此事件", en="no such step from this state", fix=_SUPPORT, fix_zh=_SUPPORT_ZH),
    "superseded": Text(
        zh="状态已被其他操作改变",
        en="something else changed the state first",
        fix="Nothing: it is decided again from the new state.",
        fix_zh="无需处理：将按新状态重新判断。",
    ),
    "clearance-void": Text(
        zh="放行决定不再适用（策略、目录、时间或内容已变化）",
        en="the clearance no longer covers this: policy, directory, time or content changed",
        fix="Nothing: it is decided again.",
        fix_zh="无需处理：将重新判断。",
    ),
    "bad-configuration": Text(
        zh="配置或策略文件不可用",
        en="a configuration or policy file cannot be used",
        fix="Correct the key named; `yizhan doctor` checks the whole configuration.",
        fix_zh="请更正所指的配置项；`yizhan doctor` 可检查全部配置。",
    ),
    "bad-input": Text(
        zh="输入不符合要求",
        en="the input does not hold",
        fix="Each reason says what mends it.",
        fix_zh="请按各条理由改正。",
    ),
    "not-in-force": Text(
        zh="本网关没有生效的交换目录",
        en="no directory is in force in this gateway",
        fix="Nothing where directory.url answers: it is fetched anew; else mend directory.url and trust.crl_urls.",
        fix_zh="若 directory.url 可用则会自动更新；否则请检查 directory.url 与 trust.crl_urls。",
    ),
    "key-unusable": Text(
        zh="本网关的密钥无法使用",
        en="one of our own keys cannot be used",
        fix="Check the key file, its password and that it belongs to the certificate.",
        fix_zh="请检查密钥文件、口令以及与证书是否匹配。",
    ),
    "sm2-missing": Text(
        zh="本机没有可用的 SM2 实现",
        en="no SM2 implementation is usable on this machine",
        fix="Install OpenSSL 3 (libcrypto) with SM2, or the gmssl package.",
        fix_zh="请安装带 SM2 的 OpenSSL 3（libcrypto）或 gmssl 软件包。",
    ),
    "libcrypto-failed": Text(
        zh="libcrypto 拒绝了一次本应成功的调用",
        en="libcrypto refused a call it had no reason to refuse",
        fix="Check the library named by `yizhan doctor`; another OpenSSL 3 may be needed.",
        fix_zh="请检查 `yizhan doctor` 列出的库；可能需要更换 OpenSSL 3 版本。",
    ),
    "content-too-long": Text(
        zh="内容超过一个密钥可加密的长度",
        en="there is more content than one key may encrypt",
        fix="Send it in several exchanges.",
        fix_zh="请分多次发送。",
    ),
    "crl-stale": Text(
        zh="证书撤销列表已过期，无法判断证书是否有效",
        en="the certificate revocation list is out of date, so certificates cannot be judged",
        fix="Fetch a fresh list from the certificate authority; it is tried again by itself.",
        fix_zh="请向证书机构获取新的撤销列表；系统会自动重试。",
    ),
    "trust-unusable": Text(
        zh="配置的信任根无法使用",
        en="the configured roots cannot be used",
        fix="Check the files in the trust folder.",
        fix_zh="请检查信任目录中的文件。",
    ),
    "cannot-issue": Text(
        zh="证书机构不能签发所请求的证书",
        en="the authority cannot issue what was asked",
        fix="Check subject, profile and days asked for.",
        fix_zh="请检查请求的主体、类型和期限。",
    ),
    "clock-untrusted": Text(
        zh="本机时钟与时间戳机构不一致，或长时间未得到可信时间",
        en="our clock and the time authority disagree, or no authority spoke for too long",
        fix="Correct the system clock (NTP) and check that the time authority answers; nothing is accepted until then.",
        fix_zh="请校准系统时钟（NTP）并检查时间戳机构是否可达；在此之前不受理公文。",
    ),
    "away-too-long": Text(
        zh="所缺条件超过了策略容许的时间",
        en="what is away has been away for longer than the policy lets this level go on",
        fix="Bring it back (`yizhan doctor` says what to do); the document waits and goes on by itself.",
        fix_zh="请恢复所缺条件（`yizhan doctor` 会给出办法）；公文将等待并自动继续。",
    ),
    "already-open": Text(
        zh="该公文的交换已经受理",
        en="an exchange of this document is open already",
        fix="Follow the exchange that is open; offer changed content under a new name or after it ended.",
        fix_zh="请查看已受理的交换；内容有变动的，请另起名称或待其结束后再发。",
    ),
    "name-taken": Text(
        zh="办公系统中已有同名的来文（另一单位使用了同一交换编号）",
        en="the office has an arrival of that name already: another sender used the same exchange id",
        fix="Nothing to do: the second gets a name with its sender's code behind the id.",
        fix_zh="无须处理：后到者的名称将附发文单位代码。",
    ),
    "journal-stopped": Text(
        zh="日志写入失败，网关必须停止并恢复",
        en="the journal failed; the gateway must stop and recover",
        fix="Check the disk, then start the gateway again; nothing acknowledged was lost.",
        fix_zh="请检查磁盘后重新启动网关；已确认的内容没有丢失。",
    ),
    "log-behind": Text(
        zh="日志落后于标记：已签署的比现有的多，数据库是旧的备份",
        en="the log is behind its mark: more was signed than is there; this database is an older copy",
        fix="Put back the newest database. If there is none: `yizhan audit new-log --home DIR --reason restored`.",
        fix_zh="请放回最新的数据库；没有时运行 `yizhan audit new-log --home DIR --reason restored`。",
    ),
    "no-room": Text(
        zh="磁盘空间不足",
        en="there is not enough disk room",
        fix="Free disk space; it is tried again by itself.",
        fix_zh="请清理磁盘空间；系统会自动重试。",
    ),
    "blob-missing": Text(
        zh="数据库记录的内容文件不存在",
        en="a content file the database names is not there",
        fix="Run `yizhan fsck`; restore the file from the backup.",
        fix_zh="请运行 `yizhan fsck`，并从备份恢复该文件。",
    ),
    "unreadable": Text(
        zh="数据库无法读取",
        en="the database could not be read",
        fix="Check the disk; run `yizhan fsck`.",
        fix_zh="请检查磁盘，并运行 `yizhan fsck`。",
    ),
    "tree-damaged": Text(
        zh="审计日志的树与日志项不一致",
        en="the audit log's tree does not agree with its leaves",
        fix="Run `yizhan audit verify`; keep the disk as it is and tell the security officer.",
        fix_zh="请运行 `yizhan audit verify`；保持磁盘原状并报告安全审计员。",
    ),
    "older-database": Text(
        zh="数据库由较早版本的程序写入，本程序不再支持其格式",
        en="the database was written by an older program, whose tables this one no longer knows",
        fix="Start the version of yizhan that wrote it, or found the home anew.",
        fix_zh="请使用写入该数据库的 yizhan 版本，或重新建立网关。",
    ),
    "newer-database": Text(
        zh="数据库由更新版本的程序写入",
        en="the database was written by a newer program",
        fix="Start the newer version of yizhan.",
        fix_zh="请使用更新版本的 yizhan。",
    ),
    "city-failed": Text(
        zh="演示城市的一个进程没有启动或自行退出",
        en="a process of the demonstration city did not come up or ended by itself",
        fix="Look at the log file named.",
        fix_zh="请查看所指的日志文件。",
    ),
    "home-in-use": Text(
        zh="已有进程在使用该目录",
        en="another process works on this home",
        fix="Stop the other process first.",
        fix_zh="请先停止另一个进程。",
    ),
    "office-unavailable": Text(
        zh="办公系统暂时无法接收",
        en="the office system cannot take a delivery now",
        fix="Check the office system; it is tried again by itself.",
        fix_zh="请检查办公系统；系统会自动重试。",
    ),
    "part-differs": Text(
        zh="文件的实际长度与登记的不同",
        en="a part yielded more or fewer bytes than its entry says",
        fix=_SUPPORT,
        fix_zh=_SUPPORT_ZH,
    ),
}
