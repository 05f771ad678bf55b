"""The whole link over a real broker: reports, outages, rebirths, commands."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud_link import telemetry
from cloud_link.broker import Broker
from cloud_link.commands import Decision
from cloud_link.outbox import LEAP
from cloud_link.protocol.command import Command, command_hash
from cloud_link.protocol.report import contiguous
from cloud_link.protocol.signing import Keyring, SigningKey
from cloud_link.settings import LinkSettings
from cloud_link.transport import Address
from cloud_link.uplink import Uplink
from models.errors import LinkError, StoreError
from models.point import Quality
from tests.cloud_link.client import until
from tests.cloud_link.host import SITE, TENANT, Host
from tests.cloud_link.world import POINTS, report

FLEET, OWN, STRANGER = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()


class World:
    """A broker, a fleet and a site, each of which can be taken away and brought back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broker = Broker(path / "broker", kind="nats")
        self.broker.start()
        self.acted: list[tuple[Command, int]] = []
        self.decision = Decision(True, detail="as asked", actual_kw=1.0)
        self.trusted = True
        self.made = 0
        self.host: Host | None = None
        self.site: Uplink | None = None

    def fleet(self) -> Host:
        self.host = Host(self.broker.port, FLEET, Keyring.of(OWN, issuer=SITE))
        assert self.host.ready.wait(10)
        return self.host

    def uplink(self, **changes: Any) -> Uplink:
        settings = LinkSettings(
            TENANT,
            SITE,
            Address(port=self.broker.port),
            self.path / "state",
            {"site": (-100.0, 100.0)},
            birth_spread_s=0.0,
        )
        self.site = Uplink(
            replace(settings, **changes),
            POINTS,
            Keyring.of(FLEET, issuer="fleet"),
            OWN,
            self._act,
            utc_ms=lambda: time.time_ns() // 1_000_000,
            clock_trusted=lambda: self.trusted,
        )
        self.site.start()
        wait(lambda: self.site and self.site.counters()["commands"]["connected"], self)
        return self.site

    def _act(self, command: Command, ref: int) -> Decision:
        self.acted.append((command, ref))
        return self.decision

    def report(self, count: int = 1, **changes: Any) -> None:
        assert self.site is not None
        for _ in range(count):
            self.made += 1
            self.site.report(report(1_000 * self.made, float(self.made % 100), **changes))

    def telemetry(self, name: str) -> Any:
        assert self.site is not None
        return self.site.counters()["telemetry"][name]

    def close(self) -> None:
        for part in (self.site, self.host):
            if part is not None:
                part.stop() if isinstance(part, Uplink) else part.close()
        self.broker.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def wait(condition: Callable[[], object], world: World) -> None:
    assert until(condition), (world.site and world.site.counters(), world.host and vars(world.host))


