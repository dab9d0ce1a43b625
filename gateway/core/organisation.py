"""The names of agencies: unified social credit codes (GB 32100) and the older organisation codes (GB 11714).

Both end in a check character, so a mistyped code is caught before anything is addressed to it.
"""

from __future__ import annotations

from crypto.errors import Malformed

CODE_LENGTH = 18
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100 4.3: no I, O, S, V, Z
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_WEIGHTS = tuple(pow(3, position, 31) for position in range(17))  # GB 32100 appendix A

_OLD_VALUES = {character: value for value, character in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
_OLD_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)  # GB 11714 appendix A


class BadOrganisationCode(Malformed):
    """A text is no unified social credit code. Facts: ``org`` and ``problem`` (length | characters | check)."""

    code = "organisation-code"


def check_character(first17: str) -> str:
    """The 18th character that belongs to the first 17. Raises BadOrganisationCode for characters outside the alphabet."""
    try:
        total = sum(_VALUES[character] * weight for character, weight in zip(first17, _WEIGHTS, strict=True))
    except (KeyError, ValueError):
        raise BadOrganisationCode(
            f"not the first 17 characters of a code: {first17[:40]!r}", org=first17[:40], problem="characters"
        ) from None
    return _ALPHABET[(31 - total % 31) % 31]


def check_code(code: str) -> str:
    """The code itself when it is a unified social credit code with the right check character. Raises BadOrganisationCode."""
    if len(code) != CODE_LENGTH:
        raise BadOrganisationCode(f"a code has {CODE_LENGTH} characters, not {len(code)}: {code[:40]!r}", org=code[:40], problem="length")
    if any(character not in _VALUES for character in code):
        raise BadOrganisationCode(f"{code!r} has characters no code has", org=code, problem="characters")
    if check_character(code[:17]) != code[17]:
        raise BadOrganisationCode(f"{code!r} does not end in its check character", org=code, problem="check")
    return code


def check_old_code(code: str) -> str:
    """The code itself when it is a nine-character organisation code (GB 11714) as older identifiers carry. Raises BadOrganisationCode."""
    if len(code) != 9 or any(character not in _OLD_VALUES for character in code):
        raise BadOrganisationCode(f"not a nine-character organisation code: {code[:40]!r}", org=code[:40], problem="characters")
    total = sum(_OLD_VALUES[character] * weight for character, weight in zip(code[:8], _OLD_WEIGHTS, strict=True))
    expected = {10: "X", 11: "0"}.get(11 - total % 11, str(11 - total % 11))
    if code[8] != expected:
        raise BadOrganisationCode(f"{code!r} does not end in its check character", org=code, problem="check")
    return code
