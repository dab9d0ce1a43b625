"""``yizhan init``: found a gateway, with a pilot authority beside it unless another one is named."""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

from crypto.suites import SUITES, SuiteId
from gateway.cli.command import Commands, address_argument, bad_input, json_argument, now
from gateway.cli.voice import OK, Voice
from gateway.core.levels import level_named
from gateway.core.organisation import check_code
from gateway.founding import Plan, found, free_address
from gateway.home import Home
from gateway.pilot import PilotAuthority
from gateway.pilot_records import FILE_NAME as AUTHORITY_FILE

DEFAULT_ZONE = "pilot"
DEFAULT_LEVEL = "work-secret"


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    parser.add_argument("--home", required=True, type=Path, metavar="DIR", help=pick("新目录", "the new folder"))
    parser.add_argument(
        "--org", required=True, metavar="CODE", help=pick("18 位统一社会信用代码", "18-character unified social credit code")
    )
    parser.add_argument("--name", required=True, help=pick("单位名称", "the organisation's name"))
    parser.add_argument(
        "--authority",
        type=Path,
        metavar="DIR",
        help=pick("试点认证机构目录，默认 DIR/../authority", "the pilot authority's folder; default beside the home"),
    )
    parser.add_argument(
        "--suite", choices=(*SUITES, "both"), default="both", help=pick("密码套件，默认 both", "cipher suites of the keys; default both")
    )
    address_argument(
        parser, commands, "--peer", pick("对端网关连接的地址，默认本机空闲端口", "where peers reach it; default a free local port")
    )
    address_argument(parser, commands, "--ops", pick("运维端口地址，默认本机空闲端口", "health and metrics; default a free local port"))
    parser.add_argument("--zone", default=DEFAULT_ZONE, metavar="Z", help=pick("网络域", "network zone"))
    parser.add_argument(
        "--highest-level", default=DEFAULT_LEVEL, metavar="L", help=pick("可接收的最高密级", "highest level it may receive")
    )
    json_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Found the gateway and say what to do next."""
    with bad_input():
        check_code(arguments.org)
        highest = level_named(arguments.highest_level).id
    suites: tuple[SuiteId, ...] = tuple(suite.id for suite in SUITES.values() if arguments.suite in (suite.id, "both"))
    home_folder = arguments.home.absolute()
    authority = _authority(arguments.authority or home_folder.parent / "authority", suites, voice)
    plan = Plan(
        organisation=arguments.org,
        name=arguments.name,
        suites=suites,
        zone=arguments.zone,
        highest_level=highest,
        policy=pilot_policy(),
        peer=arguments.peer or "",
        ops=arguments.ops or "",
    )
    home = found(home_folder, plan, authority, at=now())
    _tell(home, authority, voice)
    return OK


def pilot_policy() -> bytes:
    """The policy a pilot starts with, as it ships."""
    return resources.files("policies").joinpath("default.toml").read_bytes()


def _authority(folder: Path, suites: tuple[SuiteId, ...], voice: Voice) -> PilotAuthority:
    if (folder / AUTHORITY_FILE).exists():
        return PilotAuthority.open(folder)
    voice.note(
        f"警告：在 {folder} 新建试点认证机构。其密钥集中存放于一处，只供试用和测试，不得用于正式业务。",
        f"WARNING: making a pilot authority in {folder}. All its keys lie on one disk: for trials and tests alone, never for real business.",
    )
    listen = free_address()
    return PilotAuthority.create(folder, suite=suites[0], listen=listen, stream=free_address([listen]), at=now())


def _tell(home: Home, authority: PilotAuthority, voice: Voice) -> None:
    config = home.config
    voice.value(
        {
            "home": str(home.path),
            "gateway": config.gateway.id,
            "organisation": config.gateway.organisation,
            "peer": config.listen.peer,
            "ops": config.listen.ops,
            "authority": str(authority.folder),
            "authority_url": authority.url,
            "directory_version": authority.directory_version,
        }
    )
    voice.say(
        f"已建立 {config.gateway.name}（{config.gateway.organisation}）的网关 {config.gateway.id}：{home.path}\n"
        f"  对端地址 {config.listen.peer}，运维地址 http://{config.listen.ops}\n"
        f"  密钥口令在 {home.path / 'passphrase'}：正式使用前请移走，改用环境变量 YIZHAN_PASSPHRASE\n"
        "下一步：\n"
        f"  1. yizhan authority serve --home {authority.folder}    # 试点目录、时间戳、吊销列表\n"
        f"  2. yizhan serve --home {home.path}\n"
        f"  3. yizhan doctor --home {home.path}",
        f"Founded gateway {config.gateway.id} of {config.gateway.name} ({config.gateway.organisation}): {home.path}\n"
        f"  peers reach it at {config.listen.peer}, operators at http://{config.listen.ops}\n"
        f"  the passphrase of its keys is in {home.path / 'passphrase'}: move it away before real use and set YIZHAN_PASSPHRASE\n"
        "Next:\n"
        f"  1. yizhan authority serve --home {authority.folder}    # pilot directory, time stamps, revocation lists\n"
        f"  2. yizhan serve --home {home.path}\n"
        f"  3. yizhan doctor --home {home.path}",
    )
