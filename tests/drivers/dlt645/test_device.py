"""A meter on a line of its own: values, faults, and what is told about them."""

from dataclasses import replace
from typing import Any

import pytest

from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import By, PointSpec
from drivers.dlt645.build import Dlt645Spec, dlt645_device
from drivers.dlt645.device import Dlt645Device
from drivers.modbus.event import EventCode
from drivers.modbus.line import Line, LineLost, parse_url
from drivers.modbus.link import RtuLink, Station
from drivers.simulator.dlt645 import Meter
from models.point import Quality, Role
from models.proposal import Setpoint

ADDRESS = "000012345678"
PRODUCT = "dlt645/three_phase"
EXPECTED = {
    "p_kw": -12.3456,
    "q_kvar": 7.6543,
    "v_l1": 231.4,
    "v_l2": 230.9,
    "v_l3": 229.8,
    "i_l1": 12.345,
    "i_l2": -0.001,
    "i_l3": 799.999,
    "power_factor": -0.987,
    "frequency_hz": 49.98,
    "e_import_kwh": 123456.78,
    "e_export_kwh": 0.05,
    "demand_kw": 33.4455,
    "demand_max_kw": 43.2109,
}


def hurried(device: Dlt645Device) -> Dlt645Device:
    """Let a device ask all the time, so that a test need not wait for the periods of a slow line."""
    for block in device._blocks:
        block.period_ns = 10_000_000
    return device


def opened(bench: Any, *stations: Any, address: str = ADDRESS) -> tuple[Dlt645Device, Any]:
    """Put stations on a line and start the driver of a meter there."""
    link, poller = bench.link(bench.bus(*stations))
    sink = bench.MemorySink(len(EXPECTED))
    device = dlt645_device(Dlt645Spec("meter-1", "grid", PRODUCT, address, sink), link, poller, bench.tell)
    link.stations[address].timeout_ns = link.stations[address]._max_ns = 100_000_000
    return bench.started(hurried(device)), sink


def codes(bench: Any) -> list[str]:
    return [code for code, _, _ in list(bench.events)]


def test_every_point_of_the_product_is_read(bench: Any, meter: Meter) -> None:
    device, sink = opened(bench, meter)
    bench.eventually(lambda: len(sink.good(device.points)) == len(EXPECTED))
    assert sink.good(device.points) == EXPECTED
    assert device.counters.online and device.counters.errors == 0
    assert codes(bench) == [EventCode.ONLINE]


def test_a_meter_without_blocks_is_asked_item_by_item(bench: Any, meter: Meter) -> None:
    meter.blocks = False
    device, sink = opened(bench, meter)
    bench.eventually(lambda: len(sink.good(device.points)) == len(EXPECTED))
    assert sink.good(device.points) == EXPECTED
    assert device.counters.refused == 2, "each block is tried once"
    assert [di for di in meter.asked if di[4:6] == "FF"] == ["0201FF00", "0202FF00"]
    assert codes(bench) == [EventCode.ONLINE]