def test_reports_arrive_in_order_are_confirmed_and_forgotten(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    world.report(20)
    wait(lambda: contiguous(host.known) == 20 and world.telemetry("backlog") == 0, world)
    assert host.kinds[:3] == ["NBIRTH", "DBIRTH pcs-1", "DBIRTH bms-1"]
    assert host.gaps == 0 and host.latest["pcs-1", "p_kw"] == 20.0
    assert host.latest["", "site/winner"] == "plan"
    assert (world.telemetry("made"), world.telemetry("confirmed"), world.telemetry("dropped")) == (20, 20, 0)


def test_nothing_is_sent_before_the_fleet_is_there_and_nothing_is_lost(world: World) -> None:
    world.uplink()
    world.report(30)
    wait(lambda: world.telemetry("connected") and world.telemetry("backlog") == 30, world)
    assert world.telemetry("sent") == 0
    host = world.fleet()
    wait(lambda: contiguous(host.known) == 30 and world.telemetry("backlog") == 0, world)
    assert host.history == set(range(1, 31)) and host.gaps == 0


def test_the_newest_state_comes_before_the_history(world: World) -> None:
    world.uplink(history_bytes_per_s=2_000.0)
    world.report(30)
    wait(lambda: world.telemetry("backlog") == 30, world)
    host = world.fleet()
    wait(lambda: ("pcs-1", "p_kw") in host.latest, world)
    assert host.latest["pcs-1", "p_kw"] == 30.0, "the birth is the newest state"
    world.report()
    wait(lambda: (31, 31) in host.numbers, world)
    assert contiguous(host.known) < 30, "history is still on its way"
    wait(lambda: contiguous(host.known) == 31 and world.telemetry("backlog") == 0, world)
    assert 31 not in host.history


@pytest.mark.parametrize("crash", [False, True], ids=["orderly", "kill -9"])
def test_no_report_is_lost_when_the_broker_goes_and_comes_back(world: World, crash: bool) -> None:
    host, site = world.fleet(), world.uplink()
    world.report(5)
    wait(lambda: contiguous(host.known) == 5, world)
    world.broker.kill() if crash else world.broker.stop()
    world.report(25)
    wait(lambda: world.telemetry("backlog") >= 25 and not world.telemetry("connected"), world)
    command = host.make(-20.0)
    world.broker.start()
    wait(lambda: contiguous(host.known) == 30 and world.telemetry("backlog") == 0, world)
    host.send(command)
    wait(lambda: ("accepted", "") in host.stages(command), world)
    site.progress(command.id, "active", -20.0)
    wait(lambda: host.stages(command)[-1] == ("active", ""), world)
    assert world.telemetry("made") == 30 and world.telemetry("dropped") == 0
    assert host.bd_seqs[-1] != host.bd_seqs[0], "a new connection has a new bdSeq"


def test_a_lost_confirmation_only_costs_a_repetition(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "RESEND_S", 0.3)
    host, _ = world.fleet(), world.uplink()
    host.confirming = False
    world.report(10)
    wait(lambda: host.numbers.count((10, 10)) >= 2, world)
    host.confirming = True
    wait(lambda: world.telemetry("backlog") == 0, world)
    assert host.known == [(1, 10)]


def test_only_the_fleet_can_make_a_site_forget(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    host.confirming = False
    world.report(10)
    wait(lambda: contiguous(host.known) == 10, world)
    before = world.telemetry("ignored")
    host.confirm(STRANGER, number=10)
    host.confirm(epoch=host.epoch + 1, number=10)
    wait(lambda: world.telemetry("ignored") == before + 2, world)
    assert world.telemetry("backlog") == 10
    host.confirm(number=4)
    wait(lambda: world.telemetry("backlog") == 6, world)


def test_a_restarted_site_goes_on_where_it_stopped(world: World) -> None:
    first = world.uplink()
    world.report(10)
    wait(lambda: world.telemetry("backlog") == 10, world)
    first.stop()
    host, _ = world.fleet(), world.uplink()
    world.report(5)
    wait(lambda: host.known == [(1, 15 + LEAP)] and world.telemetry("backlog") == 0, world)
    assert len(set(host.numbers)) == 15


def test_an_orderly_end_is_told_and_so_is_a_vanished_fleet(world: World) -> None:
    host, site = world.fleet(), world.uplink()
    world.report(3)
    wait(lambda: contiguous(host.known) == 3, world)
    host.close()
    wait(lambda: not world.telemetry("host_online"), world)
    world.report(3)
    wait(lambda: world.telemetry("backlog") == 3, world)
    host = world.fleet()
    wait(lambda: len(host.bd_seqs) == 1 and world.telemetry("host_online"), world)
    world.host = host
    site.stop()
    wait(lambda: host.deaths == host.bd_seqs, world)
    world.site = None


def test_a_rebirth_is_given_on_the_boolean_true_only_and_not_in_a_storm(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    world.report(2)
    wait(lambda: contiguous(host.known) == 2, world)
    host.ask_rebirth("true")
    host.ask_rebirth(False)
    world.report(1)
    wait(lambda: contiguous(host.known) == 3, world)
    assert len(host.bd_seqs) == 1
    for _ in range(20):
        host.ask_rebirth()
    wait(lambda: len(host.bd_seqs) == 2, world)
    world.report(1)
    wait(lambda: contiguous(host.known) == 4, world)
    assert len(host.bd_seqs) == 2 and host.bd_seqs[0] == host.bd_seqs[1], "a rebirth keeps bdSeq"


def test_a_lost_device_dies_and_is_born_again(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    world.report(1)
    wait(lambda: contiguous(host.known) == 1, world)
    world.report(1, quality=(Quality.BAD, Quality.STALE, Quality.GOOD, Quality.GOOD))
    wait(lambda: contiguous(host.known) == 2, world)
    world.report(1)
    wait(lambda: contiguous(host.known) == 3, world)
    wait(lambda: "DDEATH pcs-1" in host.kinds, world)
    assert host.kinds.count("DBIRTH pcs-1") == 2 and host.gaps == 0


def test_a_command_is_answered_stage_by_stage(world: World) -> None:
    host, site = world.fleet(), world.uplink()
    command = host.make(-50.0)
    raw = host.send(command)
    wait(lambda: len(host.stages(command)) == 2, world)
    site.progress(command.id, "active", -12.0)
    site.progress(command.id, "active", -49.5, "reached")
    site.progress(command.id, "expired", -49.5)
    site.progress(command.id, "active", 0.0)
    site.progress("nobody", "active", 0.0)
    wait(lambda: len(host.stages(command)) == 5, world)
    assert [stage for stage, _ in host.stages(command)] == [
        "received",
        "accepted",
        "active",
        "active",
        "expired",
    ]
    assert {ack.command_hash for ack in host.acks} == {command_hash(raw)}
    assert [ack.actual_kw for ack in host.acks] == [None, 1.0, -12.0, -49.5, -49.5]
    assert [each[0] for each in world.acted] == [command]
    with pytest.raises(LinkError):
        site.progress(command.id, "maybe", 0.0)


def test_a_command_twice_is_one_act_and_the_same_answer(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    command = host.make(-50.0)
    raw = host.send(command)
    wait(lambda: len(host.stages(command)) == 2, world)
    host.send_raw(raw)
    wait(lambda: len(host.stages(command)) == 3, world)
    assert host.acks[-1] == host.acks[-2], "the very same answer"
    assert len(world.acted) == 1


def test_what_is_refused_is_told_with_its_code_and_moves_nothing(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    late = host.make(-1.0, valid_ms=1)
    wait(lambda: time.time_ns() // 1_000_000 > late.valid_to_ms + 1, world)
    table = [
        (late, "EXPIRED"),
        (host.make(100.5), "RANGE"),
        (replace(host.make(1.0), site="other"), "SITE"),
    ]
    for command, code in table:
        host.send(command)
        wait(lambda c=command, k=code: ("rejected", k) in host.stages(c), world)
    host.send_raw(b"\xff not a command")
    last = host.make(2.0)
    host.send(last)
    wait(lambda: ("accepted", "") in host.stages(last), world)
    assert [command for command, _ in world.acted] == [last]
    assert world.site is not None and world.site.counters()["commands"]["rejected"] == 4


def test_a_forged_command_is_refused_and_answered_at_most_once_a_second(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    forged = [host.make(-50.0) for _ in range(10)]
    for command in forged:
        host.send(command, STRANGER)
    assert world.site is not None
    wait(lambda: world.site and world.site.counters()["commands"]["rejected"] == 10, world)
    good = host.make(3.0)
    host.send(good)
    wait(lambda: ("accepted", "") in host.stages(good), world)
    refused = [ack for ack in host.acks if ack.code == "SIG"]
    assert 1 <= len(refused) <= 3
    assert len(world.acted) == 1


def test_a_retained_command_is_ignored(world: World) -> None:
    host = world.fleet()
    retained = host.make(5.0)
    from cloud_link.protocol.command import encode_command

    host.send_raw(encode_command(retained, FLEET), retain=True)
    world.uplink()
    fresh = host.make(6.0)
    wait(lambda: world.site and world.site.counters()["commands"]["connected"], world)
    host.send(fresh)
    wait(lambda: ("accepted", "") in host.stages(fresh), world)
    assert [command for command, _ in world.acted] == [fresh]


def test_a_stop_is_accepted_without_a_clock_and_nothing_else_is(world: World) -> None:
    host, _ = world.fleet(), world.uplink()
    world.trusted = False
    setpoint, stop = host.make(5.0), host.make(0.0, kind="stop")
    host.send(setpoint)
    host.send(stop)
    wait(lambda: ("accepted", "") in host.stages(stop), world)
    assert host.stages(setpoint)[-1] == ("rejected", "TIME_UNTRUSTED")


def test_a_full_disk_holds_up_setpoints_and_no_stop(world: World) -> None:
    host, site = world.fleet(), world.uplink()
    database = site._commands._acceptor._db
    database.execute("PRAGMA query_only = ON")
    setpoint, stop = host.make(-40.0), host.make(0.0, kind="stop")
    host.send(setpoint)
    host.send(stop)
    wait(lambda: host.stages(stop) == [("received", ""), ("accepted", "")], world)
    assert [command.id for command, _ in world.acted] == [stop.id]
    assert host.stages(setpoint) == []
    database.execute("PRAGMA query_only = OFF")


def test_a_stop_is_acted_on_when_the_disk_fills_after_its_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("commands: database or disk is full")

    host, site = world.fleet(), world.uplink()
    monkeypatch.setattr(site._commands._acceptor, "record", full)
    setpoint, stop = host.make(-40.0), host.make(0.0, kind="stop")
    host.send(setpoint)
    host.send(stop)
    wait(lambda: host.stages(stop) == [("received", ""), ("accepted", "")], world)
    assert [command.id for command, _ in world.acted] == [stop.id]


def test_a_refusal_of_the_controller_is_passed_on(world: World) -> None:
    world.decision = Decision(False, "SAFETY", "an alarm is on")
    host, _ = world.fleet(), world.uplink()
    command = host.make(5.0)
    host.send(command)
    wait(lambda: ("rejected", "SAFETY") in host.stages(command), world)
    assert host.acks[-1].detail == "an alarm is on"


def test_a_command_sent_while_the_site_is_away_arrives(world: World) -> None:
    host, site = world.fleet(), world.uplink()
    wait(lambda: site.counters()["commands"]["connected"], world)
    first = host.make(1.0)
    host.send(first)
    wait(lambda: len(host.stages(first)) == 2, world)
    site.stop()
    waiting = host.make(2.0)
    host.send(waiting)
    world.uplink()
    wait(lambda: ("accepted", "") in host.stages(waiting), world)


def test_a_restart_tells_what_was_in_force_and_aborts_what_was_cut_off(world: World) -> None:
    host, site = world.fleet(), world.uplink()
    accepted, cut = host.make(1.0), host.make(2.0)
    host.send(accepted)
    host.send(cut)
    wait(lambda: len(host.stages(cut)) == 2, world)
    site.stop()
    with sqlite3.connect(world.path / "state" / "commands.db") as db:
        db.execute("UPDATE command SET stage = 'received' WHERE id = ?", (cut.id,))
    db.close()
    again = world.uplink()
    assert [(each.command, each.ref) for each in again.resumed] == [(accepted, 1)]
    wait(lambda: host.stages(cut)[-1] == ("aborted", ""), world)
    again.progress(accepted.id, "superseded", None)
    wait(lambda: host.stages(accepted)[-1] == ("superseded", ""), world)


def test_the_round_trip_of_a_command_is_fast(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """Signed command out, accepted acknowledgement back, over the broker and the disk: p50 in the report."""
    host, _ = world.fleet(), world.uplink()
    times_ms = []
    for _ in range(30):
        command = host.make(1.0)
        began_s = time.perf_counter()
        host.send(command)
        while ("accepted", "") not in host.stages(command):
            assert time.perf_counter() - began_s < 10.0
            time.sleep(0.0002)
        times_ms.append((time.perf_counter() - began_s) * 1000.0)
    p50_ms = sorted(times_ms)[15]
    record_property("command_round_trip_p50_ms", round(p50_ms, 2))
    assert p50_ms < 1_000.0
