"""``yizhan authority``: the pilot authority by hand: make it, serve it, revoke, publish anew, list what was issued."""

from __future__ import annotations

import argparse
from pathlib import Path

from crypto.crls import REASONS
from crypto.suites import SUITES
from gateway.cli.command import Commands, address_argument, json_argument, now
from gateway.cli.voice import OK, Voice
from gateway.core.errors import BadConfiguration
from gateway.founding import free_address
from gateway.pilot import PilotAuthority
from gateway.pilot_records import PURPOSES, read_record


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    group = Commands(parser, commands.voice, name="act")
    init = group.add("init", "新建", "make one")
    serve = group.add("serve", "提供目录、时间戳、吊销列表", "serve directory, time stamps, revocation lists")
    revoke = group.add("revoke", "吊销一个单位的证书", "revoke an organisation's certificates")
    crl = group.add("crl", "立即重新发布吊销列表和目录", "publish lists and directory anew, now")
    listing = group.add("list", "列出已签发的证书", "list what was issued")
    for act in (init, serve, revoke, crl, listing):
        act.add_argument("--home", required=True, type=Path, metavar="DIR", help=pick("认证机构目录", "the authority's folder"))
        json_argument(act, commands)
    init.add_argument(
        "--suite",
        choices=tuple(SUITES),
        default="gm-1",
        help=pick("目录签名的套件，默认 gm-1", "suite of the directory's signature; default gm-1"),
    )
    address_argument(init, commands, "--listen", pick("HTTP 监听地址，默认本机空闲端口", "where it serves HTTP; default a free local port"))
    by_default = pick("默认 --listen 的下一个端口", "default the port after --listen's")
    address_argument(
        init, commands, "--stream", pick("时间戳长连接监听地址（tsp），", "where it serves time stamps over tsp; ") + by_default
    )
    revoke.add_argument("--org", required=True, metavar="CODE", help=pick("单位代码", "organisation code"))
    revoke.add_argument("--purpose", required=True, choices=PURPOSES, help=pick("证书用途", "what the certificates are for"))
    revoke.add_argument("--reason", choices=tuple(REASONS), default="keyCompromise", help=pick("吊销原因（RFC 5280）", "why (RFC 5280)"))
    for act, run in ((init, _init), (serve, _serve), (revoke, _revoke), (crl, _crl), (listing, _list)):
        act.set_defaults(run=run)


def _init(arguments: argparse.Namespace, voice: Voice) -> int:
    folder = arguments.home.absolute()
    listen = arguments.listen or free_address()
    stream = arguments.stream or (_next_port(listen) if arguments.listen else free_address([listen]))
    if stream == listen:
        raise BadConfiguration("--stream is the same as --listen; each needs a port of its own", file="", key="--stream")
    authority = PilotAuthority.create(folder, suite=arguments.suite, listen=listen, stream=stream, at=now())
    voice.value({"authority": str(folder), "url": authority.url, "stream": authority.stream, "suite": authority.suite.id})
    voice.note(
        "警告：试点认证机构的密钥集中存放于一处，只供试用和测试，不得用于正式业务。",
        "WARNING: all keys of a pilot authority lie on one disk: for trials and tests alone, never for real business.",
    )
    voice.say(
        f"已建立试点认证机构：{folder}（{authority.url}）\n下一步：yizhan authority serve --home {folder}",
        f"made a pilot authority: {folder} ({authority.url})\nNext: yizhan authority serve --home {folder}",
    )
    return OK


def _next_port(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + (1 if int(port) < 65_535 else -1)}"


def _serve(arguments: argparse.Namespace, voice: Voice) -> int:
    from gateway.pilot_serve import serve_authority  # loads the HTTP stack, which no other act needs

    authority = PilotAuthority.open(arguments.home.absolute())
    voice.note(f"试点认证机构：{authority.url}（Ctrl-C 停止）", f"pilot authority: {authority.url} (Ctrl-C stops)")
    return serve_authority(authority)


def _revoke(arguments: argparse.Namespace, voice: Voice) -> int:
    authority = PilotAuthority.open(arguments.home.absolute())
    count = authority.revoke(arguments.org, arguments.purpose, at=now(), reason=arguments.reason)
    voice.value({"revoked": count, "directory_version": authority.directory_version})
    voice.say(
        f"已吊销 {count} 张证书，新吊销列表和目录已发布", f"revoked {count} certificates; new lists and a new directory are published"
    )
    return OK


def _crl(arguments: argparse.Namespace, voice: Voice) -> int:
    authority = PilotAuthority.open(arguments.home.absolute())
    authority.refresh(at=now(), force=True)
    voice.value({"directory_version": authority.directory_version})
    voice.say("吊销列表和目录已重新发布", "revocation lists and directory are published anew")
    return OK


def _list(arguments: argparse.Namespace, voice: Voice) -> int:
    record = read_record(arguments.home.absolute())
    voice.value(
        [
            {"org": entry.code, "purpose": entry.purpose, "suite": entry.ca, "fingerprint": entry.fingerprint, "revoked": entry.revoked}
            for entry in record.issued
        ]
    )
    for entry in record.issued:
        state = (f"已吊销 {entry.revoked}", f"revoked {entry.revoked}") if entry.revoked else ("有效", "valid")
        line = f"{entry.code}  {entry.purpose:8}{entry.ca:8}{entry.fingerprint[:23]}  "
        voice.say(line + state[0], line + state[1])
    return OK
