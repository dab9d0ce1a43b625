"""Is this home fit to run? Each check looks at one thing and says how it is and, where it is not well, what to do.

Nothing is changed and nothing is repaired. A check that cannot look says so as a failure; none of them stops the others.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from crypto.certificates import Certificate, ChainCache, CrlStale, Purpose
from crypto.errors import YizhanError
from crypto.randomness import random_bytes
from crypto.sm2 import engine as sm2_engine
from crypto.suites import suite_named
from crypto.timestamps import make_request, token_from_response, verify_token
from gateway.config import split_address
from gateway.core.canonical import parse_time
from gateway.core.directory import Directory
from gateway.core.errors import JournalStopped
from gateway.flow.degraded_log import KEPT_AS, KeptAbsence, KeptStand, kept_from
from gateway.home import PASSPHRASE_VARIABLE, Home
from gateway.net.time_client import TimeClient
from gateway.store.new_log import look

Health = Literal["ok", "warn", "fail"]

WARN_CERTIFICATE_DAYS = 30
WARN_DIRECTORY = timedelta(days=3)
WARN_CRL = timedelta(hours=12)
WARN_OFFSET = 0.5  # seconds; the gateway refuses to work at 2
FAIL_OFFSET = 2.0
CONNECT_SECONDS = 3.0
MAX_PEERS = 200  # asked at a time; a province's directory has more, and a doctor is in a hurry


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One line: what was looked at, how it is, what to do."""

    health: Health
    what: str  # a stable word
    zh: str
    en: str
    fix_zh: str = ""
    fix: str = ""
    away: Mapping[str, object] | None = None  # of what is away: mode, subject, since, until and the levels, as /readyz shows it


def ok(what: str, zh: str, en: str) -> Diagnosis:
    return Diagnosis(health="ok", what=what, zh=zh, en=en)


def broken(what: str, error: Exception, zh: str, en: str) -> Diagnosis:
    """A check that failed with an error of ours or the system's."""
    return Diagnosis(health="fail", what=what, zh=str(error), en=str(error), fix_zh=zh, fix=en)


@dataclass(slots=True)
class _Patient:
    """What one examination learns on the way and later checks use."""

    home: Home
    now: datetime
    chains: ChainCache | None = None
    directory: Directory | None = None


async def examine(home: Home, now: Callable[[], datetime]) -> AsyncIterator[Diagnosis]:
    """Every check, in an order in which what comes first explains what comes later."""
    patient = _Patient(home, now())
    for check in (_permissions, _engine, _keys, _trust, _directory, _certificates, _policy, _disk, _database, _pressure, _degraded):
        try:
            for diagnosis in check(patient):
                yield diagnosis
        except (YizhanError, OSError) as error:
            name = check.__name__.strip("_")
            yield broken(name, error, "请更正所指的文件或配置项", "Put right the file or setting named.")
    async for diagnosis in _time(patient, now):
        yield diagnosis
    async for diagnosis in _peers(patient):
        yield diagnosis


# ---- the home ----------------------------------------------------------------------------------------------------------------------


def _permissions(patient: _Patient) -> Iterator[Diagnosis]:
    home = patient.home
    yield ok("configuration", f"配置可用：{home.config.gateway.id}", f"the configuration holds: {home.config.gateway.id}")
    secrets = [file for file in sorted(home.keys.iterdir()) if file.is_file()]
    passphrase = home.path / home.config.keys.passphrase_file
    beside = bool(home.config.keys.passphrase_file) and passphrase.is_file() and passphrase.resolve().is_relative_to(home.path.resolve())
    open_ones = home.open_secrets()
    if open_ones:
        names = ", ".join(file.name for file in open_ones)
        yield Diagnosis(
            health="fail",
            what="permissions",
            zh=f"他人可读：{names}",
            en=f"readable by others: {names}",
            fix_zh="chmod 600",
            fix="chmod 600 each of them.",
        )
    else:
        yield ok("permissions", f"{len(secrets)} 个密钥文件仅本人可读", f"{len(secrets)} key files are readable by their owner alone")
    if beside:
        yield Diagnosis(
            health="warn",
            what="passphrase",
            zh="密钥口令与密钥放在同一目录",
            en="the passphrase lies beside the keys it opens",
            fix_zh=f"正式使用前移走，改用环境变量 {PASSPHRASE_VARIABLE}",
            fix=f"Before real use move it away and set {PASSPHRASE_VARIABLE}.",
        )


