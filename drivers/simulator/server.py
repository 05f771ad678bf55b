"""What the simulated Modbus devices have in common: pymodbus' servers with faults that can be switched on.

One device a line and a unit id 1: requests for other ids stay unanswered.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler

from drivers.simulator.board import Board

UNIT_ID = 1
SILENCE_S = 0.05
"""On a serial line what comes after such a gap is a new frame; far above 3.5 characters because this is no
real-time system, far below any master's poll period."""


class Handler(ServerRequestHandler):
    """Answers one connection, or does not, or late."""

    def __init__(self, owner: Any, board: Board, device: str, *, serial: bool) -> None:
        """Serve ``device`` with its fault switches."""
        super().__init__(owner, None, None, None)  # type: ignore[no-untyped-call]
        self._board, self._device, self._serial = board, device, serial
        self._heard_s = 0.0

    def data_received(self, data: bytes) -> None:
        """Forget an unfinished frame after a silence; pymodbus itself would glue the next one to it."""
        now_s = self.loop.time()
        if self._serial and now_s - self._heard_s > SILENCE_S:
            self.recv_buffer = b""
        self._heard_s = now_s
        super().data_received(data)

    async def handle_request(self) -> None:
        """Carry out a request for this device, unless it is silent."""
        if self._board.fault(f"{self._device}/silent"):
            return
        if self.last_pdu is not None and self.last_pdu.dev_id == UNIT_ID:
            await super().handle_request()  # type: ignore[no-untyped-call]

    def server_send(self, pdu: Any, addr: Any) -> None:
        """Send the answer, at once or late."""
        late_s = self._board.fault(f"{self._device}/late_s")
        if late_s > 0.0:
            self.loop.call_later(late_s, super().server_send, pdu, addr)
        else:
            super().server_send(pdu, addr)  # type: ignore[no-untyped-call]


def with_faults(server: Any, board: Board, device: str) -> Any:
    """Let ``server`` answer through Handler."""
    serial = isinstance(server, ModbusSerialServer)
    server.callback_new_connection = lambda: Handler(server, board, device, serial=serial)
    return server


def serve(build: Callable[[], ModbusTcpServer | ModbusSerialServer], board: Board, device: str) -> None:
    """Build the server inside a running loop and serve until the process ends."""
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

    async def forever() -> None:
        await with_faults(build(), board, device).serve_forever()

    asyncio.run(forever())
