"""A reader for tests: runs the generators over real sockets or on a map, and decodes what they resolve to."""

import math
import socket
import struct
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from drivers.catalog.product import LinkSpec, PointSpec, Product, WriteSpec
from drivers.modbus import frames
from drivers.modbus.frames import Request
from drivers.modbus.plan import plan_reads
from drivers.simulator.sunspec import Device, Map, Model
from drivers.sunspec.connect import Resolved
from models.errors import DriverError, Refused
from models.point import Role

T = TypeVar("T")
Ask = Callable[[Request], bytes | DriverError]
FORMS = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}


class Wire(AbstractContextManager["Wire"]):
    """Asks over Modbus TCP, one request after the other."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 5.0)
        self._file = self._socket.makefile("rb")

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def __call__(self, request: Request) -> bytes | DriverError:
        """Return the data of the reply, or the error."""
        self._socket.sendall(frames.tcp_frame(1, request))
        head = self._file.read(7)
        pdu = self._file.read(struct.unpack_from(">H", head, 4)[0] - 1)
        try:
            return frames.payload(request, pdu)
        except DriverError as error:
            return error


@dataclass
class Memory:
    """Asks a map without sockets; ``faults`` are the answers to the first reads of some addresses."""

    devices: Sequence[Device]
    faults: dict[int, list[DriverError]] = field(default_factory=dict)
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    """Unit, address and count of every read."""

    def __call__(self, request: Request) -> bytes | DriverError:
        """Return the data of the reply, or the error."""
        fn, address, count = struct.unpack(">BHH", request.pdu)
        assert fn == 3
        self.asked.append((request.unit, address, count))
        if self.faults.get(address):
            return self.faults[address].pop(0)
        device = next(device for device in self.devices if device.unit_id == request.unit)
        at, words = address - device.map.base, device.map.words
        refused = not device.refused.isdisjoint(range(address, address + count))
        if at < 0 or at + count > len(words) or refused:
            return Refused("exception 2 (illegal address)", 2)
        return struct.pack(f">{count}H", *words[at : at + count])


def memory(*models: Model, base: int = 40_000, end: bool = True) -> Memory:
    """Return a map of these models on unit 1."""
    return Memory([Device(Map(models, base, end=end))])


def drive(generator: Generator[Request, bytes | DriverError, T], ask: Ask) -> T:
    """Run a generator to its end."""
    try:
        request = next(generator)
        while True:
            request = generator.send(ask(request))
    except StopIteration as stop:
        result: T = stop.value
        return result


def point(*references: str, name: str = "", **more: Any) -> PointSpec:
    """Return a point that lies behind references."""
    name = name or references[0].lower().replace(":", "_")
    given = {"role": Role.OTHER, "symbol": "", "period_s": 1.0, "max_age_s": 5.0, **more}
    return PointSpec(name=name, sunspec=references, **given)


def product(*points: PointSpec, write: WriteSpec | None = None, **more: Any) -> Product:
    """Return a product of these points."""
    link = LinkSpec(max_gap=125)
    texts = "test/device", "Test", "device", "pcs", "sunspec", (), "", "", ()
    return Product(*texts, link, points, write=write, **more)


def values(resolved: Resolved, unit_id: int, ask: Ask) -> dict[str, float]:
    """Poll everything once, in the blocks that are planned, and return the values; NaN is BAD."""
    specs = [*resolved.product.points, *resolved.hidden]
    link = resolved.product.link
    raw = dict.fromkeys((spec.name for spec in specs), math.nan)
    for read in plan_reads(specs, link.max_gap, link.max_registers, link.holes):
        unit = unit_id if read.unit_id is None else read.unit_id
        data = ask(frames.read(unit, read.fn, read.address, read.count))
        for i in read.points:
            if isinstance(data, bytes):
                value = decoded(specs[i], data, read.address)
                raw[specs[i].name] = value if i < len(resolved.product.points) else believed(specs[i], value)
    for spec in resolved.product.points:
        value = raw[spec.name]
        for by in spec.by:
            assert by.how == "power_of_ten"
            value *= 10.0 ** raw[by.point] if math.isfinite(raw[by.point]) else math.nan
        raw[spec.name] = believed(spec, value)
    return raw


def believed(spec: PointSpec, value: float) -> float:
    """Return a value with the point's map and range."""
    if spec.map and math.isfinite(value):
        return spec.map.get(int(value), math.nan)
    return value if spec.lo <= value <= spec.hi else math.nan


def decoded(spec: PointSpec, data: bytes, first: int) -> float:
    """Return the value of a point in a block that begins at ``first``."""
    form, at = FORMS[spec.type], 2 * (spec.address - first)
    (pattern,) = struct.unpack_from(">" + {2: "H", 4: "I", 8: "Q"}[struct.calcsize(form)], data, at)
    value = float(struct.unpack_from(">" + form, data, at)[0])
    return math.nan if pattern in spec.na else value * spec.scale
