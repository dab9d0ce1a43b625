"""``yizhan``: the command line. One small file a command; here they are put together and their errors put into words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from crypto.errors import YizhanError
from gateway.cli import audit, authority, bench, demo, doctor, evidence, fsck, init, send, serve, signfor, trace
from gateway.cli.command import Commands
from gateway.cli.voice import PROBLEM, USAGE, Voice, language_of_arguments
from gateway.core.errors import BadConfiguration, BadInput

_COMMANDS = (init, serve, send, trace, signfor, audit, evidence, fsck, doctor, authority, demo, bench)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 well, 1 a problem was found, 2 bad usage or input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    voice = Voice(language_of_arguments(given), json="--json" in given)
    parsed = _parser(voice).parse_args(given)
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


def _parser(voice: Voice) -> argparse.ArgumentParser:
    text = voice.pick("驿站：机关之间的公文安全交换网关", "Yizhan: a secure document exchange gateway for agencies")
    parser = argparse.ArgumentParser(prog="yizhan", description=text, allow_abbrev=False)
    parser.add_argument("--lang", choices=("zh", "en"), help=voice.pick("界面语言，默认随系统", "language; default by locale"))
    commands = Commands(parser, voice)
    for module in _COMMANDS:
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
