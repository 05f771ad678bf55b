"""Two Modbus units and a DL/T 645 meter on one line that takes as long as a real one, and one thread."""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from drivers.catalog.product import LinkSpec, PointSpec, Product
from drivers.dlt645.build import Dlt645Spec, dlt645_device
from drivers.modbus.device import ModbusDevice
from drivers.modbus.link import Station
from drivers.modbus.spec import ModbusSpec
from drivers.simulator import wire
from drivers.simulator.dlt645 import Meter
from models.point import Quality, Role

ADDRESS = "000012345678"
BAUD = 38_400
UNITS = (1, 2)
FIRST, COUNT = 10, 8


def product() -> Product:
    points = tuple(
        PointSpec(f"r{at}", Role.OTHER, "", 0.05, 5.0, fn=4, address=FIRST + at) for at in range(COUNT)
    )
    return Product(
        key="test/unit", vendor="", product="", kind="meter", protocol="modbus", source=(), tested_on="",
        note="", variants=(), link=LinkSpec(timeout_min_s=0.02, timeout_max_s=0.06), points=points,
    )  # fmt: skip


@contextmanager
def paced(ends: tuple[wire.End, wire.End]) -> Iterator[wire.Line]:
    """Carry bytes between two ttys at the speed of the line."""
    line, stop = wire.Line(*ends, BAUD, seed=1), threading.Event()

    def run() -> None:
        while not stop.is_set():
            next_s = line.next_s()
            wait_s = 0.05 if next_s is None else max(0.0, min(next_s - time.monotonic(), 0.05))
            ready, _, _ = select.select([end.master for end in ends], [], [], wait_s)
            for end in ends:
                if end.master in ready:
                    line.put(end, wire.read(end), time.monotonic())
                if data := line.take(end, time.monotonic()):
                    wire.write(end, data)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield line
    stop.set()
    thread.join(5.0)
    for end in ends:
        os.close(end.master)
        os.close(end.slave)


class Shared:
    """The line with everything on it."""

    def __init__(self, bench: Any, meter: Meter, folder: Any) -> None:
        self.bench, self.meter = bench, meter
        self.units = {unit: bench.ModbusUnit(unit) for unit in UNITS}
        meter.values = {di: value for di, value in meter.values.items() if di[:2] != "04"}
        self.truth = {"p_kw": -12.3456, "v_l1": 231.4, "i_l3": 799.999, "e_import_kwh": 123456.78}
        ends = wire.open_end(folder / "gateway"), wire.open_end(folder / "devices")
        self.line = bench.stack.enter_context(paced(ends))
        fd = os.open(ends[1].path, os.O_RDWR | os.O_NOCTTY)
        bench.stack.callback(os.close, fd)
        bench.serve(fd, meter, *self.units.values())
        link, poller = bench.link(str(ends[0].path), BAUD)
        self.sinks: dict[int | str, Any] = {ADDRESS: bench.MemorySink(14)}
        self.devices: dict[int | str, Any] = {}
        spec = Dlt645Spec("meter", "grid", "dlt645/three_phase", ADDRESS, self.sinks[ADDRESS])
        link.stations[ADDRESS] = Station(0.02, 0.06)
        self.devices[ADDRESS] = dlt645_device(spec, link, poller, bench.tell)
        for block in self.devices[ADDRESS]._blocks:
            block.period_ns = 50_000_000
        for unit in UNITS:
            link.stations[unit] = Station(0.02, 0.06)
            self.sinks[unit] = bench.MemorySink(COUNT)
            self.devices[unit] = self._modbus(unit, poller)
        for device in self.devices.values():
            bench.started(device)

    def _modbus(self, unit: int, poller: Any) -> ModbusDevice:
        spec = ModbusSpec(f"u{unit}", "load", "test/unit", "", unit, None, self.sinks[unit])
        return ModbusDevice(spec, product(), poller, self.bench.tell)

    def right(self) -> bool:
        """Whether everything is there, and right."""
        good = self.sinks[ADDRESS].good(self.devices[ADDRESS].points)
        return (
            len(good) == 14
            and all(good[name] == value for name, value in self.truth.items())
            and all(self.sinks[unit].value.tolist() == self.registers(unit) for unit in UNITS)
        )

    def registers(self, unit: int) -> list[float]:
        return [float(self.bench.truth(unit, FIRST + at)) for at in range(COUNT)]

    def wrong(self) -> list[tuple[int | str, int, float]]:
        """Return every good value ever put that was not the truth."""
        found: list[tuple[int | str, int, float]] = []
        last = self.sinks[ADDRESS].value.tolist()
        for key, sink in self.sinks.items():
            truth = last if key == ADDRESS else self.registers(int(key))
            found += [
                (key, i, value) for i, value, q in sink.history if q == Quality.GOOD and value != truth[i]
            ]
        return found


@pytest.fixture
def shared(bench: Any, meter: Meter, tmp_path: Any) -> Shared:
    return Shared(bench, meter, tmp_path)


@pytest.mark.slow
def test_all_are_right_also_after_one_of_them_was_late(shared: Shared) -> None:
    """Every way of being late: so that its reply comes into the drain, or into the next one's turn."""
    shared.bench.eventually(shared.right)
    stations: list[Any] = [shared.meter, shared.units[1]]
    for station in stations:
        for late_s in (0.08, 0.2):
            timeouts = sum(device.counters.timeouts for device in shared.devices.values())
            station.late_s = late_s
            shared.bench.eventually(
                lambda timeouts=timeouts: sum(d.counters.timeouts for d in shared.devices.values()) > timeouts
            )
            station.late_s = 0.0
            polls = {key: device.counters.polls for key, device in shared.devices.items()}
            shared.bench.eventually(
                lambda polls=polls: all(
                    d.counters.polls > polls[key] + 2 for key, d in shared.devices.items()
                )
            )
    shared.bench.eventually(shared.right)
    assert not shared.wrong()


@pytest.mark.slow
def test_a_dead_meter_does_not_stop_the_others_and_the_other_way_round(shared: Shared) -> None:
    shared.bench.eventually(shared.right)
    dead: Any
    for key, dead in ((ADDRESS, shared.meter), (2, shared.units[2])):
        dead.silent = True
        shared.bench.eventually(lambda key=key: not shared.devices[key].counters.online)
        others = [device for other, device in shared.devices.items() if other != key]
        polls = [device.counters.polls for device in others]
        shared.bench.eventually(
            lambda others=others, polls=polls: all(
                device.counters.polls > before + 3 for device, before in zip(others, polls, strict=True)
            )
        )
        assert all(device.counters.online for device in others)
        dead.silent = False
        shared.bench.eventually(shared.right, 15.0)
    assert not shared.wrong()


@pytest.mark.slow
def test_a_line_that_spoils_bytes_brings_no_wrong_value(shared: Shared) -> None:
    shared.bench.eventually(shared.right)
    shared.line.drop = 0.01
    shared.bench.eventually(
        lambda: (
            sum(device.counters.bad_replies + device.counters.timeouts for device in shared.devices.values())
            > 5
        )
    )
    shared.line.drop = 0.0
    shared.bench.eventually(shared.right, 15.0)
    assert not shared.wrong()
