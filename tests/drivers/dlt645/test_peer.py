"""An independent implementation, the package dlt645, agrees: its server as meter, its client as reader."""

import importlib
import os
import select
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.dlt645 import values
from drivers.dlt645.build import Dlt645Spec, dlt645_device
from drivers.dlt645.frames import Request, read_address, read_item
from drivers.simulator.dlt645 import FORMATS, Meter
from models.errors import Refused

dlt645: Any = pytest.importorskip("dlt645", reason="install the peer: pip install dlt645==3.2.0")
ADDRESS = "000012345678"
OWN = bytes.fromhex(ADDRESS)[::-1]
"""The peer wants the address as it goes on the wire."""


FORMATS_OF_PEER: dict[str, str] = {
    f"{di:08X}": item.data_format
    for di, item in importlib.import_module("dlt645.model.data.define").DIMap.items()
    if values.find(f"{di:08X}") and not isinstance(item, list)
}
"""Formats of the peer's items, as far as they are in our table."""


def test_widths_and_decimals_are_those_of_the_peer() -> None:
    assert len(FORMATS_OF_PEER) > 8000, "the comparison means something"
    for di, form in FORMATS_OF_PEER.items():
        found = values.find(di)
        assert found is not None
        group = found[0]
        width = group.width - 5 if group.kind == "demand" else group.width
        assert width == len(form.replace(".", "")) // 2, di
        assert group.kind not in ("number", "demand") or group.decimals == len(form.partition(".")[2]), di


@cache
def server() -> Any:
    """Return the peer's meter without a line."""
    service = dlt645.MeterServerService.new_rtu_server("/dev/null", 8, 1, 2400, "E", 1.0)
    service.set_address(OWN)
    return service


def asked(service: Any, steps: Iterator[Request]) -> bytes:
    """Carry out a read against the peer's meter, frame by frame."""
    request = next(steps)
    frame = dlt645.DLT645Protocol.deserialize(request.serial_frame())
    reply = bytes(service.handle_request(frame))
    assert request.missing(reply) == 0
    data = request.serial_payload(reply)
    with pytest.raises(StopIteration) as end:
        steps.send(data)  # type: ignore[attr-defined]
    value = end.value.value
    assert isinstance(value, bytes | str)
    return value  # type: ignore[return-value]


NUMBERS = {
    di: form for di, form in FORMATS_OF_PEER.items() if "." in form and di[:2] in ("00", "02")
}  # fmt: skip


@settings(deadline=None, max_examples=40)  # the first example builds the peer's 20,000 items
@given(st.sampled_from(sorted(NUMBERS)), st.data())
def test_our_reader_reads_the_peers_meter(di: str, data: st.DataObject) -> None:
    found = values.find(di)
    assert found is not None
    group, decimals = found[0], found[0].decimals
    most = min(10 ** (2 * group.width), 8 * 10 ** (2 * group.width - 1)) - 1
    most = min(most, 999 if di.startswith("0206") else most)
    value = data.draw(st.integers(-most if group.signed else 0, most)) / 10.0**decimals
    service = server()
    assert service.set_02(int(di, 16), value)
    read = values.number(group, asked(service, read_item(ADDRESS, di, values.sizes(di) or range(0))))
    assert read == value


@settings(deadline=None, max_examples=40)  # the first example builds the peer's 20,000 items
@given(st.integers(0, 799_999), st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))
def test_our_reader_reads_the_peers_demand(digits: int, when: datetime) -> None:
    service, di = server(), "01010000"
    assert service.set_01(int(di, 16), dlt645.Demand(digits / 1e4, when))
    shown = values.text(di, asked(service, read_item(ADDRESS, di, range(8, 9))))
    assert shown == f"{digits / 1e4:.4f} kW at {when:%Y-%m-%d %H:%M}"


def test_our_reader_reads_the_peers_clock_and_address() -> None:
    service = server()
    assert service.set_04(0x04000101, "26050401") and service.set_04(0x04000102, "133059")
    assert values.text("04000101", asked(service, read_item(ADDRESS, "04000101"))) == "2026-05-04"
    assert values.text("04000102", asked(service, read_item(ADDRESS, "04000102"))) == "13:30:59"
    assert asked(service, read_address()) == ADDRESS


