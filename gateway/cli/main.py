"""``yizhan``: the command line. One small file a command; here they are put together and their errors put into words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Final, NamedTuple

from crypto.errors import YizhanError
from gateway.cli.command import Commands
from gateway.cli.voice import PROBLEM, USAGE, Voice, language_of_arguments
from gateway.core.errors import BadConfiguration, BadInput


class Entry(NamedTuple):
    """A command's line in the list: its words, and the function of this package that says what it takes."""

    module: str
    zh: str
    en: str
    add: str = "add"


COMMANDS: Final = {
    "init": Entry("init", "建立一个网关目录", "found a gateway: keys, certificates, configuration"),
    "serve": Entry("serve", "运行网关", "run the gateway until SIGTERM or Ctrl-C"),
    "send": Entry("send", "发送一份公文", "send a document"),
    "trace": Entry("trace", "查看交换及其经过", "list exchanges, or follow one step by step"),
    "queue": Entry("queue", "未完成和卡住的交换：查看、重试、退回、结束", "what is open or stuck: look, retry, give back, end"),
    "sign-for": Entry("signfor", "签收一份已送达的公文", "sign for a delivered document", "add_sign_for"),
    "return": Entry("signfor", "退回一份已送达的公文", "return a delivered document", "add_return"),
    "audit": Entry("audit", "审计日志", "the audit log"),
    "evidence": Entry("evidence", "证据", "evidence"),
    "fsck": Entry("fsck", "检查存储是否一致", "prove that rows, blobs and log agree"),
    "doctor": Entry(
        "doctor", "体检：配置、密钥、证书、目录、时钟、网络", "check configuration, keys, certificates, directory, clock, network"
    ),
    "authority": Entry("authority", "试点认证机构（仅供试用和测试）", "the pilot authority (for trials and tests alone)"),
    "demo": Entry("demo", "演示：一座小城的公文交换", "a small city exchanges documents on this machine"),
    "bench": Entry("bench", "测量本机上的性能", "measure what a document costs on this machine"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 well, 1 a problem was found, 2 bad usage or input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    voice = Voice(language_of_arguments(given), json="--json" in given)
    parsed = _parser(voice, given).parse_args(given)
    voice.json = getattr(parsed, "json", False) is True
    try:
        return int(parsed.run(parsed, voice))
    except YizhanError as error:
        voice.error(error)
        return USAGE if isinstance(error, BadInput | BadConfiguration) else PROBLEM
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away (`| head`): nothing more to tell anyone
        return PROBLEM
    except KeyboardInterrupt:
        return 130


def _parser(voice: Voice, given: Collection[str]) -> argparse.ArgumentParser:
    """Knows every command by its line; the file of one is loaded only when ``given`` names it.

    A gateway runs for months: the demo's and the benchmark's libraries must not lie in its memory, nor anybody wait for them.
    """
    text = voice.pick("驿站：机关之间的公文安全交换网关", "Yizhan: a secure document exchange gateway for agencies")
    parser = argparse.ArgumentParser(prog="yizhan", description=text, allow_abbrev=False)
    parser.add_argument("--lang", choices=("zh", "en"), help=voice.pick("界面语言，默认随系统", "language; default by locale"))
    commands = Commands(parser, voice)
    for name, entry in COMMANDS.items():
        command = commands.add(name, entry.zh, entry.en)
        if name in given:
            getattr(import_module(f"gateway.cli.{entry.module}"), entry.add)(command, commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
