"""VERIFY.md: how a stranger checks exported evidence with OpenSSL, Python's standard library and nothing of ours.

Every fenced ``sh`` block runs as it stands, in the evidence folder, under ``set -e``; a test extracts and runs them. Chinese first, for the
people who will read it; the commands are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from crypto.suites import GM_1, SM2_DEFAULT_ID, Suite
from gateway.core.canonical import format_time

_DISTID = f"distid:{SM2_DEFAULT_ID.decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A time-stamp: its file, the file it is over, its authority's certificate, its time."""

    file: str
    over: str
    certificate: str
    at: datetime
    suite: Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A signed file: ``name`` with .p7s, .attributes, .signature beside it; ``at`` is the moment it is judged at."""

    name: str
    content: str
    certificate: str
    at: datetime
    token: Token | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """What the folder holds."""

    exchange: str
    exported: datetime
    suite: Suite
    cover: Paper
    receipts: tuple[Paper, ...]
    recipients: Mapping[str, str]  # organisation -> certificate file, or nothing
    has_content: bool
    checkpoint_token: Token | None
    leaves: tuple[str, ...]
    directory_suite: Suite | None
    missing: tuple[str, ...]


def verify_md(guide: Guide) -> str:
    """The whole text."""
    return "\n".join(_sections(guide)).rstrip() + "\n"


def _sections(guide: Guide) -> Iterator[str]:
    yield from _opening(guide)
    yield "## 1. 文件完整 Files are unchanged\n"
    yield _block("sha256sum --check --quiet SHA256SUMS")
    yield from _cover(guide)
    yield from _receipts(guide)
    yield from _content(guide)
    yield from _log(guide)
    yield from _directory(guide)
    yield from _closing(guide)


def _opening(guide: Guide) -> Iterator[str]:
    yield f"# 证据核验 Verifying the evidence of exchange `{guide.exchange}`\n"
    yield (
        f"套件 suite `{guide.suite.id}`，导出于 exported {format_time(guide.exported)}。在本目录下用 OpenSSL 3 执行以下命令；任何一条退出码非 0，即该项不成立，其输出一律不可采信。\n"
        "Run these commands with OpenSSL 3 in this folder. A non-zero exit means that point does not hold; trust no output of such a command.\n"
    )
    yield (
        "根证书（`certificates/roots-*.pem`）须从独立渠道取得并比对指纹：随证据附上的根证书本身不证明任何事。\n"
        "Compare the roots (`certificates/roots-*.pem`) with fingerprints obtained by another way: roots that come with the evidence prove nothing.\n"
    )
    yield _block('for root in certificates/roots-*.pem; do openssl x509 -in "$root" -noout -subject -fingerprint -sha256; done')


def _cover(guide: Guide) -> Iterator[str]:
    yield "\n## 2. 交换单与签名 The transmittal and its signature (nro.p7s)\n"
    yield (
        "`transmittal.json` 写明谁在何时向谁发送、密级与摘要。`nro.attributes` 是从 `nro.p7s` 取出的签名属性（首字节 A0 按 RFC 5652 5.4 换为 31），`nro.signature` 是签名值。\n"
        "`transmittal.json` says who sent what to whom, at which level, with which digests. `nro.attributes` are the signed attributes cut out of `nro.p7s`\n"
        "(first byte A0 replaced by 31, RFC 5652 5.4), `nro.signature` is the signature value.\n"
    )
    yield from _paper(guide.cover, guide.suite)
    if guide.cover.token is not None:
        yield "\n时间戳：该签名在此时之前已存在。The time-stamp: the signature existed by then.\n"
        yield from _token(guide.cover.token)


def _paper(paper: Paper, suite: Suite) -> Iterator[str]:
    epoch = int(paper.at.timestamp())
    roots = f"certificates/roots-{suite.id}.pem"
    yield _block(
        *_same_digest(paper.content, paper.name, suite),
        *_same_signature(paper.name),
        f"openssl verify -CAfile {roots} -purpose any -attime {epoch}{_vfyopt(suite)} {paper.certificate}",
        *_signature(paper.name, paper.content, paper.certificate, suite, epoch),
    )


def _same_digest(content: str, name: str, suite: Suite) -> Iterator[str]:
    """That the signed messageDigest is the file's digest; `cms -verify` says so as well, but knows no SM2."""
    yield f'signed=$(openssl asn1parse -inform DER -in {name}.attributes | grep -A2 ":messageDigest" | tail -n 1 | sed "s/.*://" | tr A-F a-f)'
    yield f'test "$signed" = "$(openssl dgst -{suite.digest} -r {content} | cut -d " " -f 1)"'


def _same_signature(name: str) -> Iterator[str]:
    """That the signature value, which a time-stamp is over, is the one inside the p7s."""
    yield f"openssl asn1parse -inform DER -in {name}.p7s | grep -qi \"HEX DUMP]:$(od -An -v -tx1 {name}.signature | tr -d ' \\n')\""


