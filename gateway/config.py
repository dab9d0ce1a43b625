"""What an operator may set: ``HOME/gateway.toml`` as one value, read strictly.

An unknown section or key, a missing one without a default, or a value of another kind refuses the start, naming file and key.
Units stand in the key's name (``poll_seconds``, ``head_room_mib``): a value is a bare number, never ``"10s"``. Nothing here opens a
key or a socket; ``gateway.home`` does. Every change of this file takes effect at the next start.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from crypto.errors import YizhanError
from crypto.suites import SUITES
from gateway.core.canonical import GATEWAY_PATTERN, MAX_INTEGER
from gateway.core.errors import BadConfiguration
from gateway.core.organisation import check_code
from gateway.core.toml_text import NotToml, read_toml

FILE_NAME: Final = "gateway.toml"
MAX_CONFIGURATION = 64 * 1024  # a page of settings; anything larger is another file under this name
MAX_SHOWN: Final = 80  # characters of a wrong value that a complaint repeats
_NODE = re.compile(r"[a-z0-9]{1,16}")
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s/]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """[gateway]: who this gateway is. Changing it means enrolling anew."""

    # The id under which the directory lists this gateway; stands in its TLS certificate and in every log origin. No default.
    id: str
    # The 18-character unified social credit code of the organisation this gateway serves. No default.
    organisation: str
    # The organisation's name as people read it. No default.
    name: str
    # Distinguishes several processes of one gateway: each writes a log of its own. Default "1". A new value starts a new log.
    node: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """[listen]: the sockets this gateway opens."""

    # HOST:PORT where other gateways reach us (TLS 1.3, mutual). The directory must lead here. No default.
    peer: str
    # HOST:PORT of health, readiness and metrics, without TLS: keep it on loopback or an operators' network. No default.
    ops: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """[keys]: how the key files open."""

    # A file (relative to the home) whose one line opens the keys; it must be readable by its owner alone. Default "": none, and the
    # environment variable YIZHAN_PASSPHRASE must be set. When both are there, the environment wins.
    passphrase_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """[office]: the agency's office system (OA)."""

    # Which adapter. "folder" is the OA as folders. Default "folder".
    kind: str = "folder"
    # Where it lives, relative to the home; for "folder" the directory with outbox, sent, refused and inbox. Default "office".
    path: str = "office"
    # How often the outgoing tray and human acts are looked at, in seconds. Default 1.
    poll_seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """[time]: time-stamping authorities."""

    # Suite id -> URLs of RFC 3161 authorities, tried in this order: http(s)://… (section 3.4) or tsp://HOST:PORT (section 3.3: a lasting
    # connection, a fraction of the cost). No default: without a token nothing that needs one is sealed.
    authorities: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryPlace:
    """[directory]: where newer directories come from. The last good one is kept in the home and used while the place is silent."""

    # Base URL of the published directory (head.json, head.p7s, entries/). No default.
    url: str
    # How often to ask for a newer one, in seconds. Default 60.
    refresh_seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPlaces:
    """[trust]: whom certificates must lead to. Roots are never fetched; a person puts them there."""

    # Folder of root certificates (*.pem), relative to the home. Default "trust/roots".
    roots: str = "trust/roots"
    # Folder of revocation lists (*.crl, DER), relative to the home. Default "trust/crls".
    crls: str = "trust/crls"
    # The certificate that signs the directory, relative to the home. Default "trust/directory-authority.pem".
    directory_authority: str = "trust/directory-authority.pem"
    # Where newer revocation lists come from; the file keeps the URL's last path segment as its name. Default none: a person copies them.
    crl_urls: tuple[str, ...] = ()
    # How often to ask for newer ones, in seconds. Default 600.
    crl_refresh_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPlace:
    """[policy]: the rules in force."""

    # The policy file (TOML), relative to the home. No default: without a policy there is no start.
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """[storage]: disk."""

    # Refuse new content when less than this much disk, in MiB, would stay free. Default 512.
    head_room_mib: int = 512
    # Ceiling of plaintext on its way (sealed pieces under data/scratch), in MiB; the head-room bounds it as well. A document above it
    # would wait for ever, so the default is twice the largest one a policy may allow. Default 131072.
    scratch_ceiling_mib: int = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """[limits]: what one peer may ask of us, and we of one peer."""

    # Requests on their way to one peer at a time. Default 16.
    in_flight_per_peer: int = 16
    # Documents sent to one peer that it has not answered for; beyond it offers to it wait in the office. Default 4000: a day of a busy agency.
    open_documents_per_peer: int = 4000
    # The same to all peers together. Default 8000: all of them are held in one order in memory, about 1 KiB each.
    open_documents: int = 8000
    # GiB of large documents sent to one peer that it has not answered for; one alone always goes. Default 256: four of the largest.
    open_gib_per_peer: int = 256
    # Unfinished resumable uploads one peer may hold here. Default 16.
    uploads_per_peer: int = 16
    # Requests of one peer served at a time; more are told to wait. Default 64.
    requests_per_peer: int = 64
    # Requests a second one peer is served on the whole; beyond it they wait and none is refused. Default 500: more than two cores carry.
    requests_per_second: float = 500.0
    # New exchanges a second one peer may offer on the whole; beyond it they wait and none is refused. Default 200: more than one process
    # verifies and keeps.
    exchanges_per_second: float = 200.0
    # MiB a second one peer may send on the whole; beyond it the line waits. Default 256: more than one stage decrypts.
    incoming_mib: float = 256.0
    # Requests a minute that may not hold before a peer is refused (too-many), 128 of them at once. Default 120.
    failures_per_minute: float = 120.0
    # TLS handshakes a second from one address, 64 of them at once; beyond it connections are closed unread. Default 20: gateways keep theirs.
    handshakes_per_second: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One gateway's configuration; ``validate`` has passed."""

    gateway: Identity
    listen: Listen
    keys: Keys = field(default_factory=Keys)
    office: Office = field(default_factory=Office)
    time: Time
    directory: DirectoryPlace
    trust: TrustPlaces = field(default_factory=TrustPlaces)
    policy: PolicyPlace
    storage: Storage = field(default_factory=Storage)
    limits: Limits = field(default_factory=Limits)

    def to_toml(self) -> str:
        """The same configuration as a file: what ``from_toml`` reads back equal."""
        return "".join(_section_to_toml(spec.name, getattr(self, spec.name)) for spec in fields(self))

    @classmethod
    def from_toml(cls, data: bytes, *, source: str = FILE_NAME) -> Config:
        """Read a configuration. Raises BadConfiguration naming ``source`` and the key."""
        if len(data) > MAX_CONFIGURATION:
            raise BadConfiguration(f"{source}: larger than {MAX_CONFIGURATION} bytes", file=source, key="")
        try:
            _, table = read_toml(data)
        except NotToml as problem:
            raise BadConfiguration(f"{source}: not TOML: {problem}", file=source, key="") from problem
        config = _read_struct(cls, table, source, "")
        validate(config, source=source)
        return config


