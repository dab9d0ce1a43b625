"""``yizhan doctor``: is this home fit to run, and if not, what to do."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter

from gateway.cli.command import Commands, home_argument, json_argument, now, open_home
from gateway.cli.voice import OK, PROBLEM, Voice
from gateway.doctor import Diagnosis, Health, examine
from gateway.home import Home

_SIGNS: dict[Health, str] = {"ok": "✓", "warn": "⚠", "fail": "✗"}


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    home_argument(parser, commands)
    json_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Examine and tell; a warning is no problem, a failure is one."""
    found = asyncio.run(_examine(open_home(arguments), voice))
    count = Counter(diagnosis.health for diagnosis in found)
    voice.value({"ok": not count["fail"], "checks": [_value(diagnosis) for diagnosis in found]})
    voice.say(
        f"{count['ok']} 项正常，{count['warn']} 项警告，{count['fail']} 项失败",
        f"{count['ok']} ok, {count['warn']} warnings, {count['fail']} failures",
    )
    return PROBLEM if count["fail"] else OK


async def _examine(home: Home, voice: Voice) -> list[Diagnosis]:
    found = []
    async for diagnosis in examine(home, now):
        found.append(diagnosis)
        sign = _SIGNS[diagnosis.health]
        voice.say(f"{sign} {diagnosis.zh}", f"{sign} {diagnosis.en}")
        if diagnosis.fix:
            voice.say(f"    → {diagnosis.fix_zh}", f"    → {diagnosis.fix}")
    return found


def _value(diagnosis: Diagnosis) -> dict[str, object]:
    away = {} if diagnosis.away is None else {"away": diagnosis.away}
    return {
        "health": diagnosis.health,
        "what": diagnosis.what,
        "zh": diagnosis.zh,
        "en": diagnosis.en,
        "fix": diagnosis.fix,
        "fix_zh": diagnosis.fix_zh,
        **away,
    }
