"""What this gateway is, holds and believes at this moment: its names, keys, policy, directories and trust.

One mutable place, replaced piece by piece by the tasks that watch; everybody else reads it once a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from crypto.certificates import Certificate, ChainCache, CrlStale, Purpose
from crypto.content_cipher import StorageKey
from crypto.errors import KeyUnusable, LocalError, Unverified
from crypto.keys import Signer, Unwrapper
from crypto.suites import Suite
from gateway.core.directory import Directory, DirectoryError, NotListed
from gateway.core.errors import BadConfiguration, ProblemError
from gateway.core.policy import Lapse, Policy
from gateway.core.transmittal import DirectoryRef


class NotInForce(LocalError):
    """Our directory has expired, or its authority is no longer believed: nothing is taken, accepted, sealed or sent by it."""

    code = "not-in-force"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryPapers:
    """The exact bytes a directory was opened from, kept for evidence: head, signature, entries by digest."""

    head: bytes
    signature: bytes
    entries: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentSigner:
    """Stands where a signing key should: its certificate is here, its holder is not. ``call`` asks for it again; raises KeyUnusable."""

    suite: Suite
    certificate: Certificate
    call: Callable[[], Signer]

    def sign(self, message: bytes) -> bytes:
        """Raises KeyUnusable, always."""
        raise KeyUnusable(f"the signing key of suite {self.suite.id} is away", suite=self.suite.id, bytes=len(message))


@dataclass(slots=True, kw_only=True)
class Standing:
    """The gateway's identity, keys and present beliefs."""

    organisation: str
    gateway: str
    name: str
    signers: Mapping[str, Signer]  # by suite id
    unwrappers: Mapping[str, tuple[Unwrapper, ...]]  # by suite id, the current one first
    storage_key: StorageKey
    policy: Policy
    policy_bytes: bytes
    directory: Directory
    papers: DirectoryPapers
    chains: ChainCache
    accepts_work: bool = True  # False while starting, stopping, or while a fail-closed condition holds
    _known: dict[int, Directory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known[self.directory.version] = self.directory

    def adopt(self, directory: Directory, papers: DirectoryPapers) -> None:
        """A newer directory is in force; the ones before stay known until they expire."""
        self._known[directory.version] = directory
        self.directory, self.papers = directory, papers

    def know(self, directory: Directory) -> None:
        """A directory of before, not expired yet: what was made under it is still on its way."""
        self._known.setdefault(directory.version, directory)

    def gateway_of(self, org: str) -> str:
        """The id of the gateway that serves an organisation. Raises NotListed."""
        gateways = self.directory.gateways_of(org)
        if not gateways:
            raise NotListed(f"no gateway serves {org}", id=org)
        return gateways[0].id

    def goes_through(self, org: str, gateway: str) -> bool:
        """Whether documents for this organisation go to that gateway; False for one the directory no longer knows."""
        return any(found.id == gateway for found in self.directory.gateways_of(org)[:1])

    def directory_named(self, ref: DirectoryRef, now: datetime, level: str | None = None) -> Directory:
        """The directory a transmittal of that level was made under. Raises ProblemError: unknown here, or no longer in force."""
        known = self._known.get(ref.version)
        if known is not None and known.digest != ref.digest:
            raise ProblemError(
                "directory-forked", f"directory version {ref.version} is another one here", retryable=True, version=ref.version
            )
        if known is None:
            raise ProblemError("directory-unknown", f"directory version {ref.version} is not here", retryable=True, version=ref.version)
        grace = self.policy.allowance(level).directory_grace
        if now >= known.expires and (not grace or now > known.expires + grace):
            raise ProblemError("directory-expired", f"directory version {ref.version} has expired", retryable=True, version=ref.version)
        return known

    def superseded_at(self, version: int) -> datetime | None:
        """When the next version we know after that one was issued; None for the newest."""
        later = [known for known in self._known if known > version]
        return self._known[min(later)].issued if later else None

    def chains_at(self, level: str | None) -> ChainCache:
        """What we believe certificates by, for one act at that level: its policy may let a revocation list count past its next update."""
        grace = self.policy.allowance(level).crl_grace
        return self.chains.within(grace) if grace else self.chains

    def lapses(self, chains: ChainCache, now: datetime, directory: Directory | None = None) -> tuple[Lapse, ...]:
        """What had to be forgiven for an act that rests on these chains and that directory (the one in force where none is named)."""
        expires = (directory or self.directory).expires
        stale = () if chains.stale_since is None else (Lapse(mode="crl-stale", since=chains.stale_since),)
        return stale if now < expires else (*stale, Lapse(mode="directory-expired", since=expires))

    def check_directory(self, now: datetime, level: str | None = None, chains: ChainCache | None = None) -> None:
        """Whether the directory may be acted by now, at that level (at none: strictly). Raises NotInForce, CrlStale."""
        grace = self.policy.allowance(level).directory_grace
        try:
            self.directory.check_in_force(chains or self.chains_at(level), now, grace)
        except (DirectoryError, Unverified) as error:
            raise NotInForce(f"directory version {self.directory.version}: {error}", version=self.directory.version) from error

    def fresh(self, now: datetime) -> bool:
        """Whether we hold fresh revocation lists of every authority that our directory and our own certificates stand under."""
        ours = [(signer.certificate, Purpose.SIGN) for signer in self.signers.values()]
        for certificate, purpose in ((self.directory.authority, Purpose.DIRECTORY), *ours):
            try:
                self.chains.verify(certificate, at=now, now=now, purpose=purpose)
            except CrlStale:
                return False
            except Unverified:
                continue  # something else is wrong with it, which fresh lists would not mend
        return True

    def check_signer(self, suite: Suite, at: datetime, level: str | None = None) -> None:
        """Whether we can sign now and peers will believe it: our certificate judged as they judge it. Raises KeyUnusable, CrlStale."""
        signer = self.signer(suite)
        if isinstance(signer, AbsentSigner):
            raise KeyUnusable(f"the signing key of suite {suite.id} is away", suite=suite.id)
        certificate = signer.certificate
        try:
            chain = self.chains_at(level).verify(certificate, at=at, now=at, purpose=Purpose.SIGN)
        except Unverified as error:
            raise KeyUnusable(f"our own signing certificate of suite {suite.id} does not hold: {error}", suite=suite.id) from error
        if chain.revoked_later is not None:
            raise KeyUnusable(f"our own signing certificate of suite {suite.id} is revoked", suite=suite.id)

    def call_keys(self) -> tuple[str, ...]:
        """Ask once for each signing key that is away; the suites whose key came back. May wait for a disk or a device."""
        back: dict[str, Signer] = {}
        for suite, signer in self.signers.items():
            if isinstance(signer, AbsentSigner):
                with suppress(KeyUnusable):
                    back[suite] = signer.call()
        if back:
            self.signers = {**self.signers, **back}
        return tuple(back)

    def signer(self, suite: Suite) -> Signer:
        """Our signing key of that suite. Raises BadConfiguration when we have none."""
        try:
            return self.signers[suite.id]
        except KeyError:
            raise BadConfiguration(f"no signing key of suite {suite.id}", suite=suite.id) from None
