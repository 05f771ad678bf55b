"""The whole fleet: its own process, a real broker, sites that know nothing of it but the link."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from aggregator.ingest import read_table, unpack
from aggregator.store import Store
from aggregator.view import FleetView, fleet_view
from cloud_link.broker import Broker
from cloud_link.protocol.command import Ack, Command, command_hash, encode_ack
from cloud_link.protocol.signing import SigningKey
from cloud_link.protocol.topics import FLEET_HOST, ack_topic, state_topic
from cloud_link.transport import Address, Message, Transport

ROOT = Path(__file__).parents[2]


class Site(Protocol):
    """What the tests use of the fixture's sites."""

    name: str
    key: SigningKey
    link: Transport
    values: dict[str, float | str]
    confirmed: list[int]
    rebirths: int
    births: bool
    number: int
    number_kept: int

    def start(self) -> "Site": ...
    def stop(self) -> None: ...
    def report(self, number: int | None = None, history: bool = False) -> int: ...
    def birth(self) -> None: ...
    def next_command(self) -> tuple[Command, bytes]: ...
    def ack(self, raw: bytes, command_id: str, stage: str, **more: Any) -> None: ...


class Fleet(Protocol):
    """What the tests use of the fixture's fleet."""

    folder: Path
    db: Path
    port: int

    def start(self) -> "Fleet": ...
    def end(self, number: int = signal.SIGTERM) -> float: ...
    def site(self, name: str, trusted: bool = True, **more: int) -> Site: ...


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may stop."""
    broker = Broker(tmp_path / "own broker")
    broker.start()
    yield broker
    broker.stop()


Until = Callable[[Callable[[], object]], None]


def cli(fleet: Fleet, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a verb with --json as its own process."""
    command = [
        sys.executable,
        "-c",
        "from aggregator.cli import main; main()",
        *words,
        "--json",
        "--db",
        str(fleet.db),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def seen(fleet: Fleet) -> FleetView:
    """Return what ``fleet status`` would show, without the cost of a process."""
    with Store.attach(fleet.db) as store:
        return fleet_view(store, time.time_ns() // 1_000_000)[0]


def order(fleet: Fleet, *words: str) -> subprocess.Popen[str]:
    """Start ``fleet dispatch`` as its own process."""
    command = [
        sys.executable,
        "-c",
        "from aggregator.cli import main; main()",
        "--lang",
        "en",
        "dispatch",
        *words,
    ]
    return subprocess.Popen([*command, "--db", str(fleet.db)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_day_with_a_site(fleet: Fleet, until: Until) -> None:
    site = fleet.site("demo")
    fleet.start()
    site.start()
    for _ in range(5):
        site.report()
    until(lambda: site.confirmed and site.confirmed[-1] == 5)
    code, answer = cli(fleet, "sites", "demo")
    assert (code, answer["ok"]) == (0, True)
    [view] = answer["data"]["sites"]
    assert (view["state"], view["received"], view["missing"], view["hi_kw"]) == ("online", 5, 0, 100.0)
    points = {row["point"]: (row["value"], row["quality"]) for row in answer["data"]["points"]}
    assert points["pcs-1/p_kw"] == (5.0, "GOOD")

    process = order(fleet, "demo", "40kW", "--for", "20s", "--wait")
    command, raw = site.next_command()
    for stage in ("received", "accepted", "active"):
        site.ack(raw, command.id, stage)
    site.values |= {"site/battery_kw": 40.0, "site/winner": "fleet"}
    site.report()
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    stages = [line.split()[1] for line in out.splitlines()[1:]]
    assert stages[:2] == ["received", "accepted"]
    assert sorted(stages[2:]) == ["active", "reached"], "the ack and the measurement travel on their own ways"
    assert "discharge 40 kW for 20 s" in out.splitlines()[0]

    site.stop()
    until(lambda: seen(fleet).online == 0)
    assert cli(fleet, "dispatch", "demo", "40kW", "--for", "20s")[0] == 6
    assert fleet.end() < 2.0
    assert cli(fleet, "status")[0] == 4
    assert cli(fleet, "dispatch", "demo", "40kW", "--for", "20s")[0] == 4


def test_killed_and_restarted_nothing_is_lost_and_numbers_continue(fleet: Fleet, until: Until) -> None:
    site = fleet.site("demo")
    fleet.start()
    site.start()
    for _ in range(20):
        site.report()
    process = order(fleet, "demo", "40kW", "--for", "60s")
    first, raw = site.next_command()
    fleet.end(signal.SIGKILL)
    process.kill()
    process.communicate()
    for _ in range(20):
        site.report()

    fleet.start()
    again, same = site.next_command()
    assert (again, same) == (first, raw)
    site.report()
    until(lambda: site.rebirths)
    kept = site.confirmed[-1] if site.confirmed else 0
    for number in range(kept + 1, site.number + 1):
        site.report(number, history=True)
    until(lambda: site.confirmed and site.confirmed[-1] == site.number)
    site.ack(raw, first.id, "accepted")
    process = order(fleet, "demo", "-25", "kW", "--for", "60s")
    second, raw = site.next_command()
    assert (second.seq, second.p_kw) == (first.seq + 1, -25.0)
    site.ack(raw, second.id, "rejected", code="SOC")
    process.communicate(timeout=20)
    assert process.returncode == 6
    fleet.end(signal.SIGKILL)
    with Store.attach(fleet.db) as store:
        rows = store.reports("demo")
        assert sorted(row.number or 0 for row in rows) == list(range(1, site.number + 1))
        metrics = unpack(rows[0].body, read_table(store.names(rows[0].names)))
        assert metrics["outbox/number"].value == rows[0].number
        assert [(row.seq, row.stage) for row in store.commands()] == [(2, "rejected"), (1, "accepted")]


def test_answers_that_are_not_the_sites_are_ignored(fleet: Fleet, until: Until) -> None:
    site, stranger = fleet.site("demo"), fleet.site("stranger", trusted=False)
    fleet.start()
    site.start()
    site.report()
    until(lambda: site.confirmed)
    process = order(fleet, "demo", "40kW", "--for", "30s")
    command, raw = site.next_command()
    site.ack(raw, command.id, "rejected", code="SOC", key=stranger.key)
    site.link.publish(Message(ack_topic("default", "demo"), b"nonsense", 1))
    ack = Ack(1, command.id, "demo", "rejected", "SOC", 1, None, "", command_hash(raw))
    site.link.publish(Message(ack_topic("default", "other"), encode_ack(ack, site.key), 1))
    site.ack(raw, command.id, "accepted")
    process.communicate(timeout=20)
    assert process.returncode == 0
    with Store.attach(fleet.db) as store:
        assert [one.stage for one in store.acks(command.id)] == ["accepted"]


def test_a_site_that_was_there_before_the_fleet_is_asked_to_be_born_again(fleet: Fleet, until: Until) -> None:
    site = fleet.site("demo")
    site.births = False
    site.start()
    fleet.start()
    site.report(1)
    until(lambda: site.rebirths == 1)
    site.report(1)
    until(lambda: site.confirmed[-1:] == [1])


def test_a_lost_confirmation_is_said_again(fleet: Fleet, until: Until) -> None:
    site = fleet.site("demo")
    fleet.start()
    site.start()
    site.report()
    until(lambda: site.confirmed[-1:] == [1])
    count = len(site.confirmed)
    site.report(1, history=True)
    until(lambda: len(site.confirmed) > count and site.confirmed[-1] == 1)


def test_the_host_says_that_it_is_online_also_after_a_late_will(fleet: Fleet, until: Until) -> None:
    states: list[dict[str, Any]] = []
    watcher = Transport(
        Address(port=fleet.port),
        "watcher",
        on_message=lambda message: states.append(json.loads(message.payload)),
        on_up=lambda kept: watcher.subscribe([(state_topic(FLEET_HOST), 1)], lambda good: None),
    )
    watcher.start()
    fleet.start()
    until(lambda: states and states[-1]["online"] is True)
    born = states[-1]
    watcher.publish(Message(state_topic(FLEET_HOST), b'{"online":"false","timestamp":"soon"}', 1))
    watcher.publish(Message(state_topic(FLEET_HOST), b'{"online":false,"timestamp":5}', 1, True))
    until(lambda: states[-1] == born and {"online": False, "timestamp": 5} in states)
    fleet.end()
    until(lambda: states[-1] == {"online": False, "timestamp": born["timestamp"]})
    watcher.stop()


def test_without_a_broker_everything_is_stale_and_it_comes_back(
    fleet: Fleet, own_broker: Broker, until: Until
) -> None:
    fleet.port = own_broker.port
    site = fleet.site("demo")
    fleet.start()
    site.start()
    site.report()
    until(lambda: site.confirmed)
    own_broker.stop()
    until(lambda: not seen(fleet).connected)
    code, answer = cli(fleet, "sites")
    assert code == 7 and answer["data"]["sites"][0]["state"] in ("stale", "offline")
    assert cli(fleet, "dispatch", "demo", "40kW", "--for", "20s")[0] == 8
    own_broker.start()
    until(lambda: site.link.connected and seen(fleet).connected)
    site.birth()
    until(lambda: seen(fleet).online == 1)


def test_the_key_is_made_once_and_only_for_its_owner(fleet: Fleet) -> None:
    key = fleet.folder / "fleet.key"
    os.unlink(key)
    fleet.start()
    made = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    fleet.end()
    fleet.start()
    assert key.read_text() == made
