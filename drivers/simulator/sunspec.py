"""Simulated SunSpec devices: any chain of models, scale factors, repeating groups, wrong lengths, refusals.

Values are packed here anew from the model files, on purpose without drivers/sunspec: two readings of the same
definitions find each other's mistakes. Values are raw, as in the registers; what is not given is "not
implemented".
"""

import asyncio
import json
import logging
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

DEFINITIONS = Path(__file__).parents[1] / "sunspec" / "models"
READ, WRITE_ONE, WRITE_MANY = 3, 6, 16
START_S = 10.0

_FORMS: dict[str, dict[int, tuple[str, float]]] = {
    "int": {1: ("h", -(2**15)), 2: ("i", -(2**31)), 4: ("q", -(2**63))},
    "uint": {1: ("H", 2**16 - 1), 2: ("I", 2**32 - 1), 4: ("Q", 2**64 - 1)},
    "acc": {1: ("H", 0), 2: ("I", 0), 4: ("Q", 0)},
    "float": {2: ("f", float("nan")), 4: ("d", float("nan"))},
}
_FAMILY = {"sunssf": "int", "enum": "uint", "bitfield": "uint", "count": "uint", "pad": "int"}


@dataclass
class Model:
    """One model of a simulated device."""

    id: int
    values: Mapping[str, Any] = field(default_factory=dict)
    """Raw value by point; by group its values again, as a list when the group repeats."""
    length: int | None = None
    """What the header claims when that is not true; only so many registers are there then."""


def pack(kind: str, registers: int, value: Any) -> bytes:
    """Return the registers of one value, big-endian; None is "not implemented"."""
    if kind == "string":
        return str(value or "").encode().ljust(2 * registers, b"\0")
    if kind == "pad":
        return b"\x80\x00" * registers
    family = kind.rstrip("0123456789")
    form, missing = _FORMS[_FAMILY.get(family, family)][registers]
    return struct.pack(f">{form}", missing if value is None else value)