def _engine(patient: _Patient) -> Iterator[Diagnosis]:
    if "gm-1" not in patient.home.config.time.authorities:
        return
    name = sm2_engine().name
    if name.startswith("gmssl"):
        yield Diagnosis(
            health="warn",
            what="sm2",
            zh="SM2 运行在较慢的后备实现上",
            en="SM2 runs on the slow fallback engine",
            fix_zh="请安装带 SM2 的 OpenSSL 3 libcrypto",
            fix="Install OpenSSL 3 with SM2 in its libcrypto.",
        )
    else:
        yield ok("sm2", f"SM2 实现：{name}", f"SM2 engine: {name}")


def _keys(patient: _Patient) -> Iterator[Diagnosis]:
    home = patient.home
    signers, unwrappers = home.signers(), home.unwrappers()
    home.storage_key()
    home.log_key()
    suites = ", ".join(signers) or "—"
    yield ok("keys", f"密钥均可打开并与证书相符（{suites}）", f"every key opens and belongs to its certificate ({suites})")
    for suite in home.config.time.authorities:
        if suite not in signers or suite not in unwrappers:
            yield Diagnosis(
                health="fail",
                what="keys",
                zh=f"套件 {suite} 缺少签名或加密密钥",
                en=f"suite {suite} has no signing or no encryption key",
                fix_zh="请向认证机构申请该套件证书，或从 [time.authorities] 去掉它",
                fix="Enrol keys of that suite, or take it out of [time.authorities].",
            )


def _trust(patient: _Patient) -> Iterator[Diagnosis]:
    trust = patient.home.trust()
    patient.chains = ChainCache(trust)
    yield ok("roots", f"{len(trust.roots)} 个根证书", f"{len(trust.roots)} root certificates")
    for kept in patient.home.revocation_lists():
        if kept.crl is None:
            unusable = YizhanError(f"{kept.file.name}: {kept.problem}")
            yield broken("crl", unusable, "请取得新的吊销列表替换它", "It counts as missing: put a good list in its place.")
            continue
        crl = kept.crl
        issuer = next((root.subject for root in trust.roots if root.subject_der == crl.issuer_der), "?")
        left = crl.next_update - patient.now
        zh, en = (
            f"{issuer} 的吊销列表有效至 {crl.next_update:%F %R}Z",
            f"the revocation list of {issuer} is good until {crl.next_update:%F %R}Z",
        )
        if left > WARN_CRL:
            yield ok("crl", zh, en)
        else:
            yield Diagnosis(
                health="warn" if left > timedelta(0) else "fail",
                what="crl",
                zh=zh,
                en=en,
                fix_zh="请取得新的吊销列表放入 trust/crls（试点：yizhan authority crl）",
                fix="Fetch a newer list into trust/crls (pilot: yizhan authority crl).",
            )


def _directory(patient: _Patient) -> Iterator[Diagnosis]:
    home, bundle = patient.home, patient.home.directory()
    todo = ("请检查 directory.url 并等待更新，或重新登记", "Check directory.url and wait for a refresh, or enrol anew.")
    if bundle is None or patient.chains is None:
        yield Diagnosis(health="fail", what="directory", zh="没有交换目录", en="there is no directory", fix_zh=todo[0], fix=todo[1])
        return
    try:
        directory = Directory.open(
            bundle.head, bundle.signature, bundle.entries, chains=patient.chains, authority=home.directory_authority(), now=patient.now
        )
    except YizhanError as error:
        yield broken("directory", error, *todo)
        return
    patient.directory = directory
    left = directory.expires - patient.now
    zh = f"交换目录第 {directory.version} 版，{len(directory.organisations)} 个单位，有效至 {directory.expires:%F}"
    en = f"directory version {directory.version}, {len(directory.organisations)} organisations, good until {directory.expires:%F}"
    yield (
        ok("directory", zh, en)
        if left > WARN_DIRECTORY
        else Diagnosis(health="warn", what="directory", zh=zh, en=en, fix_zh=todo[0], fix=todo[1])
    )
    yield from _listed(patient, directory)


