"""Whole devices on real sockets and pty pairs: readings, setpoints, being away and coming back."""

import math
import time

import numpy as np
import pytest

from drivers.catalog.loader import load_product
from drivers.driver import Nameplate
from drivers.modbus import presence
from drivers.modbus.build import open_devices
from drivers.modbus.event import EventCode
from drivers.modbus.spec import ModbusSpec
from models.errors import ConfigError
from models.point import Quality, Role, RunState
from models.proposal import Setpoint

NAMEPLATE = Nameplate(-100.0, 100.0)
P_SET, HEARTBEAT, COMMAND, REMOTE, DEAD_MAN = 200, 203, 202, 205, 204
READY = {
    (1, 100): 3,
    (1, 102): 255,
    (1, 104): 7680,
    (1, 105): 33,
    (1, 106): 400,
    (1, 112): 5000,
    (1, P_SET): 0,
    (1, REMOTE): 1,
    (1, DEAD_MAN): 3,
}
"""A PCS that runs in remote control."""


class Rig:
    """Devices with their sinks and events; stopped at the end of the test."""

    def __init__(self, bench, *rows):
        self.events: list[tuple[str, str, str]] = []
        specs = []
        for name, product, url, unit_id, nameplate in rows:
            sink = bench.MemorySink(len(load_product(product).points))
            specs.append(ModbusSpec(name, "u", product, url, unit_id, nameplate, sink))
        self.sinks = {spec.name: spec.sink for spec in specs}
        self.devices = {d.name: d for d in open_devices(specs, lambda *event: self.events.append(event))}
        for device in self.devices.values():
            bench.stack.callback(device.stop)
            device.start()

    def codes(self, device: str) -> list[str]:
        return [code for code, name, _ in list(self.events) if name == device]

    def reading(self, device: str, role: Role) -> tuple[float, int]:
        points = self.devices[device].points
        i = next(i for i, point in enumerate(points) if point.role is role)
        return float(self.sinks[device].value[i]), int(self.sinks[device].quality[i])

    def online(self, device: str) -> bool:
        return self.devices[device].counters.online


def alive(seconds: float = 5.0) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


def pcs_rig(bench, peer, nameplate=NAMEPLATE):
    pump = bench.tcp(peer)
    return Rig(bench, ("pcs", "yunchu/pcs100", pump.url(), 1, nameplate)), pump


def setpoints(peer) -> list[int]:
    """The values written to p_set so far."""
    return [
        int.from_bytes(pdu[3:5], "big", signed=True)
        for pdu in peer.writes()
        if int.from_bytes(pdu[1:3], "big") == P_SET
    ]


def written(peer, address: int) -> list[int]:
    return [
        int.from_bytes(pdu[3:5], "big") for pdu in peer.writes() if int.from_bytes(pdu[1:3], "big") == address
    ]


def test_the_readings_are_the_devices(bench) -> None:
    rig, _ = pcs_rig(bench, bench.Peer(values=dict(READY)))
    bench.eventually(lambda: rig.reading("pcs", Role.P_SET_KW)[1] == Quality.GOOD)
    bench.eventually(lambda: rig.reading("pcs", Role.P_KW) == (25.5, Quality.GOOD))
    assert rig.reading("pcs", Role.STATE) == (RunState.RUNNING, Quality.GOOD)
    assert rig.reading("pcs", Role.DC_V) == (768.0, Quality.GOOD)
    assert rig.codes("pcs") == [EventCode.ONLINE]


def test_a_code_that_the_catalog_does_not_know_is_bad(bench) -> None:
    rig, pump = pcs_rig(bench, bench.Peer(values=dict(READY)))
    bench.eventually(lambda: rig.reading("pcs", Role.STATE)[1] == Quality.GOOD)
    pump.peer.values[1, 100] = 77
    pump.peer.values[1, 102] = 0x8000
    bench.eventually(lambda: rig.reading("pcs", Role.STATE)[1] == Quality.BAD)
    assert math.isnan(rig.reading("pcs", Role.P_KW)[0])
    assert rig.reading("pcs", Role.DC_V)[1] == Quality.GOOD


