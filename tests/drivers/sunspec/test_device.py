"""Whole devices with SunSpec products: found at connect, polled by the ordinary device, written."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.catalog.loader import load_product
from drivers.driver import Counters, Nameplate
from drivers.modbus.build import open_devices
from drivers.modbus.device import ModbusDevice
from drivers.modbus.spec import ModbusSpec
from drivers.simulator.sunspec import Device, Map, Model, serve
from models.point import Quality
from models.proposal import Setpoint

COMMON = Model(1, {"Mn": "Acme", "Md": "X-9", "SN": "007"})
INVERTER = {"W": 500, "W_SF": 0, "St": 4, "Evt1": 0, "Hz": 50, "Hz_SF": 0}
STORAGE = {"WChaMax": 10_000, "WChaMax_SF": 0, "InOutWRte_SF": -2, "ChaState": 50, "ChaState_SF": 0}
WAIT_S = 10.0


class Slice:
    """The device's part of the image, and everything that was ever put there."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.newest: dict[str, float] = {}
        self.history: list[tuple[str, float]] = []

    def put(
        self, index: NDArray[np.intp], value: NDArray[np.float64], quality: NDArray[np.uint8], t_ns: int
    ) -> None:
        """Keep readings; what is not GOOD is NaN."""
        for i, one, how in zip(index, value, quality, strict=True):
            shown = float(one) if how == Quality.GOOD else math.nan
            self.newest[self.names[i]] = shown
            self.history.append((self.names[i], shown))

    def count(self, counters: Counters) -> None:
        """Not needed."""


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


@contextmanager
def polling(product: str, unit_id: int, port: int) -> Iterator[tuple[ModbusDevice, Slice]]:
    """Poll whoever is at a port as a product."""
    sink: Any = Slice([spec.name for spec in load_product(product).points])
    spec = ModbusSpec("d", "u", product, f"tcp://127.0.0.1:{port}", unit_id, Nameplate(-10.0, 10.0), sink)
    (device,) = open_devices([spec], lambda *event: None)
    device.start()
    try:
        yield device, sink
    finally:
        device.stop()


@contextmanager
def running(product: str, simulated: Device) -> Iterator[tuple[ModbusDevice, Slice]]:
    """Serve a simulated device and poll it as a product."""
    with serve(simulated) as port, polling(product, simulated.unit_id, port) as both:
        yield both


def test_a_scale_factor_that_changes_never_shows_a_value_that_was_not_there() -> None:
    simulated = Device(Map([COMMON, Model(103, INVERTER), Model(124, STORAGE)]))
    with running("sunspec/storage", simulated) as (_, sink):
        until(lambda: sink.newest.get("p_kw") == pytest.approx(0.5))
        simulated.map.put("W_SF", 1, model=1)
        until(lambda: sink.newest["p_kw"] == pytest.approx(5.0))
        simulated.map.put("W_SF", None, model=1)
        until(lambda: math.isnan(sink.newest["p_kw"]))
        assert sink.newest["soc"] == 0.5 and sink.newest["state"] == 4
        seen = {round(value, 9) for name, value in sink.history if name == "p_kw" and math.isfinite(value)}
    assert seen == {0.5, 5.0}


def test_a_setpoint_reaches_the_registers_of_this_device() -> None:
    simulated = Device(Map([COMMON, Model(103, INVERTER), Model(124, STORAGE)], 0), 7)
    with running("sunspec/storage", simulated) as (device, sink):
        until(lambda: sink.newest.get("full_kw") == 10.0)
        device.offer(Setpoint("u", -2.5, time.monotonic_ns() + 60_000_000_000))
        rates = simulated.map.address("OutWRte", 2)
        until(lambda: (rates, [-2500 & 0xFFFF, 2500]) in simulated.written)
        until(lambda: (simulated.map.address("StorCtl_Mod", 2), [3]) in simulated.written)


def test_no_read_of_the_running_device_touches_a_header() -> None:
    simulated = Device(Map([COMMON, Model(103, INVERTER), Model(120), Model(124, STORAGE)]))
    with running("sunspec/storage", simulated) as (_, sink):
        until(lambda: sink.newest.get("soc") == 0.5 and sink.newest.get("p_kw") == 0.5)
        simulated.reads.clear()
        until(lambda: len(simulated.reads) > 3)
        reads = set(simulated.reads)
    headers = {40_002, 40_070, 40_122, 40_150}
    assert not [at for at, count in reads if headers.intersection(range(at, at + count))]


def test_a_device_that_comes_back_with_another_map_is_looked_at_again() -> None:
    before, after = (
        Map([COMMON, Model(103, INVERTER)]),
        Map([COMMON, Model(122), Model(113, {"W": 750.0})], 0),
    )
    with ExitStack() as stack:
        served = stack.enter_context(ExitStack())
        port = served.enter_context(serve(Device(before)))
        device, sink = stack.enter_context(polling("sunspec/inverter", 1, port))
        until(lambda: sink.newest.get("p_kw") == 0.5)
        served.close()
        until(lambda: not device.counters.online)
        assert math.isnan(sink.newest["p_kw"])
        served.enter_context(serve(Device(after), port=port))
        until(lambda: sink.newest["p_kw"] == 0.75)