def _listed(patient: _Patient, directory: Directory) -> Iterator[Diagnosis]:
    """Whether peers will believe us: what we sign, receive and connect with stands in the directory."""
    home = patient.home
    org, gateway = home.config.gateway.organisation, home.config.gateway.id
    missing = [
        f"sign-{suite}"
        for suite, signer in home.signers().items()
        if signer.certificate.fingerprint not in directory.signing_fingerprints(org, suite_named(suite))
    ]
    missing += [
        f"encrypt-{suite}"
        for suite, unwrappers in home.unwrappers().items()
        if unwrappers[0].certificate not in directory.encryption_certificates(org, suite_named(suite))
    ]
    if home.certificate("tls").fingerprint not in (directory.tls_fingerprints(gateway) or ()):
        missing.append("tls")
    if home.log_key().verifier.vkey not in directory.gateway(gateway).log_keys:
        missing.append("log")
    if missing:
        names = ", ".join(missing)
        yield Diagnosis(
            health="fail",
            what="listed",
            zh=f"交换目录未列出：{names}",
            en=f"the directory does not list: {names}",
            fix_zh="请向目录管理机构登记新证书",
            fix="Enrol the new certificates with the directory authority.",
        )
    else:
        yield ok("listed", "本单位的证书与日志公钥均在交换目录中", "the directory lists our certificates and our log key")


def _certificates(patient: _Patient) -> Iterator[Diagnosis]:
    home = patient.home
    ours: list[tuple[str, Certificate, Purpose]] = [("tls", home.certificate("tls"), Purpose.TLS)]
    ours += [(f"sign-{suite}", signer.certificate, Purpose.SIGN) for suite, signer in home.signers().items()]
    ours += [(f"encrypt-{suite}", keys[0].certificate, Purpose.ENCRYPT) for suite, keys in home.unwrappers().items()]
    ours.append(("directory-authority", home.directory_authority(), Purpose.DIRECTORY))
    for name, certificate, purpose in ours:
        yield _certificate(patient, name, certificate, purpose)


def _certificate(patient: _Patient, name: str, certificate: Certificate, purpose: Purpose) -> Diagnosis:
    days = (certificate.not_after - patient.now).days
    renew = ("请续期并重新登记", "Renew it and enrol the new one.")
    try:
        if patient.chains is not None:
            patient.chains.verify(certificate, at=patient.now, now=patient.now, purpose=purpose)
    except CrlStale as error:
        return broken(f"certificate {name}", error, "请取得新的吊销列表", "Fetch a newer revocation list.")
    except YizhanError as error:
        return broken(f"certificate {name}", error, *renew)
    zh, en = f"{name} 证书链成立，还有 {days} 天", f"{name}: the chain holds, {days} days left"
    if days > WARN_CERTIFICATE_DAYS:
        return ok(f"certificate {name}", zh, en)
    return Diagnosis(health="warn", what=f"certificate {name}", zh=zh, en=en, fix_zh=renew[0], fix=renew[1])


def _policy(patient: _Patient) -> Iterator[Diagnosis]:
    policy, _ = patient.home.policy()
    tests = len(policy.tests)
    yield ok(
        "policy",
        f"策略 {policy.id} 第 {policy.version} 版，自带 {tests} 项测试通过",
        f"policy {policy.id} version {policy.version}, its {tests} tests pass",
    )


def _disk(patient: _Patient) -> Iterator[Diagnosis]:
    free = shutil.disk_usage(patient.home.data).free >> 20
    needed = patient.home.config.storage.head_room_mib
    zh, en = f"磁盘剩余 {free} MiB，须保留 {needed} MiB", f"{free} MiB of disk free, {needed} MiB must stay free"
    if free > 2 * needed:
        yield ok("disk", zh, en)
    else:
        health: Health = "warn" if free > needed else "fail"
        yield Diagnosis(health=health, what="disk", zh=zh, en=en, fix_zh="请清理或扩容磁盘", fix="Make room or add disk.")


def _database(patient: _Patient) -> Iterator[Diagnosis]:
    database = patient.home.database
    if not database.exists():
        yield ok("database", "尚未运行过，还没有数据库", "never run yet: no database")
        return
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            exchanges = connection.execute("SELECT count(*) FROM exchanges").fetchone()[0]
            leaves = connection.execute("SELECT count(*) FROM leaves").fetchone()[0]
    except sqlite3.Error as error:
        yield broken("database", error, "请运行 yizhan fsck", "Run `yizhan fsck`.")
        return
    with suppress(JournalStopped):  # an empty log cannot be behind
        ended = look(database, patient.home.mark)
        if ended.lost:
            zh = f"日志 {ended.origin} 落后于标记：已签署 {ended.signed} 项，只有 {ended.size} 项，数据库是旧的备份"
            en = f"the log {ended.origin} is behind its mark: {ended.signed} leaves were signed, {ended.size} are there; this is an older copy"
            fix_zh, fix = (
                "请放回最新的数据库；没有时运行 yizhan audit new-log",
                "Put back the newest database; if there is none, run `yizhan audit new-log`.",
            )
            yield Diagnosis(health="fail", what="log", zh=zh, en=en, fix_zh=fix_zh, fix=fix)
    yield ok(
        "database", f"数据库可读：{exchanges} 次交换，日志 {leaves} 项", f"the database is readable: {exchanges} exchanges, {leaves} leaves"
    )


