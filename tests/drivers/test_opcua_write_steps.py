"""The OPC UA writer step by step, with a clock of our own and nodes that refuse or ignore what is written."""

import asyncio
import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.client.client import Client

from drivers.catalog.product import Register, SetRow, WriteSpec
from drivers.driver import Counters, Mail, Nameplate
from drivers.opcua_setting import Target
from drivers.opcua_write import Writer
from models.errors import BadReply, Refused
from models.proposal import Setpoint
from models.units import NS_PER_S

TICK_S = 0.05
DOUBLE = ua.VariantType.Double


def at(name: str, **more: Any) -> Register:
    return Register(node=(name,), **more)


MODE = SetRow(at("Mode"), "by_sign", by_sign=(1.0, 0.0, 2.0))
POWER = SetRow(at("Power"), "magnitude_kw")
OFF = (SetRow(at("Mode"), "constant", 9.0),)
SPEC = WriteSpec(rows=(MODE, POWER), refresh_s=5.0, heartbeat=at("Alive"), release=OFF)


@dataclass
class Bench:
    """A writer, the nodes that it writes, and the time."""

    spec: WriteSpec = SPEC
    refuses: set[str] = field(default_factory=set)
    ignores: set[str] = field(default_factory=set)
    known: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, float] = field(default_factory=dict)
    written: list[tuple[str, float]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    mail: Mail = field(default_factory=Mail)
    counters: Counters = field(default_factory=Counters)
    now_s: float = 100.0
    slow_s: float = 0.0
    blind: bool = False

    def __post_init__(self) -> None:
        self.writer = Writer(
            self.spec,
            Nameplate(-100.0, 100.0),
            self.mail,
            self.counters,
            lambda code, what: self.events.append(f"{code} {what}"),
            lambda name: self.known.get(name, math.nan),
        )
        names = {row.register.node[0] for row in (*self.spec.rows, *self.spec.release)} | {"Alive"}
        self.writer._targets = {(name,): Target(name, ua.NodeId(), DOUBLE, True) for name in names}

    async def put(self, _: Client, target: Target, raw: float) -> None:
        self.now_s += self.slow_s
        if target.name in self.refuses:
            raise Refused(f"{target.name} = {raw}: BadNotWritable")
        self.written.append((target.name, raw))
        if target.name not in self.ignores:
            self.nodes[target.name] = raw

    async def read_back(self, _: Client, targets: list[Target]) -> list[object]:
        if self.blind:
            raise BadReply("0 values")
        return [self.nodes.get(target.name) for target in targets]

    def offer(self, p_kw: float, life_s: float = 1000.0) -> None:
        self.mail.newest = Setpoint("bat-1", p_kw, round((self.now_s + life_s) * NS_PER_S))

    def run(self, span_s: float) -> None:
        """Let the time pass."""
        ends_s = self.now_s + span_s
        while self.now_s < ends_s:
            asyncio.run(self.writer.step(cast("Client", None)))
            self.now_s += TICK_S

    def told(self, code: str) -> int:
        return sum(event.startswith(code) for event in self.events)

    def powers(self) -> list[float]:
        return [raw for name, raw in self.written if name == "Power"]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return made(monkeypatch, SPEC)


def made(monkeypatch: pytest.MonkeyPatch, spec: WriteSpec) -> Bench:
    one = Bench(spec)
    clock = SimpleNamespace(monotonic_ns=lambda: round(one.now_s * NS_PER_S))
    monkeypatch.setattr("drivers.opcua_write.time", clock)
    monkeypatch.setattr("drivers.opcua_write.put", one.put)
    monkeypatch.setattr("drivers.opcua_write.read_back", one.read_back)
    return one


@pytest.mark.parametrize("later", [20.0, -50.0], ids=["less", "the other direction"])
def test_a_setpoint_that_is_never_taken_is_noticed_although_the_one_before_was(
    bench: Bench, later: float
) -> None:
    bench.offer(50.0)
    bench.run(3.0)
    bench.ignores = {"Power", "Mode"}
    bench.offer(later)
    bench.run(0.9)
    assert bench.told("DRV-011") == 0, "it may show the old one for a moment"
    bench.run(1.6)
    assert bench.told("DRV-011") == 1
    bench.ignores = set()
    bench.run(3.0)
    assert bench.told("DRV-012") == 1
    assert bench.nodes["Power"] == abs(later)


def test_a_setpoint_that_moves_all_the_time_hides_nothing(bench: Bench) -> None:
    bench.offer(50.0)
    bench.run(3.0)
    bench.ignores = {"Power"}
    for k in range(30):
        bench.offer(20.0 + k)
        bench.run(0.1)
    assert bench.told("DRV-011") == 1


def test_a_device_that_follows_late_is_not_accused(bench: Bench) -> None:
    for k in range(20):
        before = dict(bench.nodes)
        bench.offer(50.0 - k)
        bench.run(0.1)
        bench.nodes = before  # it shows what it was told 100 ms ago
        bench.run(0.1)
        bench.nodes.update(Mode=2.0, Power=50.0 - k)
    assert bench.told("DRV-011") == 0


def test_what_cannot_be_read_back_is_told_and_the_power_stays(bench: Bench) -> None:
    bench.offer(50.0)
    bench.run(2.0)
    bench.blind = True
    bench.run(3.0)
    assert bench.told("DRV-011") == 1
    assert set(bench.powers()[1:]) == {50.0}


def test_a_refused_heartbeat_is_told_once_and_the_power_stays(bench: Bench) -> None:
    bench.refuses = {"Alive"}
    bench.offer(50.0)
    bench.run(21.0)
    assert bench.powers() == [0.0, 50.0, 50.0, 50.0, 50.0, 50.0], "first over zero, then refreshes alone"
    assert bench.events == ["DRV-006 the heartbeat: Alive = 1.0: BadNotWritable"]
    bench.refuses = set()
    bench.run(6.0)
    assert bench.events[1:] == ["DRV-007 the heartbeat is confirmed again"]


def test_there_is_no_heartbeat_while_setpoints_fail_or_are_refused(bench: Bench) -> None:
    bench.refuses = {"Power"}
    bench.offer(50.0)
    bench.run(20.0)
    bench.refuses = set()
    bench.offer(500.0)
    bench.run(20.0)
    assert "Alive" not in bench.nodes


def test_after_a_failure_another_setpoint_waits_too(bench: Bench) -> None:
    bench.refuses = {"Power"}
    bench.slow_s = 0.3
    for k in range(30):
        bench.offer(50.0 + k)
        bench.run(0.1)
    assert bench.counters.refused <= 4, "once a second, counted from the answer"


def test_a_turn_after_a_failure_goes_over_zero(bench: Bench) -> None:
    bench.offer(50.0)
    bench.run(1.0)
    bench.refuses = {"Power"}
    bench.offer(60.0)
    bench.run(0.1)
    bench.written.clear()
    bench.refuses = set()
    bench.offer(-40.0)
    bench.run(2.0)
    assert bench.written[:4] == [("Mode", 0.0), ("Power", 0.0), ("Mode", 1.0), ("Power", 40.0)]


def test_the_last_words_do_not_wait_for_what_failed_before(bench: Bench) -> None:
    bench.offer(50.0, life_s=2.0)
    bench.run(1.8)
    bench.refuses = {"Power"}
    bench.offer(60.0, life_s=0.2)
    bench.run(0.3)
    assert bench.nodes["Mode"] == 9.0
    assert bench.told("DRV-013") == 1


def test_the_last_words_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(SPEC, release=(SetRow(at("Mode", power_of_ten="digits"), "constant", 9.0),))
    bench = made(monkeypatch, spec)
    bench.offer(50.0, life_s=1.0)
    bench.run(4.0)
    assert bench.nodes["Mode"] == 2.0
    assert bench.told("DRV-006") == 1
    bench.known["digits"] = 0.0
    bench.run(1.5)
    assert bench.nodes["Mode"] == 9.0
    assert (bench.told("DRV-007"), bench.told("DRV-013")) == (1, 1)


def test_a_point_out_of_reason_is_a_refusal_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    row = SetRow(at("Power", power_of_ten="digits"), "p_kw")
    bench = made(monkeypatch, WriteSpec(rows=(row,), refresh_s=5.0))
    bench.known["digits"] = 400.0
    bench.offer(50.0)
    bench.run(5.0)
    assert bench.written == []
    assert bench.told("DRV-006") == 1
    bench.known["digits"] = 1.0
    bench.run(1.5)
    assert bench.nodes["Power"] == 5.0


def test_what_is_not_taken_is_not_written_for_ever_into_registers_that_wear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = made(monkeypatch, WriteSpec(rows=(POWER,), refresh_s=60.0, max_writes_per_day=600))
    bench.ignores = {"Power"}
    bench.offer(50.0)
    bench.run(120.0)
    assert 20 <= len(bench.written) <= 30
    assert bench.told("DRV-011") == 1
