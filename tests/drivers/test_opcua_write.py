"""Setpoints written to a real OPC UA server: door, types, order, read-back, expiry, hand-over."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import Product, Register, SetRow, WriteSpec
from drivers.driver import Mail, Nameplate
from drivers.opcua import OpcUa
from drivers.opcua_security import Link
from drivers.opcua_setting import Target, beat, encode, wanted
from models.point import Quality
from models.proposal import Setpoint
from models.units import NS_PER_S
from tests.drivers.opcua_server import Plant, until
from tests.drivers.test_opcua import KEY, Slice


def at(name: str, scale: float = 1.0) -> Register:
    return Register(node=("Battery", name), scale=scale)


MODE = SetRow(at("Mode"), "by_sign", by_sign=(1.0, 0.0, 2.0))
POWER = SetRow(at("Power"), "magnitude_kw")
WHOLE = SetRow(at("Whole", 0.001), "p_kw")
OFF = (SetRow(at("Mode"), "constant", 9.0), SetRow(at("Power"), "constant", 0.0))
SPEC = WriteSpec(rows=(MODE, POWER, WHOLE), refresh_s=60.0, heartbeat=at("Alive"), release=OFF)
NAMEPLATE = Nameplate(-50.0, 50.0)


class Rig:
    """A driver that writes, and what it tells."""

    def __init__(
        self, plant: Plant, spec: WriteSpec, found: Setpoint | None = None, wait: bool = True
    ) -> None:
        product: Product = replace(load_product(KEY), write=spec)
        self.plant = plant
        self.events: list[str] = []
        self.sink = Slice(len(product.points))
        self.mail = Mail(found)
        self.driver = OpcUa(
            "pcs-1",
            Link(plant.url),
            product,
            points_of(product, "pcs-1", "bat-1"),
            self.sink,
            nameplate=NAMEPLATE,
            mail=self.mail,
            on_event=lambda code, _, what: self.events.append(f"{code} {what}"),
        )
        self.driver.start()
        if wait:
            until(lambda: self.driver.counters.online)

    def offer(self, p_kw: float, life_s: float = 30.0) -> None:
        self.mail.newest = Setpoint("bat-1", p_kw, time.monotonic_ns() + round(life_s * NS_PER_S))

    def shows(self, **values: Any) -> bool:
        return all(self.plant.read(name) == value for name, value in values.items())

    def told(self, code: str) -> int:
        return sum(event.startswith(code) for event in self.events)


@pytest.fixture
def rig(plant: Plant) -> Iterator[Rig]:
    rig = Rig(plant, SPEC)
    yield rig
    rig.driver.stop()


def test_a_setpoint_arrives_in_each_nodes_own_type(rig: Rig) -> None:
    rig.offer(12.3456)
    until(lambda: rig.shows(Mode=2, Whole=12345))
    assert rig.plant.read("Power") == pytest.approx(12.3456, rel=1e-6)
    rig.offer(-7.5)
    until(lambda: rig.shows(Mode=1, Power=7.5, Whole=-7500))
    rig.offer(0.0)
    until(lambda: rig.shows(Mode=0, Power=0.0, Whole=0))
    assert rig.driver.counters.writes >= 9


def test_nothing_is_written_before_the_first_setpoint_nor_when_it_comes_too_late(rig: Rig) -> None:
    rig.plant.write("Power", -1.0)
    rig.offer(20.0, life_s=-1.0)
    polls = rig.driver.counters.polls
    until(lambda: rig.driver.counters.polls > polls + 1)
    assert rig.plant.read("Power") == -1.0
    assert rig.driver.counters.writes == 0


def test_a_host_that_was_started_anew_hands_back_what_its_predecessor_held(plant: Plant) -> None:
    plant.write("Power", 20.0)
    rig = Rig(plant, SPEC, Setpoint("bat-1", 20.0, time.monotonic_ns() - 1))
    until(lambda: rig.shows(Mode=9, Power=0.0))
    rig.driver.stop()


def test_when_it_expires_control_is_handed_back_once(rig: Rig) -> None:
    rig.offer(20.0, life_s=0.4)
    until(lambda: rig.shows(Power=20.0))
    until(lambda: rig.shows(Mode=9, Power=0.0))
    until(lambda: rig.told("DRV-013") == 1)
    writes = rig.driver.counters.writes
    rig.offer(5.0)
    until(lambda: rig.shows(Mode=2, Power=5.0))
    assert rig.driver.counters.writes > writes


def test_stop_hands_control_back(plant: Plant) -> None:
    rig = Rig(plant, SPEC)
    rig.offer(20.0)
    until(lambda: rig.shows(Power=20.0))
    rig.driver.stop()
    assert rig.shows(Mode=9, Power=0.0)


def test_the_door_refuses_what_the_nameplate_does_not_allow(rig: Rig) -> None:
    for count, p_kw in enumerate((50.1, math.nan, -math.inf), 1):
        rig.offer(float(count))
        until(lambda count=count: rig.shows(Power=float(count)))
        rig.offer(p_kw)
        until(lambda count=count: rig.driver.counters.door_refused == count)
        assert rig.shows(Power=float(count))
    assert rig.told("DRV-008") == 3


def test_the_heartbeat_toggles_only_while_the_setpoint_lives(plant: Plant) -> None:
    rig = Rig(plant, replace(SPEC, refresh_s=0.05))
    rig.offer(1.0, life_s=0.7)
    seen = set()
    until(lambda: bool(seen.add(rig.plant.read("Alive")) or len(seen) == 2))
    until(lambda: rig.told("DRV-013") == 1)
    writes = rig.driver.counters.writes
    polls = rig.driver.counters.polls
    until(lambda: rig.driver.counters.polls > polls + 1)
    assert rig.driver.counters.writes == writes
    rig.driver.stop()


def test_who_else_writes_is_told_and_overwritten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.opcua_write.SETTLE_NS", NS_PER_S // 5)
    rig.offer(15.0)
    until(lambda: rig.shows(Power=15.0))
    rig.plant.write("Power", 3.0)
    until(lambda: rig.told("DRV-011") == 1)
    until(lambda: rig.shows(Power=15.0) and rig.told("DRV-012") == 1)
    assert any("Battery/Power reads 3.0, written was 15.0" in event for event in rig.events)


def test_a_refused_write_is_told_once_and_tried_again(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.opcua_write.AGAIN_NS", NS_PER_S // 10)
    plant.do(plant.nodes["Power"].set_read_only())
    rig = Rig(plant, SPEC)
    rig.offer(8.0)
    until(lambda: rig.driver.counters.refused > 2)
    assert rig.told("DRV-006") == 1
    plant.do(plant.nodes["Power"].set_writable())
    until(lambda: rig.shows(Power=8.0) and rig.told("DRV-007") == 1)
    rig.driver.stop()


@pytest.mark.parametrize(("node", "what"), [("Nonsense", "no node"), ("Text", "is a String")])
def test_what_cannot_be_written_leaves_the_readings(plant: Plant, node: str, what: str) -> None:
    rig = Rig(plant, WriteSpec(rows=(SetRow(at(node), "p_kw"),), refresh_s=1.0))
    until(lambda: rig.told("DRV-006") == 1)
    assert any(what in event for event in rig.events)
    assert rig.driver.counters.online
    rig.driver.stop()


def test_a_restart_of_the_server_with_another_namespace_index_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Subscriptions are made again, nodes are found again, and a living setpoint is written again."""
    monkeypatch.setattr("drivers.opcua.BACKOFF_S", (0.1,))
    plant = Plant("urn:yunchu:simulator:pv")
    rig = Rig(plant, SPEC, wait=False)  # before the server is there
    plant.start()
    rig.offer(33.0)
    until(lambda: rig.shows(Power=33.0) and rig.sink.value[0] == 42.5)
    plant.stop()
    until(lambda: not rig.driver.counters.online)
    assert set(rig.sink.quality) == {Quality.STALE}
    plant.start(others=2)
    plant.write("ActivePower", 7.0)
    until(lambda: rig.shows(Mode=2, Power=33.0))
    until(lambda: rig.sink.value[0] == 7.0 and rig.sink.quality[0] == Quality.GOOD)
    rig.driver.stop()
    plant.stop()
    plant.close()


