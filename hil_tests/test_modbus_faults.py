"""Seven things that make Modbus masters believe a wrong value, against an independent server (pymodbus).

Late replies at four addresses (with one try and with many), the same on TCP, a request that was given up, a
lost reply to a write, a short reply, and a reply of another function; on a serial line, on TCP, inside TLS
and through a serial server. The goal: zero wrong values, and every write on the wire exactly once.
"""

import asyncio
import os
import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

from benchmarks.certificate import write_certificates
from cython_ext.registers import crc16
from drivers.modbus import frames
from drivers.modbus.line import parse_url
from drivers.modbus.link import Link, Station, link_to
from models.errors import BadReply, DriverError, NoReply

LATE_S = 0.05
TIMEOUT_S = 0.04
AMPLE_S = 2.0
KINDS = ("tcp", "rtu", "rtu+tcp", "tls")


class Server:
    """A pymodbus server in a thread; register ``n`` holds ``n``. ``send`` may change what goes out."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        self.kind = kind
        self.writes: list[tuple[int, Any]] = []
        self.send: Callable[[bytes], bytes] = bytes
        self._stack = stack
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.url, self._where = self._rtu() if kind == "rtu" else self._tcp()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10.0)
        stack.callback(self._stop)

    def _tcp(self) -> tuple[str, Any]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        tail = f"?ca={self._folder()}/ca.pem" if self.kind == "tls" else ""
        return f"{self.kind}://127.0.0.1:{port}{tail}", ("127.0.0.1", port)

    def _folder(self) -> str:
        """Return a folder with certificates, made for this server."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        _, cert, key = write_certificates(Path(folder))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        return folder

    def _rtu(self) -> tuple[str, Any]:
        """Join two pty pairs, so that client and server each open a serial port."""
        (ours, client), (theirs, server) = os.openpty(), os.openpty()
        other = {ours: theirs, theirs: ours}
        stop, stopper = os.pipe()

        def pump() -> None:
            while True:
                ready, _, _ = select.select([ours, theirs, stop], [], [])
                if stop in ready:
                    return
                for fd in ready:
                    os.write(other[fd], os.read(fd, 4096))

        thread = threading.Thread(target=pump, daemon=True)
        thread.start()

        def close() -> None:
            os.write(stopper, b"x")
            thread.join(5.0)
            for fd in (ours, client, theirs, server, stop, stopper):
                os.close(fd)

        self._stack.callback(close)
        return f"rtu://{os.ttyname(client)}?baud=115200", os.ttyname(server)

    async def _action(
        self, fn: int, start: int, address: int, count: int, now: Any, new: Any
    ) -> ExcCodes | None:
        if new is not None:
            self.writes.append((address, new[0]))
        return None

    def _trace(self, sending: bool, data: bytes) -> bytes:
        return self.send(data) if sending and data else data

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    def _built(self, device: SimDevice) -> Any:
        common: dict[str, Any] = {"trace_packet": self._trace}
        if self.kind == "rtu":
            common |= {"framer": FramerType.RTU, "port": self._where, "baudrate": 115_200}
            return ModbusSerialServer(device, **common)
        if self.kind == "tls":
            return ModbusTlsServer(device, address=self._where, sslctx=self._context, **common)
        framer = FramerType.RTU if self.kind == "rtu+tcp" else FramerType.SOCKET
        return ModbusTcpServer(device, address=self._where, framer=framer, **common)

    async def _serve(self) -> None:
        data = SimData(0, values=list(range(1000)), datatype=DataType.REGISTERS)
        device = SimDevice(1, simdata=[data], action=self._action)
        self._server = self._built(device)
        await self._server.serve_forever(background=True)
        self._ready.set()
        await self._server.serving

    def _stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(5.0)
        self._thread.join(5.0)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(server: Server, stack: ExitStack) -> Link:
    link = link_to(parse_url(server.url))
    link.stations[1] = Station(AMPLE_S, AMPLE_S)
    link.open()
    stack.callback(link.close)
    assert values(link, 10, 4) == [10, 11, 12, 13], "the honest case first"
    link.stations[1] = Station(TIMEOUT_S, TIMEOUT_S)
    return link


def values(link: Link, address: int, count: int) -> list[int] | None:
    """Return what a read brought, None when it brought an error."""
    try:
        data = link.ask(frames.read(1, 3, address, count))
    except DriverError:
        return None
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def late(data: bytes) -> bytes:
    time.sleep(LATE_S)
    return data


def test_1_and_3_late_replies_never_answer_another_read(kind: str, stack: ExitStack) -> None:
    server = Server(kind, stack)
    link = opened(server, stack)
    server.send = late
    for address in (100, 500, 700, 900):
        assert values(link, address, 2) in (None, [address, address + 1])


def test_2_nor_after_many_tries(kind: str, stack: ExitStack) -> None:
    server = Server(kind, stack)
    link = opened(server, stack)
    server.send = late
    for address in (100, 500):
        for _ in range(4):
            assert values(link, address, 2) in (None, [address, address + 1])
    server.send = bytes
    seen = [values(link, address, 3) for address in (700, 900)]
    assert all(
        got in (None, [address, address + 1, address + 2])
        for got, address in zip(seen, (700, 900), strict=True)
    )


def test_4_what_was_given_up_does_not_answer_the_next_read(kind: str, stack: ExitStack) -> None:
    server = Server(kind, stack)
    link = opened(server, stack)
    link.stations[1] = Station(0.02, 0.02)
    server.send = late
    assert values(link, 100, 2) is None
    server.send = bytes
    for _ in range(10):
        assert values(link, 500, 2) in (None, [500, 501])


def test_5_a_write_is_sent_once_when_its_replies_are_lost(kind: str, stack: ExitStack) -> None:
    server = Server(kind, stack)
    link = opened(server, stack)
    server.send = lambda data: b""
    with pytest.raises(NoReply):
        link.ask(frames.write_register(1, 200, b"\x00\x07"))
    assert server.writes == [(200, 7)]


def resealed(kind: str, data: bytes, pdu: bytes) -> bytes:
    if not kind.startswith("rtu"):
        return data[:4] + (len(pdu) + 1).to_bytes(2, "big") + data[6:7] + pdu
    body = data[:1] + pdu
    return body + crc16(body).to_bytes(2, "little")


def test_6_a_reply_with_fewer_registers_is_not_used(kind: str, stack: ExitStack) -> None:
    server = Server(kind, stack)
    link = opened(server, stack)
    server.send = lambda data: resealed(kind, data, b"\x03\x02\x00\x2a")
    with pytest.raises(BadReply):
        link.ask(frames.read(1, 3, 100, 10))


def test_7_a_reply_of_another_function_is_not_used(kind: str, stack: ExitStack) -> None:
    server = Server(kind, stack)
    link = opened(server, stack)
    server.send = lambda data: resealed(kind, data, b"\x04\x04\x00\x64\x00\x65")
    with pytest.raises(BadReply):
        link.ask(frames.read(1, 3, 100, 2))


def test_writes_arrive_and_read_back(kind: str, stack: ExitStack) -> None:
    server = Server(kind, stack)
    link = opened(server, stack)
    link.stations[1] = Station(AMPLE_S, AMPLE_S)
    link.ask(frames.write_register(1, 300, b"\x12\x34"))
    link.ask(frames.write_registers(1, 301, b"\xab\xcd\x00\x01"))
    assert values(link, 300, 3) == [0x1234, 0xABCD, 1]
    assert values(link, 990, 20) is None, "an exception is no value"
    assert values(link, 900, 100) == list(range(900, 1000))