def test_nothing_is_written_before_the_first_setpoint(bench) -> None:
    peer = bench.Peer(values={**READY, (1, REMOTE): 0, (1, 100): 1})
    rig, _ = pcs_rig(bench, peer)
    bench.eventually(lambda: len(peer.asked) > 12)
    assert rig.online("pcs")
    assert peer.writes() == []


def test_a_setpoint_is_written_at_once_when_it_changes_and_refreshed_while_it_lives(bench) -> None:
    peer = bench.Peer(values=dict(READY), sticky=True)
    rig, _ = pcs_rig(bench, peer)
    pcs = rig.devices["pcs"]
    bench.eventually(lambda: rig.reading("pcs", Role.P_SET_KW)[1] == Quality.GOOD)
    for p_kw in (10.0, 10.0, 10.0, -20.05):
        pcs.offer(Setpoint("u", p_kw, alive()))
        bench.eventually(lambda p_kw=p_kw: math.trunc(p_kw * 10) in setpoints(peer))
    assert setpoints(peer) == [100, -200], "once each, rounded towards zero"
    bench.eventually(lambda: setpoints(peer) == [100, -200, -200])
    bench.eventually(lambda: written(peer, HEARTBEAT)[:2] == [1, 2])
    assert rig.reading("pcs", Role.P_SET_KW)[0] == pytest.approx(-20.0)
    bench.eventually(lambda: pcs.counters.writes >= 5)


def test_an_expired_setpoint_is_neither_sent_nor_refreshed_and_the_heartbeat_stops(bench) -> None:
    peer = bench.Peer(values=dict(READY), sticky=True)
    rig, _ = pcs_rig(bench, peer)
    pcs = rig.devices["pcs"]
    bench.eventually(lambda: rig.reading("pcs", Role.P_SET_KW)[1] == Quality.GOOD)
    pcs.offer(Setpoint("u", 50.0, time.monotonic_ns() - 1))
    until = alive(0.5)
    pcs.offer(Setpoint("u", 10.0, until))
    bench.eventually(lambda: setpoints(peer) == [100])
    bench.eventually(lambda: written(peer, HEARTBEAT) == [1])
    bench.eventually(lambda: time.monotonic_ns() > until + 1_200_000_000)
    assert setpoints(peer) == [100]
    assert written(peer, HEARTBEAT) == [1]


DOOR = [
    (100.1, NAMEPLATE, "more discharge than the nameplate"),
    (-100.1, NAMEPLATE, "more charge than the nameplate"),
    (math.nan, NAMEPLATE, "not a number"),
    (math.inf, NAMEPLATE, "infinite"),
    (5000.0, Nameplate(-1e9, 1e9), "more than the register can say"),
    (10.0, None, "a device that takes no setpoints"),
]


@pytest.mark.parametrize(("p_kw", "nameplate", "why"), DOOR)
def test_the_door_refuses_and_nothing_reaches_the_wire(bench, p_kw, nameplate, why) -> None:
    peer = bench.Peer(values=dict(READY))
    rig, _ = pcs_rig(bench, peer, nameplate)
    pcs = rig.devices["pcs"]
    bench.eventually(lambda: rig.reading("pcs", Role.P_SET_KW)[1] == Quality.GOOD)
    for count in (1, 2):
        pcs.offer(Setpoint("u", p_kw, alive()))
        bench.eventually(lambda count=count: pcs.counters.door_refused == count)
    reads = len(peer.asked)
    bench.eventually(lambda: len(peer.asked) > reads + 3)
    assert peer.writes() == []
    assert rig.codes("pcs").count(EventCode.DOOR_REFUSED) == 1


def test_what_the_door_refused_also_ends_the_setpoint_before_it(bench) -> None:
    peer = bench.Peer(values=dict(READY))
    rig, _ = pcs_rig(bench, peer)
    pcs = rig.devices["pcs"]
    pcs.offer(Setpoint("u", 10.0, alive()))
    bench.eventually(lambda: written(peer, HEARTBEAT) == [1])
    pcs.offer(Setpoint("u", 200.0, alive()))
    start = time.monotonic()
    bench.eventually(lambda: time.monotonic() > start + 1.2)
    assert setpoints(peer) == [100]
    assert written(peer, HEARTBEAT) == [1]


