"""The verbs of ``fleet`` on a store that nobody serves, and on one that a process seems to serve."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregator.cli import VERBS, fleet
from aggregator.problems import Refusal
from aggregator.rows import AckRow, CommandRow, SiteRow
from aggregator.store import Store
from models.errors import Problem

ROOT = Path(__file__).parents[3]
HEAVY = ("paho", "cryptography", "google", "sqlite_utils", "pydantic", "scipy", "osqp", "asyncua", "rich")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def run(*words: str, lang: str = "en") -> Result:
    return CliRunner(env={"YUNCHU_LANG": lang, "YUNCHU_FLEET_DB": None}).invoke(fleet, list(words))


def answer(result: Result) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(result.stdout)
    assert set(data) == {"schema", "ok", "time_ms", "data", "problems"}
    return data


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Store]:
    """A store with two sites that looks served: locked, and with a fresh heartbeat."""
    now = now_ms()
    with Store.serve(tmp_path / "fleet.db") as store:
        node = {
            "site/battery_p_kw": [40.0, 3, now],
            "site/lo_kw": [-50.0, 3, now],
            "site/hi_kw": [60.0, 3, now],
        }
        node |= {"site/winner": ["fleet", 3, now], "outbox/number": [7, 3, now]}
        with store.transaction():
            store.put_sites([SiteRow("demo", "online", 1, now, now, 7, 5, 5, 0, 0)])
            store.put_sites([SiteRow("far", "offline", 1, now, now - 99_000, 7, 5, 5, 2, 0)])
            store.put_latest([("demo", "", now, True, json.dumps(node))])
            store.put_latest(
                [("demo", "bms-1", now, True, json.dumps({"soc": [0.51, 3, now], "x": [None, 0, now]}))]
            )
            store.put_command(
                CommandRow("C1", "demo", 1, "setpoint", 40.0, 0, 9, "reached", "", 40.0, now, now, b"")
            )
        store.beat(1, now, now, True)
        yield store


def test_status_of_a_served_store(served: Store) -> None:
    result = run("status", "--db", str(served.path))
    assert result.exit_code == 7
    assert (
        "1 of 2 online" in result.stdout
        and "+0.040 MW" in result.stdout
        and "discharge 40 kW" in result.stdout
    )
    assert "FLEET-021" in result.stderr and "FLEET" not in result.stdout


def test_status_in_chinese(served: Store) -> None:
    assert "1/2 在线" in run("status", "--db", str(served.path), lang="zh_CN.UTF-8").stdout
    assert "1/2 在线" in run("--lang", "zh", "status", "--db", str(served.path)).stdout


def test_status_as_json(served: Store) -> None:
    result = run("status", "--json", "--db", str(served.path))
    data = answer(result)
    assert (data["schema"], data["ok"], result.exit_code) == ("fleet.status/1", False, 7)
    assert (data["data"]["online"], data["data"]["battery_mw"], data["data"]["hi_mw"]) == (1, 0.04, 0.06)
    assert data["data"]["commands"][0]["stage"] == "reached" and "body" not in data["data"]["commands"][0]
    assert [problem["code"] for problem in data["problems"]] == ["FLEET-021"]


def test_sites_and_one_site(served: Store) -> None:
    lines = run("sites", "--db", str(served.path)).stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["demo", "online"], ["far", "offline"]]
    result = run("sites", "demo", "--db", str(served.path))
    assert result.exit_code == 0
    assert "bms-1/soc" in result.stdout and "0.51" in result.stdout and "outbox" not in result.stdout
    data = answer(run("sites", "demo", "--json", "--db", str(served.path)))["data"]
    assert {row["point"]: row["quality"] for row in data["points"]}["bms-1/x"] == "BAD"
    assert run("sites", "nowhere", "--db", str(served.path)).exit_code == 1


def test_what_a_dead_server_left_is_stale(served: Store) -> None:
    path = str(served.path)
    served.close()
    result = run("sites", "demo", "--json", "--db", path)
    data = answer(result)
    assert (result.exit_code, data["problems"][0]["code"]) == (4, "FLEET-010")
    assert data["data"]["sites"][0]["state"] == "stale" and data["data"]["sites"][0]["hi_kw"] is None
    assert {row["quality"] for row in data["data"]["points"]} == {"STALE", "BAD"}


@pytest.mark.parametrize("words", [("status",), ("sites",), ("dispatch", "demo", "40kW", "--for", "20s")])
def test_without_a_store(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run(*words, "--db", str(tmp_path / "none.db"))
    assert result.exit_code == 4 and "FLEET-001" in result.stderr and not result.stdout
    data = answer(run(*words, "--json", "--db", str(tmp_path / "none.db")))
    assert (data["ok"], data["problems"][0]["code"]) == (False, "FLEET-001")
    assert not (tmp_path / "none.db").exists()


def test_a_corrupt_store_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "fleet.db").write_bytes(b"nonsense" * 1000)
    result = run("status", "--db", str(tmp_path / "fleet.db"))
    assert result.exit_code == 3 and "Move the file away" in result.stderr


USAGE = [
    ("demo", "NaNkW", "--for", "20s"), ("demo", "infkW", "--for", "20s"), ("demo", "1e308kW", "--for", "20s"),
    ("demo", "40", "--for", "20s"), ("demo", "40kW", "--for", "soon"), ("demo", "40kW", "--for", "0s"),
    ("demo", "40kW"), ("demo", "--for", "20s"), ("demo", "40kW", "--for", "20s", "--wiat"),
]  # fmt: skip


@pytest.mark.parametrize("words", USAGE)
def test_an_order_that_cannot_be_meant_is_refused_before_anything(
    served: Store, words: tuple[str, ...]
) -> None:
    result = run("dispatch", *words, "--db", str(served.path))
    assert result.exit_code == 2 and served.open_orders() == []


def test_an_order_without_a_broker(served: Store) -> None:
    served.beat(1, now_ms(), 0, False)
    result = run("dispatch", "demo", "40kW", "--for", "20s", "--db", str(served.path))
    assert result.exit_code == 8 and "FLEET-011" in result.stderr


def answered(served: Store, monkeypatch: pytest.MonkeyPatch, reply: Any) -> None:
    """Let an order be answered the moment it is placed, as a server would."""
    place = Store.add_order

    def placed(store: Store, *words: Any) -> int:
        number = place(store, *words)
        with served.transaction():
            reply(number)
        return number

    monkeypatch.setattr(Store, "add_order", placed)


def test_an_order_that_the_server_refuses(served: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Refusal("FLEET-024", "demo", {"p_kw": 400.0, "lo_kw": "-50", "hi_kw": "60"})
    answered(served, monkeypatch, lambda number: served.order_refused(number, refusal))
    words = ("dispatch", "demo", "400kW", "--for", "20s", "--db", str(served.path))
    result = run(*words)
    assert result.exit_code == 6 and "discharge 400 kW" in result.stderr and "--clip" in result.stderr
    assert "放电 400 kW" in run(*words, lang="zh").stderr


ENDS = [
    ("accepted", "", (), 0), ("accepted", "", ("--wait",), 5), ("reached", "", ("--wait",), 5),
    ("active reached", "", ("--wait",), 0), ("reached active", "", ("--wait",), 0),
    ("rejected", "SOC", (), 6), ("aborted", "", ("--wait",), 1), ("superseded", "", (), 1),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "code", "more", "exit_code"), ENDS)
def test_how_an_order_ends(
    served: Store,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    code: str,
    more: tuple[str, ...],
    exit_code: int,
) -> None:
    monkeypatch.setattr("aggregator.cli.dispatch.AFTER_S", -1.0)

    first, *_, last = stage.split() * 2

    def reply(number: int) -> None:
        served.put_command(CommandRow("C2", "demo", 2, "setpoint", 30.0, 0, 9, last, code, None, 0, 0, b""))
        for part in stage.split():
            served.put_ack(AckRow("C2", part, code, 1, now_ms(), 30.0, ""))
        served.order_sent(number, "C2", 30.0)

    answered(served, monkeypatch, reply)
    result = run("dispatch", "demo", "40kW", "--for", "1s", "--clip", *more, "--db", str(served.path))
    assert result.exit_code == exit_code, result.output
    assert "clipped: discharge 40 kW was asked" in result.stdout and last in result.stdout
    data = answer(run("dispatch", "demo", "40kW", "--for", "1s", *more, "--json", "--db", str(served.path)))
    assert (data["ok"], data["data"]["stages"][0]["stage"]) == (exit_code == 0, first)


def test_keys_are_shown_and_trusted(tmp_path: Path) -> None:
    from cloud_link.protocol.signing import Keyring, SigningKey, key_id_of

    db = str(tmp_path / "fleet.db")
    first = answer(run("keys", "--json", "--db", db))["data"]
    assert len(first["public"]) == 64 and first["sites"] == {}
    site, newer = SigningKey.generate(), SigningKey.generate()
    for key in (site, newer):
        data = answer(run("keys", "--json", "--db", db, "--trust", "demo", key.public.hex().upper()))["data"]
        assert data["sites"] == {"demo": key.public.hex()} and data["public"] == first["public"]
    run("keys", "--db", db, "--trust", "other", site.public.hex())
    ring = Keyring.load(tmp_path / "site-keys.toml")
    trusted = ring.get(key_id_of(newer.public))
    assert len(ring) == 2 and trusted is not None and trusted.issuer == "demo"
    assert "demo" in run("keys", "--db", db).stdout


@pytest.mark.parametrize(
    ("name", "key"), [("demo", "xyz"), ("demo", "00"), ("a/b", "0" * 64), ("", "0" * 64)]
)
def test_what_is_no_key_or_no_name_is_not_trusted(tmp_path: Path, name: str, key: str) -> None:
    result = run("keys", "--db", str(tmp_path / "fleet.db"), "--trust", name, key)
    assert result.exit_code == 3 and not (tmp_path / "site-keys.toml").exists()


def test_a_broken_key_file_is_not_overwritten(tmp_path: Path) -> None:
    ring = tmp_path / "site-keys.toml"
    ring.write_text("[keys.demo]\npublic = 5\n")
    result = run("keys", "--db", str(tmp_path / "fleet.db"), "--trust", "x", "0" * 64)
    assert result.exit_code == 3 and ring.read_text() == "[keys.demo]\npublic = 5\n"


@pytest.mark.parametrize("broker", ["nonsense", "http://h:1", "mqtt://", "mqtt://h:99999", "mqtts://h:8883"])
def test_a_broker_address_that_cannot_be_used(tmp_path: Path, broker: str) -> None:
    result = run("serve", "--db", str(tmp_path / "fleet.db"), "--broker", broker)
    assert result.exit_code == 3 and "FLEET-050" in result.stderr


def test_a_second_server_is_refused(served: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.store.LOCK_WAIT_S", 0.05)
    result = run("serve", "--db", str(served.path))
    assert result.exit_code == 75 and "FLEET-003" in result.stderr


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_help_exists_in_both_languages(verb: str, lang: str) -> None:
    result = run(verb, "--help", lang=lang)
    assert result.exit_code == 0 and f"fleet {verb}" in result.stdout
    assert ("示例" in result.stdout) == (lang == "zh")


@pytest.mark.parametrize("verb", ["status", "sites"])
def test_light_verbs_import_nothing_heavy(served: Store, verb: str) -> None:
    code = (
        "import sys, aggregator.cli as c\n"
        "try: c.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--db", str(served.path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_problems_have_all_their_parts() -> None:
    found = Refusal("FLEET-021", "demo").problem("en")
    assert isinstance(found, Problem) and found.where == "demo" and found.severity == "error"