def _signature(name: str, content: str, certificate: str, suite: Suite, epoch: int) -> Iterator[str]:
    roots = f"certificates/roots-{suite.id}.pem"
    if suite is GM_1:
        yield (
            f"openssl pkeyutl -verify -certin -inkey {certificate} -rawin -digest sm3 -in {name}.attributes -sigfile {name}.signature "
            f"-pkeyopt {_DISTID}"
        )
        return
    yield (
        f"openssl cms -verify -cades -binary -inform DER -in {name}.p7s -content {content} -CAfile {roots} -purpose any -attime {epoch} -out /dev/null"
    )
    shown = f"openssl cms -cmsout -print -noout -inform DER -in {name}.p7s"
    yield f"{shown} | sed -n '/signedAttrs:/,/signatureAlgorithm:/p' | grep -q signingCertificateV2"


def _vfyopt(suite: Suite) -> str:
    return f" -vfyopt {_DISTID}" if suite is GM_1 else ""


def _token(token: Token) -> Iterator[str]:
    epoch = int(token.at.timestamp())
    stem, roots = token.file, f"certificates/roots-{token.suite.id}.pem"
    if token.suite is not GM_1:
        yield _block(
            f"openssl ts -verify -token_in -in {stem} -data {token.over} -CAfile {roots} -untrusted {token.certificate} -attime {epoch}",
            f"openssl ts -reply -token_in -in {stem} -text | grep 'Time stamp:'",
        )
        return
    yield _block(
        f'imprint=$(openssl asn1parse -inform DER -in {stem}.info | grep "OCTET STRING" | head -n 1 | sed "s/.*://" | tr A-F a-f)',
        f'test "$imprint" = "$(openssl dgst -sm3 -r {token.over} | cut -d " " -f 1)"',
        *_same_digest(f"{stem}.info", stem, token.suite),
        f"openssl verify -CAfile {roots} -purpose timestampsign -attime {epoch}{_vfyopt(token.suite)} {token.certificate}",
        *_signature(stem, f"{stem}.info", token.certificate, token.suite, epoch),
        f"openssl asn1parse -inform DER -in {stem}.info | grep GENERALIZEDTIME",
    )


def _receipts(guide: Guide) -> Iterator[str]:
    yield "\n## 3. 回执 Receipts\n"
    if not guide.receipts:
        yield "尚无回执。None yet.\n"
    for paper in guide.receipts:
        yield f"\n### `{paper.name}`\n"
        yield from _paper(paper, guide.suite)


def _content(guide: Guide) -> Iterator[str]:
    yield "\n## 4. 密文与数字信封 The ciphertext and its envelopes\n"
    if not guide.has_content:
        yield "本交换没有内容。This exchange has no content.\n"
        return
    if "sealed.bin" in guide.missing:
        yield "密文已按保管期限销毁。The ciphertext is no longer kept here.\n"
        return
    yield "`transmittal.json` 的 `content.sealed` 是密文摘要，`recipients[].envelope` 是各信封摘要。\n"
    yield "`content.sealed` in `transmittal.json` is the digest of the ciphertext, `recipients[].envelope` that of each envelope.\n"
    yield _block(
        f'grep -q "\\"sealed\\":\\"{guide.suite.digest}:$(openssl dgst -{guide.suite.digest} -r sealed.bin | cut -d " " -f 1)\\"" transmittal.json',
        *(
            f'grep -q "{guide.suite.digest}:$(openssl dgst -{guide.suite.digest} -r envelopes/{org}.p7m | cut -d " " -f 1)" transmittal.json'
            for org in guide.recipients
        ),
    )
    if guide.suite is GM_1:
        yield (
            "\nOpenSSL 命令行没有 SM4-GCM 的 CMS：持有收件单位私钥者用驿站打开。信封结构见 `openssl asn1parse -inform DER -in envelopes/<单位>.p7m`。\n"
            "The OpenSSL command line knows no CMS with SM4-GCM: whoever holds a recipient's key opens it with Yizhan.\n"
        )
        return
    yield (
        "\n收件单位可用自己的私钥解密（`KEY` 为私钥文件，`OUT` 为输出文件，环境变量 `PASSPHRASE` 为口令）。退出码非 0 时输出文件不可采信：OpenSSL 先写明文、后验标签。\n"
        "A recipient decrypts with its own key (`KEY` its file, `OUT` the output, `PASSPHRASE` in the environment). Trust nothing written by a command that fails:\n"
        "OpenSSL writes plaintext before it has checked the tag.\n"
    )
    for org, certificate in guide.recipients.items():
        if certificate:
            yield f"\n{org}:\n"
            yield _block(
                f"openssl cms -decrypt -binary -inform DER -in envelopes/{org}.p7m -content sealed.bin -recip {certificate} "
                '-inkey "$KEY" -passin env:PASSPHRASE -out "$OUT"',
                kind=f"sh decrypt {org}",
            )