def test_the_start_sequence_runs_in_order_before_the_setpoint(bench) -> None:
    peer = bench.Peer(values={**READY, (1, DEAD_MAN): 5, (1, 100): 1}, sticky=True)
    rig, _ = pcs_rig(bench, peer)
    rig.devices["pcs"].offer(Setpoint("u", 10.0, alive(20)))
    bench.eventually(lambda: written(peer, COMMAND) == [1])
    assert setpoints(peer) == [], "held until the device has left standby"
    peer.values[1, 100] = 3
    bench.eventually(lambda: setpoints(peer))
    order = [int.from_bytes(pdu[1:3], "big") for pdu in peer.writes()]
    assert order[:3] == [DEAD_MAN, COMMAND, P_SET]
    assert rig.codes("pcs").count(EventCode.PREPARED) == 2


def test_a_step_that_was_undone_is_done_again(bench) -> None:
    peer = bench.Peer(values=dict(READY), sticky=True)
    rig, _ = pcs_rig(bench, peer)
    rig.devices["pcs"].offer(Setpoint("u", 10.0, alive(20)))
    bench.eventually(lambda: setpoints(peer))
    peer.values[1, DEAD_MAN] = 9
    bench.eventually(lambda: written(peer, DEAD_MAN) == [3])


def test_a_write_without_a_reply_is_on_the_wire_once_until_its_refresh(bench) -> None:
    peer = bench.Peer(values=dict(READY))
    peer.mangle = lambda asked, frame: [] if asked.pdu[0] == 6 else [(0.0, frame)]
    rig, _ = pcs_rig(bench, peer)
    bench.eventually(lambda: rig.reading("pcs", Role.P_SET_KW)[1] == Quality.GOOD)
    rig.devices["pcs"].offer(Setpoint("u", 10.0, alive(0.8)))
    bench.eventually(lambda: rig.devices["pcs"].counters.timeouts)
    reads = len(peer.asked)
    bench.eventually(lambda: len(peer.asked) > reads + 5)
    assert setpoints(peer) == [100]
    assert EventCode.WRITE_FAILED in rig.codes("pcs")


def test_refused_points_are_bad_and_the_device_stays_online(bench) -> None:
    def refuse(asked, frame):
        storm = asked.pdu[0] == 3 and asked.pdu[1:3] == b"\x00\xc8"
        return [(0.0, frame[:4] + b"\x00\x03" + frame[6:7] + b"\x83\x02" if storm else frame)]

    rig, _ = pcs_rig(bench, bench.Peer(refuse, values=dict(READY)))
    bench.eventually(lambda: rig.devices["pcs"].counters.refused > 1)
    assert rig.online("pcs")
    assert rig.reading("pcs", Role.P_SET_KW)[1] == Quality.BAD
    bench.eventually(lambda: rig.reading("pcs", Role.P_KW)[1] == Quality.GOOD)
    assert rig.codes("pcs").count(EventCode.READ_REFUSED) == 1, "told once, not at every poll"


def test_a_device_that_was_never_there_is_offline_not_an_error(bench) -> None:
    rig = Rig(bench, ("pcs", "yunchu/pcs100", "tcp://127.0.0.1:1", 1, NAMEPLATE))
    bench.eventually(lambda: EventCode.OFFLINE in rig.codes("pcs"))
    assert not rig.online("pcs")
    assert rig.reading("pcs", Role.P_KW)[1] == Quality.BAD
    assert rig.sinks["pcs"].counters is not None