def _pressure(patient: _Patient) -> Iterator[Diagnosis]:
    """Whether offers wait in the office because too much is under way."""
    if not patient.home.database.exists():
        return
    limits = patient.home.config.limits
    with closing(sqlite3.connect(f"file:{patient.home.database}?mode=ro", uri=True, timeout=10)) as connection:
        rows = connection.execute("SELECT peer, count(*) FROM work WHERE kind IN ('deliver', 'seal') GROUP BY peer").fetchall()
    total = sum(count for _, count in rows)
    full = sorted(peer for peer, count in rows if peer and count >= limits.open_documents_per_peer)
    if total >= limits.open_documents or full:
        peers = ", ".join(full) or "all"
        yield Diagnosis(
            health="warn",
            what="under-way",
            zh=f"在途公文 {total} 件，已达上限（{peers}）：新件在办公系统等待，不会丢失",
            en=f"{total} documents under way, a ceiling is reached ({peers}): new ones wait in the office, none is lost",
            fix_zh="请查看对方网关与线路：yizhan queue list",
            fix="Look at the peer and the line: `yizhan queue list`.",
        )
    else:
        yield ok("under-way", f"在途公文 {total} 件", f"{total} documents under way")


# ---- what is away ------------------------------------------------------------------------------------------------------------------

_AWAY: dict[str, tuple[str, str, str]] = {  # by mode: its name in Chinese, and what to do in both languages
    "time-authority": (
        "时间戳机构",
        "请恢复时间戳机构，或在 [time.authorities] 中增加一个",
        "Bring it back, or name another in [time.authorities].",
    ),
    "crl-stale": ("吊销列表", "请取得新的吊销列表（trust.crl_urls）", "Fetch a fresh list (trust.crl_urls)."),
    "directory-expired": ("交换目录", "请恢复 directory.url 的更新", "Mend directory.url."),
    "key-away": ("签名密钥", "请恢复密钥文件，或续期证书", "Bring the key file back, or renew the certificate."),
    "disk-low": ("磁盘空间", "请清理或扩容磁盘", "Make room or add disk."),
    "clock": ("时钟确认", "请校准系统时钟（NTP）并恢复时间戳机构", "Set the clock (NTP) and bring a time authority back."),
    "peer-away": ("对方网关", "请联系对方，并检查网络", "Ask them, and check the network."),
}


def _degraded(patient: _Patient) -> Iterator[Diagnosis]:
    """What the gateway saw away when it last looked, counted down to now."""
    database = patient.home.database
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            row = connection.execute("SELECT value FROM remembered WHERE name = ?", (KEPT_AS,)).fetchone()
        kept = kept_from(row[0]) if row else None
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        yield broken("degraded", error, "请运行 yizhan fsck", "Run `yizhan fsck`.")
        return
    if kept is None or not kept.absences:
        yield ok("degraded", "没有降级运行的情形", "nothing a level would need is away")
        return
    for absence in kept.absences:
        yield _away(absence, max(patient.now, parse_time(kept.seen)))


def _away(absence: KeptAbsence, now: datetime) -> Diagnosis:
    name, fix_zh, fix = _AWAY[absence.mode]
    stands = [_stand(stand, now) for stand in absence.levels]
    stopped = any(stand["stopped"] for stand in stands)
    subject = f" {absence.subject}" if absence.subject else ""
    over = ("已超时", "for too long") if absence.mode == "peer-away" else ("已停止", "stopped")  # a silent peer stops no level
    zh = "；".join(_words(stand, "所有密级", over[0], "剩余") for stand in stands)
    en = "; ".join(_words(stand, "every level", over[1], "left") for stand in stands)
    return Diagnosis(
        health="fail" if stopped else "warn",
        what=f"degraded {absence.mode}{subject}",
        zh=f"{name}{subject} 自 {absence.since} 起不可用。{zh}",
        en=f"{absence.mode}{subject} has been away since {absence.since}. {en}",
        fix_zh=fix_zh,
        fix=fix,
        away={"mode": absence.mode, "subject": absence.subject, "since": absence.since, "levels": stands},
    )