class Map:
    """The registers of one device: the marker, its models, and usually the end model."""

    def __init__(self, models: Sequence[Model], base: int = 40_000, *, end: bool = True) -> None:
        self.base = base
        self._where: dict[tuple[int, str], tuple[int, str, int]] = {}
        data = b"SunS"
        for index, model in enumerate(models):
            data += self._model(index, model, len(data) // 2)
        data += b"\xff\xff\x00\x00" if end else b""
        self.words = list(struct.unpack(f">{len(data) // 2}H", data))

    def put(self, path: str, value: Any, model: int = 0) -> None:
        """Change a value while the device runs.

        Args:
            path: ``W`` or, in groups, ``module[2].DCW`` (from 0), ``PFWInj.PF``.
            value: raw, or None for "not implemented".
            model: position in the sequence of models.
        """
        at, kind, registers = self._where[model, path]
        self.words[at : at + registers] = struct.unpack(f">{registers}H", pack(kind, registers, value))

    def address(self, path: str, model: int = 0) -> int:
        """Return the address of a point, see ``put``."""
        return self.base + self._where[model, path][0]

    def _model(self, index: int, model: Model, at: int) -> bytes:
        path = DEFINITIONS / f"{model.id}.json"
        group = json.loads(path.read_text(encoding="utf-8"))["group"]
        body = self._group(index, group, {**model.values, "ID": None, "L": None}, "", at)
        shown = len(body) // 2 - 2 if model.length is None else model.length
        whole = struct.pack(">HH", model.id, shown) + body[4:]
        return whole if model.length is None else whole[: 4 + 2 * model.length].ljust(4 + 2 * shown, b"\0")

    def _group(
        self, index: int, group: dict[str, Any], values: Mapping[str, Any], name: str, at: int
    ) -> bytes:
        data = b""
        counted = {**_counts(group, values), **values}
        for point, kind, registers, *_ in group["points"]:
            self._where[index, name + point] = at + len(data) // 2, kind, registers
            data += pack(kind, registers, counted.get(point))
        for sub in group.get("groups", ()):
            inside = values.get(sub["name"], [] if "count" in sub else {})
            for k, one in enumerate(inside if isinstance(inside, list) else [inside]):
                label = f"{sub['name']}[{k}]" if "count" in sub else sub["name"]
                data += self._group(index, sub, one, f"{name}{label}.", at + len(data) // 2)
        return data


def _counts(group: dict[str, Any], values: Mapping[str, Any]) -> dict[str, int]:
    """Return what the count points must say for the given values, unless they are given themselves."""
    counts: dict[str, int] = {}
    for sub in group.get("groups", ()):
        inside = values.get(sub["name"], [])
        if isinstance(sub.get("count"), str):
            counts[sub["count"]] = len(inside)
        for one in inside if isinstance(inside, list) else [inside]:
            counts.update(_counts(sub, one))
    return counts


@dataclass
class Device:
    """A map on a unit id, with what goes wrong there."""

    map: Map
    unit_id: int = 1
    refused: set[int] = field(default_factory=set)
    """Reads that touch one of these addresses are refused with exception 2."""
    busy: bool = False
    """Everything is refused with exception 6."""
    written: list[tuple[int, list[int]]] = field(default_factory=list)
    """Address and registers of every write, in order."""
    reads: list[tuple[int, int]] = field(default_factory=list)
    """First address and count of every read, in order."""

    def served(self) -> SimDevice:
        """Return it as pymodbus wants it."""

        async def action(
            function: int,
            first: int,
            address: int,
            count: int,
            registers: list[int],
            values: list[Any] | None,
        ) -> ExcCodes | None:
            if self.busy:
                return ExcCodes.DEVICE_BUSY
            base, words = self.map.base, self.map.words
            if function in (WRITE_ONE, WRITE_MANY) and values:
                words[address - base : address - base + len(values)] = values
                self.written.append((address, list(values)))
            elif function not in (READ, WRITE_ONE):
                return ExcCodes.ILLEGAL_FUNCTION
            elif not self.refused.isdisjoint(range(address, address + count)):
                return ExcCodes.ILLEGAL_ADDRESS
            else:
                self.reads.append((address, count))
            registers[address - first : address - first + count] = words[
                address - base : address - base + count
            ]
            return None

        size = len(self.map.words)
        block = SimData(self.map.base, count=size, values=0, datatype=DataType.REGISTERS)
        return SimDevice(self.unit_id, [block], action=action)


class Handler(ServerRequestHandler):
    """Answers one connection for the units that are there; pymodbus itself would refuse for the others."""

    def __init__(self, server: Any, units: frozenset[int]) -> None:
        super().__init__(server, None, None, None)  # type: ignore[no-untyped-call]
        self._units = units

    async def handle_request(self) -> None:
        """Carry out a request for a unit that is there."""
        if self.last_pdu is not None and self.last_pdu.dev_id in self._units:
            await super().handle_request()  # type: ignore[no-untyped-call]


@contextmanager
def serve(*devices: Device, port: int = 0) -> Iterator[int]:
    """Serve units behind one Modbus TCP port of this machine and return the port; other units stay silent."""
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    ready: asyncio.Queue[Any] = asyncio.Queue()
    started = threading.Event()
    running: list[Any] = []

    async def run() -> None:
        units = [device.served() for device in devices]
        server: Any = ModbusTcpServer(units, address=("127.0.0.1", port))
        known = frozenset(device.unit_id for device in devices)
        server.callback_new_connection = lambda: Handler(server, known)
        await server.serve_forever(background=True)
        running.extend((asyncio.get_running_loop(), server.transport.sockets[0].getsockname()[1]))
        started.set()
        await ready.get()
        await server.shutdown()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="sunspec-simulator", daemon=True)
    thread.start()
    if not started.wait(START_S):
        raise RuntimeError("the simulated SunSpec device did not start")
    try:
        yield running[1]
    finally:
        running[0].call_soon_threadsafe(ready.put_nowait, None)
        thread.join(START_S)