def test_the_power_never_points_the_new_way_at_its_old_size(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, Any]] = []
    from drivers import opcua_write

    put = opcua_write.put

    async def noted(client: Any, target: Target, raw: Any) -> None:
        order.append((target.name.rpartition("/")[2], raw))
        await put(client, target, raw)

    monkeypatch.setattr(opcua_write, "put", noted)
    rig = Rig(plant, WriteSpec(rows=(MODE, POWER), refresh_s=60.0))
    rig.offer(40.0)
    until(lambda: rig.shows(Mode=2, Power=40.0))
    order.clear()
    rig.offer(-40.0)
    until(lambda: rig.shows(Mode=1, Power=40.0))
    assert order == [("Mode", 0), ("Power", 0.0), ("Mode", 1), ("Power", 40.0)]
    rig.driver.stop()


def target(kind: ua.VariantType) -> Target:
    return Target("x", ua.NodeId(), kind, True)


@pytest.mark.parametrize(
    ("says", "kind", "value", "raw"),
    [
        ("towards zero", ua.VariantType.Int16, -3.9, -3),
        ("a little less than whole is whole", ua.VariantType.UInt16, 4.3 / 0.1, 43),
        ("anything but zero is true", ua.VariantType.Boolean, 2.0, True),
        ("a Float keeps what it can", ua.VariantType.Float, 0.1, 0.10000000149011612),
        ("a Double keeps all", ua.VariantType.Double, 0.1, 0.1),
        ("negative into unsigned", ua.VariantType.Byte, -1.0, None),
        ("too large", ua.VariantType.Int32, 3e9, None),
        ("too large for a Float", ua.VariantType.Float, 1e39, None),
        ("not a number", ua.VariantType.Double, math.nan, None),
    ],
)
def test_encode(says: str, kind: ua.VariantType, value: float, raw: Any) -> None:
    if raw is None:
        with pytest.raises(ValueError):
            encode(value, target(kind))
    else:
        assert encode(value, target(kind)) == raw, says


