"""A visitor on a line takes turns with the devices polled there, and always gets an answer or a reason."""

from collections.abc import Callable

import pytest

from drivers.driver import Nameplate
from drivers.guest import Guest, kept_registers, line_of, units_of
from drivers.modbus import frames
from drivers.modbus.build import open_devices
from drivers.modbus.device import ModbusDevice
from drivers.modbus.job import NEVER_NS
from drivers.modbus.spec import ModbusSpec
from drivers.scan import first_variant
from models.errors import NoReply, Refused
from tests.drivers.fake_line import liven, serial_line, simulated
from tests.drivers.modbus.conftest import MemorySink, eventually


def quiet(*_: str) -> None:
    """Nobody is told."""


def device(url: str, nameplate: Nameplate | None = None) -> tuple[ModbusDevice, MemorySink]:
    product = first_variant("yunchu/pcs100")
    sink = MemorySink(len(product.points))
    spec = ModbusSpec("pcs-1", "battery-1", product.key, url, 1, nameplate, sink)
    (one,) = open_devices([spec], quiet)
    assert isinstance(one, ModbusDevice)
    return one, sink


def guest_of(one: ModbusDevice) -> Guest:
    line = line_of(one)
    assert line is not None
    return Guest(*line)


def test_between_the_polls_of_a_serial_line() -> None:
    pcs = simulated("yunchu/pcs100")
    liven(pcs, first_variant("yunchu/pcs100"))
    with serial_line(pcs) as path:
        one, sink = device(f"rtu://{path}?baud=115200")
        one.start()
        try:
            eventually(lambda: sink.puts > 2)
            guest = guest_of(one)
            assert guest(frames.read(1, 3, 204, 1)) == b"\0\3"
            assert guest(frames.write_register(1, 204, b"\0\7")) == b""
            assert guest(frames.read(1, 3, 204, 1)) == b"\0\7"
            with pytest.raises(Refused):
                guest(frames.read(1, 3, 9000, 20))
            with pytest.raises(NoReply):
                guest(frames.read(9, 3, 0, 1))
            before = sink.puts
            eventually(lambda: sink.puts > before + 2)
            assert one.counters.online
        finally:
            one.stop()


def test_a_line_that_is_not_open_is_a_reason() -> None:
    one, _ = device("tcp://127.0.0.1:1")
    with pytest.raises(NoReply):
        guest_of(one)(frames.read(1, 3, 0, 1))


def test_a_line_that_never_comes_to_it_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.guest.WAIT_S", 0.01)
    one, _ = device("tcp://127.0.0.1:1")
    guest = guest_of(one)
    monkeypatch.setattr(guest._poller, "join", lambda _: None)
    with pytest.raises(NoReply, match="did not come to it"):
        guest(frames.read(1, 3, 0, 1))


def test_it_wants_nothing_when_it_asks_nothing() -> None:
    one, _ = device("tcp://127.0.0.1:1")
    guest = guest_of(one)
    assert guest.read(0) == (NEVER_NS, None)
    assert guest.write(0) is None
    assert guest.write_ns() == NEVER_NS


def test_a_fault_of_ours_ends_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = device("tcp://127.0.0.1:1")
    guest = guest_of(one)

    def break_down(visitor: Guest) -> None:
        visitor.line_back()
        visitor.fault("a fault", 0)

    monkeypatch.setattr(guest._poller, "join", break_down)
    with pytest.raises(NoReply, match="a fault"):
        guest(frames.read(1, 3, 0, 1))


def test_what_a_controller_keeps_for_itself() -> None:
    watched, _ = device("tcp://127.0.0.1:1")
    steered, _ = device("tcp://127.0.0.1:1", Nameplate(-100.0, 100.0))
    assert kept_registers(watched) == set()
    assert kept_registers(steered) == {(1, 200), (1, 203)}
    assert units_of(steered) == {1}
    other: Callable[..., None] = quiet
    assert line_of(other) is None  # type: ignore[arg-type]
    assert units_of(other) == kept_registers(other) == set()  # type: ignore[arg-type]