def test_a_device_that_dies_goes_bad_and_comes_back(bench) -> None:
    peer = bench.Peer(values=dict(READY), sticky=True)
    rig, pump = pcs_rig(bench, peer)
    bench.eventually(lambda: rig.online("pcs"))
    rig.devices["pcs"].offer(Setpoint("u", 10.0, alive(30)))
    bench.eventually(lambda: setpoints(peer) == [100])
    alive_again = peer.mangle
    peer.mangle = lambda asked, frame: [connection.shutdown(2) for connection, _ in pump.open.values()] and []
    bench.eventually(lambda: rig.reading("pcs", Role.P_KW)[1] == Quality.BAD)
    assert not rig.online("pcs")
    peer.mangle = alive_again
    before = len(setpoints(peer))
    bench.eventually(lambda: rig.online("pcs") and rig.reading("pcs", Role.P_KW)[1] == Quality.GOOD)
    bench.eventually(lambda: len(setpoints(peer)) > before)
    assert rig.devices["pcs"].counters.reconnects >= 1
    assert EventCode.OFFLINE in rig.codes("pcs")


def test_a_serial_line_that_goes_silent_goes_bad_and_comes_back(bench) -> None:
    peer = bench.Peer(values=bms_values())
    pump = bench.rtu(peer)
    rig = Rig(bench, ("bms", "yunchu/bms215", pump.url(), 1, None))
    bench.eventually(lambda: rig.reading("bms", Role.SOC) == (0.5, Quality.GOOD))
    peer.units = frozenset()
    bench.eventually(lambda: not rig.online("bms"))
    assert rig.reading("bms", Role.SOC)[1] == Quality.BAD
    peer.units = frozenset({1})
    bench.eventually(lambda: rig.reading("bms", Role.SOC) == (0.5, Quality.GOOD))
    assert rig.codes("bms") == [EventCode.ONLINE, EventCode.OFFLINE, EventCode.ONLINE]


def bms_values(unit: int = 1) -> dict[tuple[int, int], int]:
    words = [1, 0, 0, 7680, 100, 500, 1000, 1400, 1400, 3210, 3200, 250, 240, 5000, 9, 1, 12, 0, 34, 0]
    return {(unit, i): word for i, word in enumerate(words)}


def test_a_bms_reads_as_the_map_says(bench) -> None:
    pump = bench.rtu(bench.Peer(values=bms_values()))
    rig = Rig(bench, ("bms", "yunchu/bms215", pump.url(), 1, None))
    bench.eventually(lambda: rig.online("bms"))
    assert rig.reading("bms", Role.DC_A) == (-10.0, Quality.GOOD), "charging is negative here"
    assert rig.reading("bms", Role.E_CHARGED_KWH)[0] == pytest.approx(1.2), "low word first"
    assert rig.reading("bms", Role.STATE)[0] == RunState.STANDBY


def test_of_two_units_on_one_line_a_dead_one_does_not_slow_the_other(bench) -> None:
    peer = bench.Peer(values={**bms_values(1), **bms_values(2)})
    pump = bench.rtu(peer)
    rig = Rig(
        bench,
        ("bms-1", "yunchu/bms215", pump.url(), 1, None),
        ("bms-2", "yunchu/bms215", pump.url(), 2, None),
    )
    bench.eventually(lambda: rig.online("bms-1") and rig.online("bms-2"))
    peer.units = frozenset({1})
    bench.eventually(lambda: not rig.online("bms-2"))
    count, start = len(peer.reads(1)), time.monotonic()
    bench.eventually(lambda: len(peer.reads(1)) >= count + 8)
    took = time.monotonic() - start
    assert took < 8 * 0.25 * 1.5
    assert rig.reading("bms-1", Role.SOC) == (0.5, Quality.GOOD)
    probes = [asked.t for asked in peer.reads(2)][-3:]
    assert np.diff(probes).min() > 0.4, "asked less and less often"


def test_no_value_is_wrong_while_the_serial_line_stutters(bench) -> None:
    """Every third reply is late, cut, doubled or from elsewhere; the point of each address stays its own."""
    values = bms_values()
    count = iter(range(1_000_000))

    def stutter(asked, frame):
        step = next(count) % 12
        tricks = {
            2: [(0.15, frame)],
            5: [(0.0, frame[:7])],
            8: [(0.0, frame + frame)],
            11: [(0.0, bench.rtu_wrap(2, frame[1:-2]))],
        }
        return tricks.get(step, [(0.0, frame)])

    pump = bench.rtu(bench.Peer(stutter, values=values))
    rig = Rig(bench, ("bms", "yunchu/bms215", pump.url(), 1, None))
    bench.eventually(lambda: rig.devices["bms"].counters.errors > 3, 20.0)
    honest = {i: None for i in range(len(rig.devices["bms"].points))}
    for i, value, quality in rig.sinks["bms"].history:
        if quality == Quality.GOOD:
            assert honest[i] in (None, value)
            honest[i] = value
    assert None not in honest.values()