@pytest.mark.parametrize(
    ("row", "p_kw", "value"),
    [
        (SetRow(Register(), "p_kw"), -5.0, -5.0),
        (SetRow(Register(scale=-1.0), "p_kw"), -5.0, 5.0),
        (SetRow(Register(scale=0.1), "charge_kw"), -5.0, 50.0),
        (SetRow(Register(), "charge_kw"), 5.0, 0.0),
        (SetRow(Register(), "discharge_kw"), 5.0, 5.0),
        (SetRow(Register(), "constant", constant=7.0), 5.0, 7.0),
        (SetRow(Register(scale=0.01), "p_kw", per="rated_kw"), 25.0, 50.0),
        (SetRow(Register(power_of_ten="exponent"), "p_kw"), 25.0, 2500.0),
        (SetRow(Register(), "p_kw", per="unknown"), 25.0, None),
    ],
)
def test_rows(row: SetRow, p_kw: float, value: float | None) -> None:
    known = {"rated_kw": 50.0, "exponent": -2.0}

    def value_of(name: str) -> float:
        return known.get(name, math.nan)

    if value is None:
        with pytest.raises(ValueError, match="unknown is not known"):
            wanted(row, p_kw, value_of)
    else:
        assert wanted(row, p_kw, value_of) == pytest.approx(value)


def test_a_heartbeat_fits_its_type() -> None:
    assert [beat(n, target(ua.VariantType.Boolean)) for n in (1, 2)] == [True, False]
    assert beat(257, target(ua.VariantType.Byte)) == 1
    assert beat(257, target(ua.VariantType.Double)) == 257.0


def test_a_node_that_cannot_be_read_is_written_all_the_same(plant: Plant) -> None:
    data = ua.DataValue(ua.Variant(0.0, ua.VariantType.Float), StatusCode=ua.StatusCode(StatusCodes.Good))
    plant.do(plant.nodes["Power"].write_attribute(ua.AttributeIds.Value, data))
    level = ua.DataValue(ua.Variant(2, ua.VariantType.Byte))  # CurrentWrite alone
    for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
        plant.do(plant.nodes["Power"].write_attribute(attribute, level))
    try:
        rig = Rig(plant, SPEC)
        rig.offer(6.0)
        until(lambda: rig.driver.counters.writes >= 3)
        assert rig.told("DRV-006") == 0
        rig.driver.stop()
    finally:
        level = ua.DataValue(ua.Variant(3, ua.VariantType.Byte))
        for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
            plant.do(plant.nodes["Power"].write_attribute(attribute, level))
