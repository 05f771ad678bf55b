"""Serves simulated products through pymodbus, on TCP or on a serial line, in a thread of its own.

By hand: ``python -m drivers.simulator.product_server drivers/catalog/eastron/sdm630.toml --port 5020``.
"""

import asyncio
import logging
import threading
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.simulator.product import ProductDevice, Refusal

BITS = (1, 2)


class Registers:
    """What pymodbus asks for the values: the registers of one or several simulated devices."""

    def __init__(self, devices: Sequence[ProductDevice]) -> None:
        self.devices = devices

    def device_ids(self) -> list[int]:
        """Return all unit ids that answer."""
        return sorted({unit for device in self.devices for unit in device.unit_ids})

    def _device(self, unit_id: int) -> ProductDevice:
        for device in self.devices:
            if unit_id in device.unit_ids:
                return device
        raise NoSuchIdException(f"unit {unit_id}")

    async def async_getValues(self, device_id: int, func_code: int, address: int, count: int = 1) -> Any:
        """Return the values of a read, or the exception code."""
        device = self._device(device_id)
        fn = {5: 1, 6: 3, 15: 1, 16: 3}.get(func_code, func_code)  # pymodbus reads back a single write
        try:
            values = device.read(device_id, fn, address, count)
        except Refusal as refusal:
            return ExcCodes(refusal.code)
        return [bool(value) for value in values] if fn in BITS else values

    async def async_setValues(self, device_id: int, func_code: int, address: int, values: list[Any]) -> Any:
        """Carry out a write."""
        try:
            self._device(device_id).write(device_id, func_code, address, [int(value) for value in values])
        except Refusal as refusal:
            return ExcCodes(refusal.code)
        return None


class ProductServer(threading.Thread):
    """Serves until the ``with`` block is left."""

    def __init__(self, *devices: ProductDevice, tty: str = "", baud: int = 19200, port: int = 0) -> None:
        """Serve on ``tty``, or when that is empty on 127.0.0.1 at ``port`` (0: any free one)."""
        super().__init__(daemon=True, name="product-server")
        self.port = port
        self._registers = Registers(devices)
        self._tty, self._baud = tty, baud
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Link of the site file."""
        return f"rtu://{self._tty}?baud={self._baud}" if self._tty else f"tcp://127.0.0.1:{self.port}"

    def run(self) -> None:
        """Serve."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        nothing = SimDevice(0, [SimData(0, values=0, datatype=DataType.REGISTERS)])
        server: Any
        if self._tty:
            server = ModbusSerialServer(
                nothing, port=self._tty, baudrate=self._baud, ignore_missing_devices=True
            )
        else:
            server = ModbusTcpServer(nothing, address=("127.0.0.1", self.port), ignore_missing_devices=True)
        server.context = self._registers
        await server.serve_forever(background=True)
        if not self._tty:
            self.port = server.transport.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        await server.shutdown()

    def __enter__(self) -> Self:
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
        self.start()
        if not self._ready.wait(10.0):
            raise TimeoutError("the simulated device does not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(10.0)


def main() -> None:
    """Serve one product until interrupted, all registers zero."""
    parser = ArgumentParser(description="serve a product of the catalog")
    parser.add_argument("file", type=Path)
    parser.add_argument("--variant", default="")
    parser.add_argument("--unit-id", type=int)
    parser.add_argument("--port", type=int, default=5020)
    parser.add_argument("--tty", default="")
    asked = parser.parse_args()
    device = ProductDevice(asked.file, asked.variant, asked.unit_id)
    with ProductServer(device, tty=asked.tty, port=asked.port) as server:
        server.join()


if __name__ == "__main__":
    main()
