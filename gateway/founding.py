"""Founding a gateway: keys made, certificates fetched from the pilot authority, a home written that starts as it is.

The folder appears complete or not at all: it grows beside its place and is renamed. A crash in between leaves a ``.part`` folder and an
enrolment that the next attempt replaces.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from crypto.keys import PrivateKey
from crypto.notes import LogKey
from crypto.suites import INTL_1, SuiteId, suite_named
from gateway.config import FILE_NAME, Config, DirectoryPlace, Identity, Keys, Listen, PolicyPlace, Time, TrustPlaces, validate
from gateway.core.document import LevelId
from gateway.core.errors import BadConfiguration, BadInput
from gateway.core.explain import explain
from gateway.core.levels import level_named
from gateway.core.organisation import check_code
from gateway.files import make_folder, sync_folder, write_atomic
from gateway.home import PASSPHRASE_VARIABLE, Home, log_name
from gateway.pilot import Application, Enrolment, PilotAuthority
from gateway.storage_key_file import new_storage_key

LOCAL = "127.0.0.1"
PORTS = range(17_000, 30_000)  # below the range systems lend to outgoing connections, so that a port is still free tomorrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a new home shall be. Empty addresses: free ports on this machine are chosen."""

    organisation: str
    name: str
    suites: tuple[SuiteId, ...]
    zone: str
    highest_level: str
    policy: bytes
    peer: str = ""
    ops: str = ""


def found(folder: Path, plan: Plan, authority: PilotAuthority, *, at: datetime) -> Home:
    """Make the home, enrolled with the authority. Raises BadInput when the folder exists, BadOrganisationCode."""
    check_code(plan.organisation)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} exists already", reasons=(explain("cli/exists", place=folder),))
    config = _configuration(plan, authority)
    validate(config)
    growing = make_folder(folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part"), private=True)
    try:
        home = Home(growing, config)
        _lay_out(home, plan)
        private = _make_keys(home, plan)
        _keep(home, authority.enrol(_application(home, plan, private), at=at))
        write_atomic(growing / FILE_NAME, config.to_toml().encode())
        growing.replace(folder)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return Home.open(folder)


def free_address(taken: Sequence[str] = ()) -> str:
    """An address on this machine nobody listens on now and that is not among ``taken``. Raises BadConfiguration."""
    for port in random.SystemRandom().sample(PORTS, 200):
        address = f"{LOCAL}:{port}"
        with socket.socket() as probe:
            if address not in taken and probe.connect_ex((LOCAL, port)) != 0 and _binds(port):
                return address
    raise BadConfiguration(f"no free port found between {PORTS.start} and {PORTS.stop}", file="", key="listen")


def _binds(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOCAL, port))
        except OSError:
            return False
        return True


def _configuration(plan: Plan, authority: PilotAuthority) -> Config:
    taken = [authority.listen, authority.stream or ""]
    peer = plan.peer or free_address(taken)
    return Config(
        gateway=Identity(id=f"gw-{plan.organisation.lower()}", organisation=plan.organisation, name=plan.name),
        listen=Listen(peer=peer, ops=plan.ops or free_address([*taken, peer])),
        keys=Keys(passphrase_file="" if os.environ.get(PASSPHRASE_VARIABLE) else "passphrase"),
        time=Time(authorities={suite: authority.time_urls(suite) for suite in plan.suites}),
        directory=DirectoryPlace(url=authority.directory_url),
        trust=TrustPlaces(crl_urls=authority.crl_urls),
        policy=PolicyPlace(file="policies/default.toml"),
    )


def _lay_out(home: Home, plan: Plan) -> None:
    for private in (home.keys, home.data, home.office):
        make_folder(private, private=True)
    for shared in (home.certs, home.path / "trust" / "roots", home.crls, home.path / "policies", home.path / "directory"):
        make_folder(shared)
    if home.config.keys.passphrase_file:
        write_atomic(home.path / home.config.keys.passphrase_file, secrets.token_urlsafe(24).encode() + b"\n", mode=0o600)
    write_atomic(home.policy_file, plan.policy)


def _make_keys(home: Home, plan: Plan) -> dict[str, PrivateKey]:
    keys = {"tls": PrivateKey.generate(INTL_1)}
    for suite in plan.suites:
        keys[f"sign-{suite}"] = PrivateKey.generate(suite_named(suite))
        keys[f"encrypt-{suite}"] = PrivateKey.generate(suite_named(suite))
    for name, key in keys.items():
        write_atomic(home.keys / f"{name}.pem", key.to_pkcs8(home.passphrase()), mode=0o600)
    write_atomic(home.keys / "storage.key", new_storage_key(home.passphrase()), mode=0o600)
    write_atomic(home.keys / "log.pem", LogKey.generate(log_name(home.config)).to_pkcs8(home.passphrase()), mode=0o600)
    return keys


def _application(home: Home, plan: Plan, keys: Mapping[str, PrivateKey]) -> Application:
    return Application(
        code=plan.organisation,
        name=plan.name,
        gateway=home.config.gateway.id,
        peer=home.config.listen.peer,
        zone=plan.zone,
        highest_level=cast("LevelId", level_named(plan.highest_level).id),
        signing={suite: keys[f"sign-{suite}"].public for suite in plan.suites},
        encryption={suite: keys[f"encrypt-{suite}"].public for suite in plan.suites},
        tls=keys["tls"].public,
        log_keys=(home.log_key().verifier.vkey,),
    )


def _keep(home: Home, enrolment: Enrolment) -> None:
    for name, certificate in enrolment.certificates.items():
        write_atomic(home.certs / f"{name}.pem", certificate.pem)
    for suite, root in enrolment.roots.items():
        write_atomic(home.path / "trust" / "roots" / f"{suite}.pem", root.pem)
    for suite, crl in enrolment.crls.items():
        home.keep_crl(f"{suite}.crl", crl)
    write_atomic(home.path / "trust" / "directory-authority.pem", enrolment.directory_authority.pem)
    home.keep_directory(enrolment.directory)