_MERKLE = """python3 - log/checkpoint.text {leaves} <<'END'
import base64, hashlib, sys
origin, size, root = open(sys.argv[1], encoding="utf-8").read().splitlines()
for name in sys.argv[2:]:
    proof = open(name + ".tlog-proof", encoding="utf-8").read().split("\\n\\n", 1)[0].splitlines()
    index = int(next(line for line in proof if line.startswith("index ")).split()[1])
    path = [base64.b64decode(line) for line in proof[1:] if not line.startswith(("index ", "extra "))]
    value = hashlib.sha256(b"\\0" + open(name + ".json", "rb").read()).digest()
    node, last = index, int(size) - 1
    for sibling in path:
        if node % 2 or node == last:
            value = hashlib.sha256(b"\\1" + sibling + value).digest()
            while node and not node % 2:
                node, last = node >> 1, last >> 1
        else:
            value = hashlib.sha256(b"\\1" + value + sibling).digest()
        node, last = node >> 1, last >> 1
    if last or value != base64.b64decode(root):
        sys.exit(name + " is not in the log")
print(len(sys.argv) - 2, "leaves stand in", origin)
END"""


def _log(guide: Guide) -> Iterator[str]:
    yield "\n## 5. 审计日志 The audit log\n"
    if not guide.leaves:
        yield "没有日志项。No leaves.\n"
        return
    yield (
        "`log/leaf-*.json` 是关于本交换的日志项；每项的 `.tlog-proof`（C2SP tlog-proof）证明它在检查点 `log/checkpoint` 之下；检查点由网关的日志密钥签名，时间戳证明其最晚时间。"
        "日志公钥应与交换目录中该网关的 `log_keys` 比对。\n"
        "`log/leaf-*.json` are the log's entries about this exchange; each `.tlog-proof` (C2SP) proves it below `log/checkpoint`, which the gateway's log key\n"
        "signs and a time-stamp dates. Compare the key with `log_keys` of that gateway in the directory.\n"
        "有 `log-*/` 者，为此前已终止的日志，命令相同。A folder `log-*/` is of an earlier log that has ended; the same commands, with its name, check it.\n"
    )
    yield _block(
        "openssl pkeyutl -verify -pubin -inkey log/log-key.pem -rawin -in log/checkpoint.text -sigfile log/checkpoint.signature",
        _MERKLE.format(leaves=" ".join(f"log/{leaf}" for leaf in guide.leaves)),
    )
    if guide.checkpoint_token is not None:
        yield from _token(guide.checkpoint_token)


def _directory(guide: Guide) -> Iterator[str]:
    yield "\n## 6. 交换目录 The directory\n"
    suite = guide.directory_suite
    if suite is None or any(name.startswith("directory/") for name in guide.missing):
        yield "本网关没有该版本目录。This gateway does not hold the version named.\n"
        return
    yield (
        "`directory/head.json` 列出各条目的摘要；`signing` 中须有上述签名证书，其主体须含单位代码。\n"
        "`directory/head.json` names the entries by digest; the signing certificates above must stand in `signing`, with the organisation's code in the subject.\n"
    )
    yield _block(
        *_same_digest("directory/head.json", "directory/head", suite),
        *_same_signature("directory/head"),
        *(
            line
            for line in _signature(
                "directory/head", "directory/head.json", "certificates/directory-authority.pem", suite, int(guide.cover.at.timestamp())
            )
        ),
        f'for entry in directory/entries/*.json; do grep -q "{suite.digest}:$(openssl dgst -{suite.digest} -r "$entry" | cut -d " " -f 1)" directory/head.json; done',
    )


def _closing(guide: Guide) -> Iterator[str]:
    yield "\n## 7. 吊销列表 Revocation\n"
    yield (
        "吊销列表是导出时的；签名时间之后的吊销不影响此前的签名（时间戳证明其先）。\n"
        "The lists are those of the day of export; a later revocation does not touch a signature a time-stamp shows to be earlier.\n"
    )
    yield _block('for list in crls/*.crl; do openssl crl -inform DER -in "$list" -noout -issuer -lastupdate -nextupdate; done')
    yield "\n## 注意 Beware when checking with openssl\n"
    yield (
        "- `-cades` 并不要求一定存在签名属性：上文另行检查 signingCertificateV2。`-cades` does not insist on signed attributes: they are checked above.\n"
        "- OpenSSL 接受 1 字节的 GCM 标签：信封的 `mac` 须为 16 字节。OpenSSL takes a GCM tag of one byte: the envelope's `mac` must have 16.\n"
        "- 解密失败前已写出明文：退出码非 0 时一律不信。Plaintext is written before failure: trust no output of a non-zero exit.\n"
        f"- OpenSSL 4 之前验证 SM2 证书缺省 ID 为空，须给出 `-vfyopt {_DISTID}`。Before OpenSSL 4 the default SM2 ID is empty: give it.\n"
    )
    if guide.missing:
        yield "\n## 未包含 Not included\n"
        yield "\n".join(f"- {name}" for name in guide.missing)


def _block(*lines: str, kind: str = "sh") -> str:
    return f"```{kind}\n" + "\n".join(lines) + "\n```"
