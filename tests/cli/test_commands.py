"""The command line as people and programs use it: what it prints, in which language, with which exit code."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from cli_city import FINANCE, NAMES, OFFICE, yizhan

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """One founded home that never ran."""
    folder = tmp_path_factory.mktemp("alone")
    ran = yizhan("init", "--home", folder / "home", "--org", OFFICE, "--name", NAMES[OFFICE], "--suite", "intl-1")
    assert ran.code == 0, ran.err
    assert "pilot" in ran.err
    assert "yizhan serve" in ran.out
    return folder / "home"


@pytest.fixture
def letter(tmp_path) -> Path:
    file = tmp_path / "函.txt"
    file.write_text("hello")
    return file


def send(home: Path, *more: object, lang: str = "en"):
    return yizhan("send", "--home", home, "--to", FINANCE, "--title", "关于试点的函", *more, lang=lang)


# ---- init ------------------------------------------------------------------------------------------------------------------------


def test_init_refuses_an_existing_home_in_both_languages(home):
    for lang, words in (("zh", "已存在"), ("en", "exists already")):
        ran = yizhan("init", "--home", home, "--org", OFFICE, "--name", "x", lang=lang)
        assert ran.code == 2
        assert words in ran.err
        assert "cli/exists" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--org", "11440100007482151D", "--name", "x"), "organisation-code"),
        (("--org", OFFICE, "--name", "x", "--highest-level", "cosmic"), "unknown-level"),
        (("--org", OFFICE, "--name", ""), "bad-configuration"),
    ],
)
def test_init_refuses_bad_input_and_leaves_nothing(tmp_path, arguments, code):
    ran = yizhan("init", "--home", tmp_path / "home", *arguments)
    assert ran.code == 2
    assert code in ran.err
    assert not (tmp_path / "home").exists()
    assert list(tmp_path.glob(".*.part")) == []


def test_usage_is_exit_2():
    assert yizhan("init").code == 2
    assert yizhan("nonsense").code == 2
    assert yizhan("serve", "--home", "/nonexistent").code == 2


def test_a_broken_configuration_names_file_and_key(home, tmp_path):
    bent = Path(shutil.copytree(home, tmp_path / "home"))
    (bent / "gateway.toml").write_text((bent / "gateway.toml").read_text().replace("poll_seconds", "poll_minutes"))
    ran = yizhan("trace", "--home", bent)
    assert ran.code == 2
    assert "office.poll_minutes" in ran.err
    assert "gateway.toml" in ran.err


# ---- send ------------------------------------------------------------------------------------------------------------------------


def test_send_lays_a_complete_folder_out(home, letter):
    ran = send(home, "--level", "internal", "--number", "府办函〔2026〕1号", "--type", "函", "--urgency", "特急", letter, "--json")
    assert ran.code == 0, ran.err
    folder = Path(ran.json["folder"])
    assert {file.name for file in folder.iterdir()} == {".ready", "document.json", letter.name}
    document = json.loads((folder / "document.json").read_bytes())
    assert document["to"] == [FINANCE]
    assert document["urgency"] == "特急"
    assert (folder / letter.name).read_bytes() == letter.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--level", "cosmic"), "document/level"),
        (("--level", "internal", "--number", "府办函[2026]01号"), "document/number"),
        (("--level", "internal", "--type", "诗"), "document/type"),
        (("--level", "internal", "--copy", FINANCE), "document/recipient-twice"),
        (("--level", "internal", "--copy", "12345"), "document/recipient-code"),
        (("--level", "internal", "--urgency", "soon"), "document/urgency"),
    ],
)
def test_send_refuses_what_the_rules_refuse(home, letter, arguments, code):
    before = sorted((home / "office").rglob("*"))
    ran = send(home, *arguments, "--", letter)
    assert ran.code == 2
    assert f"(code {code})" in ran.err, ran.err
    assert sorted((home / "office").rglob("*")) == before


def test_send_refuses_files_that_are_not_there_or_share_a_name(home, letter, tmp_path):
    ran = send(home, "--level", "internal", letter, tmp_path / "missing.pdf")
    assert (ran.code, "cli/no-such-file" in ran.err) == (2, True)
    (tmp_path / "other").mkdir()
    twin = shutil.copy(letter, tmp_path / "other" / letter.name)
    ran = send(home, "--level", "internal", letter, twin)
    assert (ran.code, "part/name-twice" in ran.err) == (2, True)


def test_every_reason_is_said_at_once_and_with_its_remedy(home, letter):
    ran = send(home, "--level", "cosmic", "--number", "府办函[2026]01号", letter, "--json", lang="zh")
    assert ran.code == 2
    reasons = json.loads(ran.out)["reasons"]
    assert {reason["rule"] for reason in reasons} == {"document/level", "document/number"}
    assert all(reason["zh"] and reason["en"] and reason["fix"] for reason in reasons)
    assert "府办函〔2026〕1号" in ran.err


# ---- before the first start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("trace",), ("fsck",), ("audit", "verify"), ("evidence", "export", "x", "-o", "/nonexistent/x")])
def test_before_the_first_start_there_is_no_database(home, command):
    ran = yizhan(*command, "--home", home)
    assert ran.code == 2
    assert "cli/no-database" in ran.err


def test_nothing_to_sign_for(home):
    for command in (("sign-for", "01"), ("return", "01", "--reason", "x")):
        ran = yizhan(*command, "--home", home, lang="zh")
        assert ran.code == 2
        assert "收件箱中没有" in ran.err


@pytest.fixture
def delivered(home, tmp_path) -> tuple[Path, Path]:
    """A home with one delivered document, as the gateway leaves it."""
    bent = Path(shutil.copytree(home, tmp_path / "home"))
    folder = bent / "office" / "inbox" / "01990000-0000-7000-8000-000000000000"
    folder.mkdir(parents=True)
    return bent, folder


def test_one_answer_and_no_second(delivered):
    home, folder = delivered
    assert yizhan("return", "--home", home, "0199", "--reason", "  缺附件 ").code == 0
    assert (folder / "RETURNED").read_text() == "缺附件"
    for command in (("sign-for", "0199"), ("return", "0199", "--reason", "again")):
        ran = yizhan(*command, "--home", home)
        assert ran.code == 2
        assert "cli/already-answered" in ran.err
    assert [file.name for file in folder.iterdir()] == ["RETURNED"]


def test_an_answer_that_took_effect_stands(delivered):
    home, folder = delivered
    (folder / "SIGNED.done").touch()
    ran = yizhan("return", "--home", home, "0199", "--reason", "x")
    assert (ran.code, "cli/already-answered" in ran.err) == (2, True)


def test_a_return_needs_words(delivered):
    home, folder = delivered
    for reason in ("", "   ", "x" * 1001):
        ran = yizhan("return", "--home", home, "0199", "--reason", reason)
        assert (ran.code, "cli/reason-needed" in ran.err) == (2, True)
    assert list(folder.iterdir()) == []


def test_an_ambiguous_beginning_is_refused(delivered):
    home, folder = delivered
    (folder.parent / "01990000-0000-7000-8000-000000000001").mkdir()
    ran = yizhan("sign-for", "--home", home, "0199")
    assert (ran.code, "cli/ambiguous-exchange" in ran.err) == (2, True)
    assert yizhan("sign-for", "--home", home, folder.name).code == 0


def test_two_senders_of_one_id_are_named_and_either_can_be_chosen(delivered):
    home, folder = delivered
    other = folder.with_name(f"{folder.name}-{OFFICE}")
    other.mkdir()
    first = "11310000MB0005678F"
    (folder / "document.json").write_text(json.dumps({"sender": {"org": first}}))
    ran = yizhan("sign-for", "--home", home, folder.name)
    assert ran.code == 2
    assert f"{folder.name}-{first}" in ran.err
    assert other.name in ran.err
    assert yizhan("sign-for", "--home", home, other.name).code == 0
    assert yizhan("return", "--home", home, f"{folder.name}-{first}", "--reason", "x").code == 0
    assert (other / "SIGNED").exists()
    assert (folder / "RETURNED").exists()


# ---- the authority ---------------------------------------------------------------------------------------------------------------


def test_the_authority_by_hand(tmp_path):
    folder = tmp_path / "authority"
    assert yizhan("authority", "init", "--home", folder, "--suite", "intl-1").code == 0
    assert yizhan("authority", "init", "--home", folder).code == 2
    placed = ("authority", "init", "--suite", "intl-1", "--listen", "time.example:17100", "--json", "--home")
    assert yizhan(*placed, tmp_path / "placed").json["stream"] == "time.example:17101"
    assert yizhan(*placed, tmp_path / "twice", "--stream", "time.example:17100").code == 2
    assert yizhan("init", "--home", tmp_path / "home", "--org", OFFICE, "--name", "x", "--suite", "intl-1", "--authority", folder).code == 0
    listed = yizhan("authority", "list", "--home", folder, "--json").json
    assert {(one["purpose"], one["revoked"]) for one in listed} == {("sign", None), ("encrypt", None), ("tls", None)}
    assert yizhan("authority", "revoke", "--home", folder, "--org", OFFICE, "--purpose", "sign", "--json").json["revoked"] == 1
    again = yizhan("authority", "revoke", "--home", folder, "--org", OFFICE, "--purpose", "sign", lang="zh")
    assert (again.code, "没有有效的" in again.err) == (2, True)
    version = yizhan("authority", "crl", "--home", folder, "--json").json["directory_version"]
    assert version == 4
    assert yizhan("authority", "crl", "--home", tmp_path).code == 2


# ---- doctor ----------------------------------------------------------------------------------------------------------------------


def doctor(home: Path) -> dict[str, str]:
    ran = yizhan("doctor", "--home", home, "--json")
    worst: dict[str, str] = {}
    for check in ran.json["checks"]:
        worst[check["what"]] = max(worst.get(check["what"], ""), check["health"], key=["", "ok", "warn", "fail"].index)
        assert check["health"] == "ok" or (check["fix"] and check["fix_zh"])
    assert ran.code == (1 if "fail" in worst.values() else 0)
    return worst


def test_doctor_sees_a_silent_authority(home):
    worst = doctor(home)
    assert {what for what, health in worst.items() if health == "fail"} == {what for what in worst if what.startswith("time ")}
    assert worst["passphrase"] == "warn"


def test_doctor_finds_what_was_bent(home, tmp_path):
    bent = Path(shutil.copytree(home, tmp_path / "home"))
    (bent / "keys" / "tls.pem").chmod(0o644)
    (bent / "policies" / "default.toml").write_text("levels = 1")
    (bent / "certs" / "sign-intl-1.pem").write_bytes((bent / "certs" / "encrypt-intl-1.pem").read_bytes())
    worst = doctor(bent)
    assert (worst["permissions"], worst["keys"], worst["policy"]) == ("fail", "fail", "fail")


def test_doctor_sees_a_revoked_certificate(home, tmp_path):
    folder = Path(shutil.copytree(home.parent, tmp_path / "alone", symlinks=True))
    assert yizhan("authority", "revoke", "--home", folder / "authority", "--org", OFFICE, "--purpose", "sign").code == 0
    for crl in (folder / "authority" / "public" / "crl").iterdir():
        shutil.copy(crl, folder / "home" / "trust" / "crls" / crl.name)
    assert doctor(folder / "home")["certificate sign-intl-1"] == "fail"


def test_doctor_of_a_running_gateway_is_content(city):
    checks = {check["what"]: check["health"] for check in city.doctor.json["checks"]}
    assert city.doctor.code == 0
    assert "fail" not in checks.values()
    assert any(what.startswith("time ") for what in checks)
    assert any(what.startswith("peer ") for what in checks)


# ---- after a document went through -----------------------------------------------------------------------------------------------


def test_a_second_sign_for_is_refused(city):
    assert (city.second.code, "cli/already-answered" in city.second.err) == (2, True)


@pytest.mark.parametrize(("side", "direction"), [("office", "out"), ("finance", "in")])
def test_trace_tells_the_whole_way(city, side, direction):
    home = city.folder / side
    (row,) = yizhan("trace", "--home", home, "--json").json
    assert (row["id"], row["direction"], row["title"], row["suite"]) == (city.exchange, direction, "关于试点的函", city.suite)
    one = yizhan("trace", "--home", home, city.exchange[:30], "--json").json
    assert one["states"] == {FINANCE: "SIGNED_FOR"}
    assert {receipt["event"] for receipt in one["receipts"]} >= {"ContentConsignment", "ContentHandover", "SignedFor"}
    times = [hop["at"] for hop in one["path"]]
    assert times == sorted(times)
    assert {hop["gateway"] for hop in one["path"]} >= {f"gw-{FINANCE.lower()}"}
    told = yizhan("trace", "--home", home, city.exchange, lang="zh").out
    assert "签收" in told
    assert "市财政局" in told
    assert "关于试点的函" in told


def test_log_and_store_of_both_sides_hold(city):
    for home in (city.office, city.finance):
        audit = yizhan("audit", "verify", "--home", home, "--json")
        assert (audit.code, audit.json["ok"]) == (0, True)
        assert audit.json["size"] >= 4
        assert yizhan("fsck", "--home", home, "--json").json == {"findings": [], "ok": True}


def test_a_flipped_leaf_and_a_flipped_document_are_found(city, tmp_path):
    home = Path(shutil.copytree(city.finance, tmp_path / "home"))
    connection = sqlite3.connect(home / "data" / "yizhan.db")
    (leaf,) = connection.execute("SELECT body FROM leaves WHERE idx = 1").fetchone()
    connection.execute("UPDATE leaves SET body = ? WHERE idx = 1", (leaf.replace(b"internal", b"public"),))
    connection.execute("UPDATE contents SET body = substr(body, 2) || x'00'")
    connection.commit()
    connection.close()
    audit = yizhan("audit", "verify", "--home", home, "--json")
    assert (audit.code, audit.json["ok"]) == (1, False)
    assert any("leaves" in finding["where"] or "leaf" in finding["where"] for finding in audit.json["findings"])
    store = yizhan("fsck", "--home", home, lang="zh")
    assert store.code == 1
    assert "✗ 错误" in store.out


def test_the_public_key_of_the_directory_verifies_the_log(city):
    from gateway.home import Home

    vkey = Home.open(city.office).log_key().verifier.vkey
    assert yizhan("audit", "verify", "--home", city.office, "--vkey", vkey, env={"YIZHAN_PASSPHRASE": "not known to auditors"}).code == 0
    other = Home.open(city.finance).log_key().verifier.vkey
    assert yizhan("audit", "verify", "--home", city.office, "--vkey", other).code == 1
    assert yizhan("audit", "verify", "--home", city.office, "--vkey", "rubbish").code == 2