def test_offer_is_quick_and_stop_ends_the_thread(bench) -> None:
    rig, pump = pcs_rig(bench, bench.Peer(values=dict(READY)))
    pcs = rig.devices["pcs"]
    bench.eventually(lambda: rig.online("pcs"))
    pcs.stop()
    bench.eventually(lambda: not pump.open)
    pcs.offer(Setpoint("u", 10.0, alive()))
    pcs.start()
    bench.eventually(lambda: pump.open)
    pcs.stop()
    pcs.stop()


def test_a_fault_in_the_sink_does_not_end_the_thread(bench, caplog, monkeypatch) -> None:
    monkeypatch.setattr(presence, "FAULT_NS", 10_000_000)
    rig, _ = pcs_rig(bench, bench.Peer(values=dict(READY)))
    bench.eventually(lambda: rig.online("pcs"))
    sink = rig.sinks["pcs"]
    put, calls = sink.put, []

    def broken(*args):
        calls.append(args)
        raise RuntimeError("no room")

    sink.put = broken
    bench.eventually(lambda: len(calls) > 1)
    bench.eventually(lambda: EventCode.OFFLINE in rig.codes("pcs"))
    assert rig.codes("pcs").count(EventCode.FAULT) == 1, "told once, not at every turn"
    assert "no room" in rig.events[-1][2]
    assert not rig.online("pcs") and not sink.counters.online
    sink.put = put
    bench.eventually(lambda: rig.online("pcs"))
    puts = sink.puts
    bench.eventually(lambda: sink.puts > puts + 3)
    assert "no room" in caplog.text


WRONG = [
    ("yunchu/pcs100", "http://127.0.0.1", 1, "no kind of line"),
    ("yunchu/pcs100", "tcp://127.0.0.1:port", 1, "could not be cast|Port"),
    ("yunchu/pcs100", "tcp://127.0.0.1:502?baud=3", 1, "unknown option baud"),
    ("yunchu/bms215", "rtu:///dev/null?baud=12345", 1, "baud 12345"),
    ("yunchu/bms215", "rtu:///dev/null?speed=9600", 1, "unknown option speed"),
    ("yunchu/bms215", "rtu:///dev/null", 0, "unit number 0"),
    ("yunchu/bms215", "rtu:///dev/null", 248, "unit number 248"),
    ("yunchu/pv60_opcua", "tcp://127.0.0.1", 1, "speaks opcua"),
    ("yunchu/none", "tcp://127.0.0.1", 1, "no such product"),
]


@pytest.mark.parametrize(("product", "url", "unit_id", "says"), WRONG)
def test_a_specification_that_cannot_be_is_refused(bench, product, url, unit_id, says) -> None:
    spec = ModbusSpec("d", "u", product, url, unit_id, None, bench.MemorySink(1))
    with pytest.raises(ConfigError, match=says):
        open_devices([spec], lambda *event: None)


def test_one_line_has_one_setting(bench) -> None:
    specs = [
        ModbusSpec(
            f"d{baud}", "u", "yunchu/bms215", f"rtu:///dev/null?baud={baud}", 1, None, bench.MemorySink(1)
        )
        for baud in (9600, 19_200)
    ]
    with pytest.raises(ConfigError, match="two settings"):
        open_devices(specs, lambda *event: None)


def test_nothing_is_opened_before_the_start(bench) -> None:
    pump = bench.tcp(bench.Peer())
    size = len(load_product("yunchu/pcs100").points)
    spec = ModbusSpec("pcs", "u", "yunchu/pcs100", pump.url(), 1, NAMEPLATE, bench.MemorySink(size))
    (device,) = open_devices([spec], lambda *event: None)
    device.offer(Setpoint("u", 1.0, alive()))
    device.stop()
    assert pump.connections == 0
