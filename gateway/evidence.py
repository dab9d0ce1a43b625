"""Evidence about one exchange as a plain folder that a court, an archive or an auditor checks with stock tools and without us.

    DIR/VERIFY.md                            what each file is and the exact commands (gateway.evidence_guide)
    DIR/SHA256SUMS                           every other file
    DIR/transmittal.json, nro.p7s            the signed cover; nro.attributes, nro.signature, nro.tst cut out of nro.p7s
    DIR/sealed.bin, envelopes/<org>.p7m      the ciphertext and its keys, for whoever holds a recipient's private key
    DIR/receipts/<nn>-<event>-<org>.*        json, p7s, attributes, signature
    DIR/log/                                 leaves, a C2SP tlog-proof each, the checkpoint with its token, the log's public key
    DIR/log-<n>/                             the same of an earlier log, where one ended while the exchange was open
    DIR/certificates, DIR/crls               of signers, recipients, time authorities, roots
    DIR/policy*.toml, DIR/directory/         the rules and the directory as they were

Nothing is decrypted: what leaves the gateway here is what its peers and its own log hold. The folder appears complete or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crypto.certificates import Certificate
from crypto.digests import Hasher
from crypto.envelopes import envelope_recipient
from crypto.errors import Malformed, Unverified
from crypto.rfc3161 import signed_bytes
from crypto.signed_data import SignedData
from crypto.suites import Suite, suite_named
from crypto.timestamps import read_token
from gateway.core.directory import DirectoryHead, OrganisationEntry, parse_certificate_text
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.core.leaf import Leaf
from gateway.core.transmittal import Transmittal
from gateway.evidence_guide import Guide, Paper, Token, verify_md
from gateway.files import make_folder, sync_folder
from gateway.flow.ports import ExchangeRow
from gateway.home import Home, entry_file_name
from gateway.reading import blob_pieces, find_exchange, open_ledger
from gateway.store.epochs import epoch_of, index_of
from gateway.store.ledger import Ledger


@dataclass(slots=True)
class _Export:
    """The folder as it grows, and what the guide will say of it."""

    home: Home
    folder: Path
    row: ExchangeRow
    suite: Suite
    papers: list[Paper] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    certificates: dict[str, str] = field(default_factory=dict)  # fingerprint -> file name

    def put(self, name: str, data: bytes) -> str:
        """Write one file; its name again."""
        file = self.folder / name
        make_folder(file.parent)
        file.write_bytes(data)
        return name

    def put_certificate(self, kind: str, certificate: Certificate) -> str:
        """Write a certificate once, named by what it is for."""
        if certificate.fingerprint not in self.certificates:
            who = f"-{certificate.organisation}" if certificate.organisation else ""
            name = f"certificates/{kind}{who}-{certificate.fingerprint[7:15]}.pem"
            self.certificates[certificate.fingerprint] = self.put(name, certificate.pem)
        return self.certificates[certificate.fingerprint]


async def export_evidence(home: Home, exchange: str, target: Path, *, at: datetime) -> Path:
    """Write the folder; where it lies. Raises BadInput: unknown exchange, nothing sealed yet, ``target`` exists; Unverified: damaged content."""
    if target.exists():  # noqa: ASYNC240  # nothing else runs in this loop
        raise BadInput(f"{target} exists already", reasons=(explain("cli/exists", place=target),))
    growing = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        await _fill(home, exchange, growing, at)
        growing.replace(target)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    sync_folder(target.parent)
    return target


async def _fill(home: Home, exchange: str, growing: Path, at: datetime) -> None:
    async with open_ledger(home) as ledger:
        row = await find_exchange(ledger, exchange)
        if row.transmittal is None or row.nro is None:
            raise BadInput("nothing sealed", reasons=(explain("cli/nothing-sealed", exchange=row.id),))
        export = _Export(home, make_folder(growing), row, suite_named(row.suite))
        guide = await _collect(export, ledger, row.transmittal, row.nro, at)
    export.put("VERIFY.md", verify_md(guide).encode())
    export.put("SHA256SUMS", "".join(_sums(growing)).encode())


async def _collect(export: _Export, ledger: Ledger, transmittal_bytes: bytes, nro: bytes, at: datetime) -> Guide:
    transmittal = Transmittal.from_bytes(transmittal_bytes)
    export.put("transmittal.json", transmittal_bytes)
    cover = _sign_paper(export, "nro", nro, "transmittal.json", transmittal.created_at)
    await _put_content(export, ledger, transmittal)
    recipients = await _put_envelopes(export, ledger, transmittal)
    await _put_receipts(export, ledger)
    checkpoint = await _put_log(export, ledger)
    _put_trust(export)
    await _put_rules(export, ledger, transmittal)
    return Guide(
        exchange=export.row.id,
        exported=at,
        suite=export.suite,
        cover=cover,
        receipts=tuple(export.papers[1:]),
        recipients=recipients,
        has_content=transmittal.content is not None,
        checkpoint_token=checkpoint,
        leaves=tuple(sorted(file.stem for file in (export.folder / "log").glob("leaf-*.json"))),
        directory_suite=export.home.directory_authority().suite,
        missing=tuple(export.missing),
    )


# ---- what was signed -------------------------------------------------------------------------------------------------------------


def _sign_paper(export: _Export, name: str, p7s: bytes, content: str, stated: datetime) -> Paper:
    """A detached signature, with what a tool without our profile needs of it cut out beside it."""
    signed = SignedData.from_der(p7s)
    export.put(f"{name}.p7s", p7s)
    export.put(f"{name}.attributes", signed.attributes)
    export.put(f"{name}.signature", signed.signature)
    token = None if signed.token is None else _put_token(export, f"{name}.tst", signed.token, f"{name}.signature")
    paper = Paper(
        name=name,
        content=content,
        certificate=export.put_certificate("sign", signed.certificate),
        at=token.at if token else stated,
        token=token,
    )
    export.papers.append(paper)
    return paper


def _put_token(export: _Export, name: str, token: bytes, over: str) -> Token:
    claimed = read_token(token)
    stem = name.removesuffix(".tst")
    export.put(name, token)
    export.put(f"{stem}.tst.info", claimed.info)
    export.put(f"{stem}.tst.attributes", signed_bytes(claimed.signer.attributes))
    export.put(f"{stem}.tst.signature", claimed.signer.signature)
    certificate = export.put_certificate("time", claimed.authority)
    return Token(file=name, over=over, certificate=certificate, at=claimed.at, suite=claimed.authority.public_key.suite)


async def _put_content(export: _Export, ledger: Ledger, transmittal: Transmittal) -> None:
    stored = await ledger.content(export.row.direction, export.row.key)
    if stored is None or transmittal.content is None:
        if transmittal.content is not None:
            export.missing.append("sealed.bin")
        return
    pieces = iter((stored.inline,)) if stored.inline is not None else blob_pieces(export.home, str(stored.blob))
    hasher = Hasher(export.suite.digest)
    with (export.folder / "sealed.bin").open("wb") as file:
        for piece in pieces:
            hasher.update(piece)
            file.write(piece)
    if hasher.text() != transmittal.content.sealed:
        raise Unverified("the stored ciphertext is not what was signed: run `yizhan fsck`", check="sealed")


async def _put_envelopes(export: _Export, ledger: Ledger, transmittal: Transmittal) -> dict[str, str]:
    """Envelopes, and by organisation the file of the certificate each is for ("" where the directory does not have it)."""
    listed = {(one.issuer_der, one.serial): one for one in await _encryption_certificates(export, ledger, transmittal)}
    found: dict[str, str] = {}
    for org, envelope in sorted((await ledger.envelopes(export.row.direction, export.row.key)).items()):
        export.put(f"envelopes/{org}.p7m", envelope)
        certificate = listed.get(envelope_recipient(envelope))
        found[org] = export.put_certificate("encrypt", certificate) if certificate else ""
    return found


async def _encryption_certificates(export: _Export, ledger: Ledger, transmittal: Transmittal) -> list[Certificate]:
    ours = [one.certificate for each in export.home.unwrappers().values() for one in each]
    return ours + [
        parse_certificate_text(text)
        for body in (await _directory_entries(ledger, transmittal)).values()
        if (entry := _organisation(body)) is not None
        for text in entry.encryption
    ]


def _organisation(body: bytes) -> OrganisationEntry | None:
    try:
        return OrganisationEntry.from_bytes(body)
    except Malformed:
        return None  # a gateway or an authority


async def _put_receipts(export: _Export, ledger: Ledger) -> None:
    for number, each in enumerate(await ledger.receipts(export.row.direction, export.row.key), 1):
        name = f"receipts/{number:02d}-{each.event}-{each.recipient or each.issuer_org}"
        export.put(f"{name}.json", each.body)
        _sign_paper(export, name, each.signature, f"{name}.json", each.at)


# ---- the log -----------------------------------------------------------------------------------------------------------------------


async def _put_log(export: _Export, ledger: Ledger) -> Token | None:
    """Every leaf about the exchange, proved under one checkpoint of its log; the token of the last one when there is one."""
    leaves = await ledger.leaves(export.row.key)
    if not leaves:
        export.missing.append("log/")
        return None
    token = None
    newest = epoch_of(leaves[-1][0])
    for epoch, group in itertools.groupby(leaves, key=lambda leaf: epoch_of(leaf[0])):
        # A log that ended while the exchange was open has a folder of its own.
        token = await _put_one_log(export, ledger, "log" if epoch == newest else f"log-{epoch}", tuple(group))
    return token


async def _put_one_log(export: _Export, ledger: Ledger, folder: str, leaves: Sequence[tuple[int, bytes]]) -> Token | None:
    checkpoint = await ledger.checkpoint_over(leaves[-1][0])
    if checkpoint is None:
        export.missing.append(f"{folder}/")
        return None
    for place, body in leaves:
        export.put(f"{folder}/leaf-{index_of(place)}.json", body)
        export.put(f"{folder}/leaf-{index_of(place)}.tlog-proof", await ledger.proof(place, checkpoint))
    export.put(f"{folder}/checkpoint", checkpoint.note)
    text, _, lines = checkpoint.note.rpartition(b"\n\n")
    signature = base64.b64decode(lines.splitlines()[0].rsplit(b" ", 1)[1])[4:]  # after the four bytes of the key's id
    export.put(f"{folder}/checkpoint.text", text + b"\n")
    export.put(f"{folder}/checkpoint.signature", signature)
    verifier = export.home.log_key().verifier
    public = Ed25519PublicKey.from_public_bytes(verifier.public)
    export.put(f"{folder}/log-key.pem", public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    export.put(f"{folder}/log-key.vkey", verifier.vkey.encode() + b"\n")
    if checkpoint.token is None:
        export.missing.append(f"{folder}/checkpoint.tst")
        return None
    return _put_token(export, f"{folder}/checkpoint.tst", checkpoint.token, f"{folder}/checkpoint")


# ---- trust, rules ------------------------------------------------------------------------------------------------------------------


def _put_trust(export: _Export) -> None:
    trust = export.home.trust()
    for suite in {root.public_key.suite.id for root in trust.roots}:
        roots = b"".join(root.pem for root in trust.roots if root.public_key.suite.id == suite)
        export.put(f"certificates/roots-{suite}.pem", roots)
    for kept in export.home.revocation_lists():
        if kept.crl is None:
            export.missing.append(f"crls/{kept.file.name}")
            continue
        crl = kept.crl
        issuer = next((root.public_key.suite.id for root in trust.roots if root.subject_der == crl.issuer_der), "other")
        export.put(f"crls/{issuer}-{crl.number}.crl", crl.der)
    export.put("certificates/directory-authority.pem", export.home.directory_authority().pem)


async def _put_rules(export: _Export, ledger: Ledger, transmittal: Transmittal) -> None:
    """Each policy a leaf or the transmittal names, and the directory the transmittal was made under, as far as this gateway has them."""
    named = {transmittal.policy.digest: "policy-of-sender"}
    for _, body in await ledger.leaves(export.row.key):
        policy = Leaf.from_bytes(body).policy
        if policy is not None:
            named[policy.digest] = f"policy-{policy.version}"
    for digest, name in named.items():
        policy_file = await ledger.kept("policy", digest)
        if policy_file is not None:
            export.put(f"{name}.toml", policy_file)
        else:
            export.missing.append(f"{name}.toml ({digest})")
    version = str(transmittal.directory.version)
    head, signature = await ledger.kept("directory", version), await ledger.kept("directory-signature", version)
    if head is None or signature is None:
        export.missing.append(f"directory/ ({version})")
        return
    export.put("directory/head.json", head)
    export.put("directory/head.p7s", signature)
    signed = SignedData.from_der(signature)
    export.put("directory/head.attributes", signed.attributes)
    export.put("directory/head.signature", signed.signature)
    for digest, body in (await _directory_entries(ledger, transmittal)).items():
        export.put(f"directory/entries/{entry_file_name(digest)}", body)


async def _directory_entries(ledger: Ledger, transmittal: Transmittal) -> dict[str, bytes]:
    """The entries used: of the sender, its gateway, the recipients, and the time authorities."""
    head = await ledger.kept("directory", str(transmittal.directory.version))
    if head is None:
        return {}
    people = {transmittal.sender.org, *(recipient.org for recipient in transmittal.recipients)}
    wanted = {f"organisation/{org}" for org in people} | {f"gateway/{transmittal.sender.gateway}"}
    refs = [ref for ref in DirectoryHead.from_bytes(head).entries if ref.id in wanted or ref.id.startswith("authority/")]
    bodies = {ref.digest: await ledger.kept("entry", ref.digest) for ref in refs}
    return {digest: body for digest, body in bodies.items() if body is not None}


def _sums(folder: Path) -> Iterator[str]:
    for file in sorted(place for place in folder.rglob("*") if place.is_file()):
        with file.open("rb") as stream:
            yield f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {file.relative_to(folder)}\n"