def _stand(stand: KeptStand, now: datetime) -> dict[str, object]:
    left = None if stand.until is None else max(0.0, (parse_time(stand.until) - now).total_seconds())
    return {"level": stand.level, "until": stand.until, "seconds_left": left, "stopped": stand.stopped or left == 0.0}


def _words(stand: Mapping[str, object], everybody: str, stopped: str, left: str) -> str:
    level, seconds = stand["level"] or everybody, stand["seconds_left"]
    if stand["stopped"]:
        return f"{level} {stopped}"
    if not isinstance(seconds, float):
        return f"{level}"
    minutes = int(seconds) // 60
    return f"{level} {left} {minutes // 60}:{minutes % 60:02}:{int(seconds) % 60:02} ({stand['until']})"


# ---- the world ---------------------------------------------------------------------------------------------------------------------


async def _time(patient: _Patient, now: Callable[[], datetime]) -> AsyncIterator[Diagnosis]:
    for suite, urls in patient.home.config.time.authorities.items():
        for url in urls:
            yield await _stamp(patient, suite, url, now)


async def _stamp(patient: _Patient, suite_id: str, url: str, now: Callable[[], datetime]) -> Diagnosis:
    """Ask for a token over fresh bytes, believe it as an arrival would, and compare clocks."""
    what, suite, over = f"time {suite_id} {url}", suite_named(suite_id), random_bytes(32)
    nonce = int.from_bytes(random_bytes(8)) | 1
    client = TimeClient([url])
    try:
        before = now()
        response = await client.respond(make_request(suite.digest, over, nonce=nonce))
        after = now()
        if patient.directory is None or patient.chains is None:
            raise YizhanError("without a directory no time authority can be believed")
        allowed = patient.directory.time_authority_fingerprints(suite)
        stamp = verify_token(
            token_from_response(response), over, suite=suite, trust=patient.chains, allowed=allowed, now=after, nonce=nonce
        )
    except YizhanError as error:
        return broken(
            what,
            error,
            "请检查时间戳机构与网络；试点：yizhan authority serve",
            "Check the authority and the network; pilot: yizhan authority serve.",
        )
    finally:
        await client.close()
    offset = (before + (after - before) / 2 - stamp.at).total_seconds()
    zh, en = f"{url} 的时间戳有效，时钟相差 {offset:+.3f} 秒", f"{url} gives good tokens, our clock is {offset:+.3f} s off"
    if abs(offset) <= WARN_OFFSET:
        return ok(what, zh, en)
    health: Health = "warn" if abs(offset) <= FAIL_OFFSET else "fail"
    return Diagnosis(health=health, what=what, zh=zh, en=en, fix_zh="请校准系统时钟（NTP）", fix="Set the system's clock (NTP).")


async def _peers(patient: _Patient) -> AsyncIterator[Diagnosis]:
    if patient.directory is None:
        return
    directory, mine = patient.directory, patient.home.config.gateway.id
    gateways = {gateway.id: gateway for org in directory.organisations for gateway in directory.gateways_of(org.code)}
    places = [(gateway.id, link.url) for gateway in gateways.values() if gateway.id != mine for link in gateway.links][:MAX_PEERS]
    for diagnosis in await asyncio.gather(*(_peer(gateway, url) for gateway, url in places)):
        yield diagnosis


async def _peer(gateway: str, url: str) -> Diagnosis:
    what, address = f"peer {gateway}", url.removeprefix("https://").split("/", 1)[0]
    try:
        host, port = split_address(address if ":" in address else f"{address}:443")
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error) or "timeout"
        return Diagnosis(
            health="warn",
            what=what,
            zh=f"{gateway}（{address}）连不上：{reason}",
            en=f"{gateway} ({address}) cannot be reached: {reason}",
            fix_zh="对方可能未运行；否则请检查网络与防火墙",
            fix="It may not be running; else check network and firewall.",
        )
    writer.close()
    return ok(what, f"{gateway}（{address}）可连接", f"{gateway} ({address}) can be reached")