def test_an_item_that_the_meter_does_not_have_is_bad_and_told_once(
    bench: Any, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.dlt645.device.REFUSED_NS", 50_000_000)
    del meter.values["02800004"]
    device, sink = opened(bench, meter)
    bench.eventually(lambda: len(sink.good(device.points)) == len(EXPECTED) - 1)
    bench.eventually(lambda: EventCode.READ_REFUSED in codes(bench))
    assert "demand_kw" not in sink.good(device.points)
    assert any("no such data" in what for _, _, what in bench.events)
    meter.values["02800004"] = 1.5
    bench.eventually(lambda: sink.good(device.points).get("demand_kw") == 1.5)
    assert codes(bench).count(EventCode.READ_REFUSED) == codes(bench).count(EventCode.READ_BACK) == 1


@pytest.mark.parametrize("fault", ["corrupt", "wrong_address", "wrong_di"])
def test_replies_that_do_not_answer_bring_no_value(bench: Any, meter: Meter, fault: str) -> None:
    setattr(meter, fault, True)
    device, sink = opened(bench, meter)
    bench.eventually(lambda: device.counters.bad_replies >= 1)
    bench.eventually(lambda: EventCode.READ_BAD in codes(bench))
    assert not sink.good(device.points) and all(quality == Quality.BAD for _, _, quality in sink.history)
    setattr(meter, fault, False)
    bench.eventually(lambda: sink.good(device.points) == EXPECTED, 20.0)


def test_a_digit_that_is_none_spoils_the_block_alone(bench: Any, meter: Meter) -> None:
    meter.values["02010200"] = b"\x0f\x23"
    device, sink = opened(bench, meter)
    bench.eventually(lambda: len(sink.good(device.points)) == len(EXPECTED) - 3)
    bench.eventually(lambda: EventCode.READ_BAD in codes(bench))
    assert not {"v_l1", "v_l2", "v_l3"} & set(sink.good(device.points))
    assert device.counters.bad_replies >= 1


@pytest.mark.slow
def test_a_silent_meter_goes_offline_and_comes_back(bench: Any, meter: Meter) -> None:
    device, sink = opened(bench, meter)
    bench.eventually(lambda: len(sink.good(device.points)) == len(EXPECTED))
    meter.silent = True
    bench.eventually(lambda: not device.counters.online)
    bench.eventually(lambda: not sink.good(device.points))
    asked = len(meter.asked)
    meter.silent = False
    bench.eventually(lambda: sink.good(device.points) == EXPECTED, 20.0)
    assert device.counters.timeouts >= 3
    assert len(meter.asked) > asked
    assert codes(bench) == [EventCode.ONLINE, EventCode.OFFLINE, EventCode.ONLINE]


def test_late_replies_are_never_taken_for_others(bench: Any, meter: Meter) -> None:
    meter.late_s = 0.15
    device, sink = opened(bench, meter)
    bench.eventually(lambda: device.counters.timeouts >= 1)
    meter.late_s = 0.0
    bench.eventually(lambda: sink.good(device.points) == EXPECTED, 20.0)
    names = [point.name.split("/")[1] for point in device.points]
    assert all(value == EXPECTED[names[i]] for i, value, quality in sink.history if quality == Quality.GOOD)


def test_a_long_block_comes_in_several_frames(bench: Any, meter: Meter) -> None:
    meter.largest = 9
    device, sink = opened(bench, meter)
    bench.eventually(lambda: sink.good(device.points) == EXPECTED)


def test_a_setpoint_is_refused_at_the_door(bench: Any, meter: Meter) -> None:
    device, _ = opened(bench, meter)
    device.offer(Setpoint("grid", 1.0, 1))
    assert device.counters.door_refused == 1
    assert device.write(0) is None and device.write_ns() > 1 << 60


def idle(bench: Any) -> tuple[Dlt645Device, Any]:
    """Return a device whose thread does not run."""

    class Nobody:
        shared = False
        owed = False

        def ambiguous(self, request: Any, now_ns: int) -> bool:
            return self.owed

    link = RtuLink(Line(parse_url("rtu:///dev/null?baud=2400&parity=E")))
    sink, poller = bench.MemorySink(len(EXPECTED)), Nobody()
    spec = Dlt645Spec("meter-1", "grid", PRODUCT, ADDRESS, sink)
    return dlt645_device(spec, link, poller, bench.tell), poller  # type: ignore[arg-type]


def test_what_follows_from_other_points_is_right_or_bad(bench: Any, meter: Meter) -> None:
    """The ratio of the current transformers is in the meter; without it no power is known."""
    meter.values["04000306"] = 40.0
    specs = (
        PointSpec("ratio", Role.OTHER, "", 0.01, 9.0, di="04000306"),
        PointSpec("p_kw", Role.P_KW, "kW", 0.01, 9.0, di="02030000", by=(By("ratio", "factor"),), lo=-500.0),
        PointSpec("twice_kw", Role.OTHER, "kW", 0.01, 9.0, derivation="sum", of=("p_kw", "p_kw")),
    )
    product = replace(load_product(PRODUCT), points=specs)
    link, poller = bench.link(bench.bus(meter))
    link.stations[ADDRESS] = Station(0.1, 0.1)
    sink, points = bench.MemorySink(3), points_of(product, "m", "grid")
    device = bench.started(Dlt645Device("m", product, points, ADDRESS, sink, poller, bench.tell))
    power = pytest.approx(40.0 * -12.3456)
    twice = pytest.approx(-80.0 * 12.3456)
    bench.eventually(lambda: sink.good(points) == {"ratio": 40.0, "p_kw": power, "twice_kw": twice})
    del meter.values["04000306"]
    bench.eventually(lambda: sink.good(points) == {})
    assert device.counters.online
    assert all(value == power for i, value, quality in sink.history if i == 1 and quality == Quality.GOOD)


def test_a_lost_line_is_counted_and_told(bench: Any) -> None:
    device, _ = idle(bench)
    for turn in range(3):
        device.line_lost(LineLost("unplugged"), turn)
    assert codes(bench) == [EventCode.OFFLINE]
    assert device.read(5)[0] > 5, "it is left alone for a while"
    device.line_back()
    assert device.counters.reconnects == 1
    assert device.read(5)[0] == 0


def test_a_fault_of_our_own_is_told_once_and_shows_as_offline(bench: Any) -> None:
    device, _ = idle(bench)
    device.fault("fault of our own", 1)
    device.fault("fault of our own", 2)
    assert codes(bench) == [EventCode.FAULT, EventCode.OFFLINE]


def test_nothing_is_asked_while_every_reply_could_be_mistaken(bench: Any) -> None:
    device, poller = idle(bench)
    poller.owed = True
    look_ns, job = device.read(1)
    assert job is None and look_ns > 1
    poller.owed = False
    assert device.read(look_ns)[1] is not None