def read_config(path: Path) -> Config:
    """The configuration in this file. Raises BadConfiguration when it is missing or does not hold."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise BadConfiguration(f"{path}: cannot be read: {problem.strerror}", file=str(path), key="") from problem
    return Config.from_toml(data, source=str(path))


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` (IPv6 hosts in brackets). Raises ValueError."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError(f"not HOST:PORT: {address!r}")
    return match[1].strip("[]"), int(match[2])


# ---- reading: the dataclasses are the schema --------------------------------------------------------------------------------------

S = TypeVar("S")


def _read_struct(kind: type[S], table: dict[str, Any], source: str, prefix: str) -> S:
    hints = get_type_hints(kind)
    specs: dict[str, Field[Any]] = {spec.name: spec for spec in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in specs:
            raise _bad(source, prefix + key, "unknown key", "known here: " + ", ".join(specs))
    values: dict[str, Any] = {}
    for name, spec in specs.items():
        if name in table:
            values[name] = _read_value(hints[name], table[name], source, prefix + name)
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise _bad(source, prefix + name, "missing", "it has no default")
    return kind(**values)


def _read_value(hint: Any, value: Any, source: str, key: str) -> Any:
    if isinstance(hint, type) and hint.__module__ == __name__:
        if not isinstance(value, dict):
            raise _bad(source, key, "must be a section", f"write [{key}]")
        return _read_struct(hint, value, source, key + ".")
    origin = get_origin(hint)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _bad(source, key, "must be a section", f"write [{key}]")
        return types.MappingProxyType({name: _read_value(get_args(hint)[1], item, source, f"{key}.{name}") for name, item in value.items()})
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _bad(source, key, "must be a list of texts", 'for example ["http://…"]')
        return tuple(value)
    return _read_scalar(hint, value, source, key)


def _read_scalar(hint: type, value: Any, source: str, key: str) -> Any:
    if hint is str and isinstance(value, str):
        return value
    number = not isinstance(value, bool) and (isinstance(value, float) or (isinstance(value, int) and abs(value) <= MAX_INTEGER))
    if hint is int and number and isinstance(value, int):
        return value
    if hint is float and number:
        return float(value)
    unit = next((unit for unit in ("seconds", "mib") if key.endswith("_" + unit)), "")
    wanted = {str: "a text in quotes", int: "a whole number", float: "a number"}[hint]
    raise _bad(source, key, f"must be {wanted}" + (f" of {unit}" if unit else ""), f"found {_found(value)}")


def _found(value: Any) -> str:
    try:
        return repr(value)[:MAX_SHOWN]
    except ValueError:  # somewhere inside an integer that Python refuses to write in decimal
        return "a number out of bounds"


def _bad(source: str, key: str, what: str, remark: str) -> BadConfiguration:
    return BadConfiguration(f"{source}: {key}: {what} ({remark})", file=source, key=key)


def _section_to_toml(name: str, section: Any) -> str:
    lines, below = [f"[{name}]"], ""
    for spec in fields(section):
        value = getattr(section, spec.name)
        if isinstance(value, Mapping):
            below = f"\n[{name}.{spec.name}]\n" + "".join(f"{key} = {_toml(item)}\n" for key, item in value.items())
        else:
            lines.append(f"{spec.name} = {_toml(value)}")
    return "\n".join(lines) + "\n" + below + "\n"


def _toml(value: str | float | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(_toml_character(character) for character in value) + '"'
    return repr(value)


def _toml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"


Need = Callable[[object, str, str, str], None]

# ---- sanity across fields ---------------------------------------------------------------------------------------------------------


def validate(config: Config, *, source: str = FILE_NAME) -> None:
    """Refuse what no gateway can run with. Raises BadConfiguration naming ``source`` and the key."""

    def need(holds: object, key: str, what: str, remark: str) -> None:
        if not holds:
            raise _bad(source, key, what, remark)

    need(
        re.match(GATEWAY_PATTERN, config.gateway.id) is not None,
        "gateway.id",
        "not a gateway id",
        "lower case letters, digits, dot and hyphen",
    )
    need(_NODE.fullmatch(config.gateway.node) is not None, "gateway.node", "not a node", "1 to 16 lower case letters and digits")
    need(0 < len(config.gateway.name.strip()) <= 200, "gateway.name", "must not be empty or longer than 200 characters", "")
    try:
        check_code(config.gateway.organisation)
    except (YizhanError, ValueError) as problem:
        raise _bad(source, "gateway.organisation", "not an organisation code", str(problem)) from problem
    for key, address in (("listen.peer", config.listen.peer), ("listen.ops", config.listen.ops)):
        need(_is_address(address), key, "not HOST:PORT", f"found {address!r}")
    need(config.listen.peer != config.listen.ops, "listen.ops", "same as listen.peer", "each needs a port of its own")
    need(config.office.kind == "folder", "office.kind", "unknown office kind", "known: folder")
    _validate_places(config, need)
    _validate_numbers(config, need)


def _is_address(address: str) -> bool:
    try:
        split_address(address)
    except ValueError:
        return False
    return True


def _validate_places(config: Config, need: Need) -> None:
    need(bool(config.time.authorities), "time.authorities", "empty", "name at least one authority for each suite in use")
    for suite, urls in config.time.authorities.items():
        need(suite in SUITES, f"time.authorities.{suite}", "unknown suite", "known: " + ", ".join(SUITES))
        need(bool(urls), f"time.authorities.{suite}", "empty", "name at least one URL")
        for url in urls:
            need(
                _is_url(url) or _is_stream_url(url), f"time.authorities.{suite}", "not an http(s) URL or tsp://HOST:PORT", f"found {url!r}"
            )
    need(_is_url(config.directory.url), "directory.url", "not an http(s) URL", f"found {config.directory.url!r}")
    for url in config.trust.crl_urls:
        need(_is_url(url) and url.endswith(".crl"), "trust.crl_urls", "not an http(s) URL ending in .crl", f"found {url!r}")
    names = [url.rsplit("/", 1)[1] for url in config.trust.crl_urls]
    need(len(set(names)) == len(names), "trust.crl_urls", "two URLs end in the same name", "they would overwrite each other")
    need(bool(config.policy.file), "policy.file", "empty", "name the policy file")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets around what is no IPv6 address, a port out of bounds
        return False


def _is_stream_url(url: str) -> bool:
    try:
        place = urlsplit(url).netloc
    except ValueError:
        return False
    return url == f"tsp://{place}" and "@" not in place and _is_address(place)


def _validate_numbers(config: Config, need: Need) -> None:
    for key, value, low, high in (
        ("office.poll_seconds", config.office.poll_seconds, 0.05, 3600),
        ("directory.refresh_seconds", config.directory.refresh_seconds, 1, 86400),
        ("trust.crl_refresh_seconds", config.trust.crl_refresh_seconds, 1, 86400),
        ("storage.head_room_mib", config.storage.head_room_mib, 0, 1 << 30),
        ("storage.scratch_ceiling_mib", config.storage.scratch_ceiling_mib, 64, 1 << 30),
        ("limits.in_flight_per_peer", config.limits.in_flight_per_peer, 1, 256),
        ("limits.open_documents_per_peer", config.limits.open_documents_per_peer, 1, 9000),
        ("limits.open_documents", config.limits.open_documents, 1, 9000),
        ("limits.open_gib_per_peer", config.limits.open_gib_per_peer, 1, 1 << 20),
        ("limits.uploads_per_peer", config.limits.uploads_per_peer, 1, 4096),
        ("limits.requests_per_peer", config.limits.requests_per_peer, 1, 4096),
        ("limits.requests_per_second", config.limits.requests_per_second, 1, 1e6),
        ("limits.exchanges_per_second", config.limits.exchanges_per_second, 0.1, 1e6),
        ("limits.incoming_mib", config.limits.incoming_mib, 0.1, 1 << 20),
        ("limits.failures_per_minute", config.limits.failures_per_minute, 1, 1e6),
        ("limits.handshakes_per_second", config.limits.handshakes_per_second, 0.1, 1e4),
    ):
        need(low <= value <= high, key, f"must lie between {low} and {high}", f"found {value}")
