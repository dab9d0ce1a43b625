"""The one table: complete for every word the gateway raises, for every word the protocol document lists, and silent about reasons."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

import gateway
from crypto.errors import Malformed, UnknownSuite, Unverified
from gateway.core.errors import JournalStopped, NoRoom, ProblemError, TooManyUploads
from gateway.net.problems import CONTENT_TYPE, PROBLEMS, is_defect, problem, problem_of, read_problem

STABLE = """malformed, unknown-peer, not-carrier, directory-unknown, directory-expired, not-ours, envelope-mismatch, signature-invalid,
signer-not-listed, token-missing, token-invalid, token-time,
directory-forked, directory-superseded, not-entitled, notice-not-served, clock, chain-invalid, crl-stale, revoked, expired, lifetime, policy-refused,
duplicate-other, ciphertext-mismatch, content-invalid, no-room, busy, not-found, offset-mismatch, too-large, too-slow, too-many, stopping,
internal""".replace("\n", " ").split(", ")


@cache
def raised_words() -> set[str]:
    """Every string that stands in the first argument of a ProblemError anywhere in the gateway."""
    words = set()
    for file in Path(gateway.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ProblemError" and node.args:
                words |= {part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    return words


def test_the_stable_words_are_all_there():
    assert [word.strip() for word in STABLE] == list(PROBLEMS)


def test_every_word_raised_has_a_row():
    assert raised_words() >= {"malformed", "not-found", "too-large"}
    assert raised_words() - PROBLEMS.keys() == set()


def test_the_protocol_document_lists_the_same_table():
    text = (Path(gateway.__file__).parents[1] / "docs" / "protocol.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\d{3} \| (?:yes|no)) \|", text, re.MULTILINE))
    assert rows == {word: f"{row.status} | {'yes' if row.retryable else 'no'}" for word, row in PROBLEMS.items()}


@pytest.mark.parametrize("word", PROBLEMS)
def test_every_document_reads_back_and_fits_rfc_9457(word):
    stated = problem(word)
    body = json.loads(stated.to_bytes())
    assert body == {
        "type": f"urn:yizhan:problem:{word}",
        "title": PROBLEMS[word].title,
        "status": stated.status,
        "code": word,
        "retryable": stated.retryable,
    }
    assert 400 <= stated.status < 600
    assert stated.headers() == {"Content-Type": CONTENT_TYPE, "Yizhan-Problem": word}
    assert read_problem(stated.to_bytes()).code == word


def test_a_problem_error_keeps_its_facts_and_nothing_of_its_message():
    error = ProblemError("offset-mismatch", "a secret reason", retryable=False, offset=17, retry_after=3)
    stated = problem_of(error)
    assert (stated.status, stated.retryable) == (409, False)
    assert stated.headers()["Upload-Offset"] == "17"
    assert stated.headers()["Retry-After"] == "3"
    assert json.loads(stated.to_bytes())["offset"] == 17
    assert b"secret" not in stated.to_bytes()


@pytest.mark.parametrize(
    ("error", "word", "defect"),
    [
        (Malformed("x"), "malformed", False),
        (UnknownSuite("x"), "malformed", False),
        (NoRoom("x"), "no-room", False),
        (TooManyUploads("x"), "too-many", False),
        (JournalStopped("x"), "stopping", False),
        (Unverified("x"), "internal", True),
        (RuntimeError("x"), "internal", True),
        (ProblemError("no such word", "x", retryable=True), "internal", True),
        (ProblemError("busy", "x", retryable=True), "busy", False),
    ],
)
def test_errors_become_words(error, word, defect):
    assert problem_of(error).word == word
    assert is_defect(error) is defect


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b'{"code":"Bad Word","retryable":true}',
        b'{"code":"","retryable":true}',
        b'{"code":"busy","retryable":"yes"}',
        b'{"code":"busy","retryable":true,"offset":-1}',
        b'{"code":"' + b"a" * 41 + b'","retryable":true}',
        b'{"code":"busy","retryable":true,"x":"' + b"a" * 20_000 + b'"}',
        b"[" * 10_000,
    ],
)
def test_what_is_no_problem_document(body):
    with pytest.raises(Malformed):
        read_problem(body)


def test_a_later_protocols_words_and_members_are_read():
    read = read_problem(b'{"code":"brand-new","retryable":false,"detail":"...","status":499}')
    assert (read.code, read.retryable) == ("brand-new", False)