def test_our_reader_understands_the_peers_refusal() -> None:
    with pytest.raises(Refused, match="no such data"):
        asked(server(), read_item(ADDRESS, "0201FF00"))


@cache
def client() -> Any:
    """Return the peer's client without a line."""
    made = dlt645.MeterClientService(None)
    made.address = OWN
    return made


class Loop:
    """Lets the peer's client speak to a simulated meter without a line."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def _ensure_connection(self) -> bool:
        return True

    def send_request(self, frame: bytes, retries: int = 1) -> bytes:
        return b"".join(chunk for _, chunk in self._meter.hear(bytes(frame), 0.0))


@settings(deadline=None, max_examples=40)  # the first example builds the peer's 20,000 items
@given(st.sampled_from([di for di in sorted(NUMBERS) if di.startswith(tuple(FORMATS))]), st.data())
def test_the_peers_client_reads_our_meter(di: str, data: st.DataObject) -> None:
    form = NUMBERS[di]
    digits = len(form.replace(".", ""))
    most = 8 * 10 ** (digits - 1) - 1
    value = data.draw(st.integers(-most, most)) / 10.0 ** len(form.partition(".")[2])
    client().client = Loop(Meter(ADDRESS, {di: value}))
    read = client().read_00(int(di, 16)) if di.startswith("00") else client().read_02(int(di, 16))
    assert read is not None
    assert read.value == pytest.approx(value, abs=1e-9)


@settings(deadline=None, max_examples=40)  # the first example builds the peer's 20,000 items
@given(st.integers(0, 799_999))
def test_the_peers_client_reads_our_meters_demand_and_address(digits: int) -> None:
    """Its client reads time stamps the other way round than its server sends them: so one that is both."""
    client().client = Loop(Meter(ADDRESS, {"01010000": digits / 1e4}, {"01010000": "1111111111"}))
    demand = client().read_01(0x01010000)
    assert demand is not None
    assert demand.value.value == pytest.approx(digits / 1e4)
    assert demand.value.time == datetime(2011, 11, 11, 11, 11)
    address = client().read_address()
    assert address is not None


def test_the_peers_server_on_a_line_is_read_by_our_driver(bench: Any) -> None:
    """The whole way: its serial server in its own thread, our link, poller and device."""
    master, path = bench.pty()
    device_master, device_path = bench.pty()
    bench.stack.enter_context(_joined(master, device_master))
    service = dlt645.MeterServerService.new_rtu_server(device_path, 8, 1, 115200, "N", 1.0)
    service.set_address(OWN)
    truth = {0x02030000: -12.3456, 0x02010100: 231.4, 0x02010200: 230.9, 0x02010300: 229.8, 0x02800002: 49.98}
    for di, value in truth.items():
        assert service.set_02(di, value)
    bench.stack.enter_context(service)
    link, poller = bench.link(path)
    sink = bench.MemorySink(14)
    spec = Dlt645Spec("meter-1", "grid", "dlt645/three_phase", ADDRESS, sink)
    device = bench.started(dlt645_device(spec, link, poller, bench.tell))
    bench.eventually(lambda: len(sink.good(device.points)) == 14)
    good = sink.good(device.points)
    assert [good[name] for name in ("p_kw", "v_l1", "v_l2", "v_l3", "frequency_hz")] == list(truth.values())
    assert device.counters.refused == 2 and device.counters.bad_replies == 0, "it has no blocks"


class _joined:
    """Carries bytes between the master sides of two ptys."""

    def __init__(self, one: int, other: int) -> None:
        self._fds = {one: other, other: one}
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._stop_read, *self._fds], [], [])
            if self._stop_read in ready:
                return
            for fd in ready:
                os.write(self._fds[fd], os.read(fd, 4096))

    def __enter__(self) -> "_joined":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(5.0)
        os.close(self._stop_read)
        os.close(self._stop_write)
