"""The simulated PCS: Modbus TCP, holding registers, dead-man timer (register map in ``register``)."""

import time
from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.simulator.board import Board, wait_for
from drivers.simulator.register import PCS, PCS_SETTINGS, encode, fill, signed
from drivers.simulator.server import UNIT_ID, serve

DEVICE = "pcs-1"
FIRST, READ_ONLY = 100, 13
SET_FIRST, SETTINGS = 200, 6
P_LIMIT = 1100
"""Counts of 0.1 kW: beyond it a setpoint is refused with exception 3."""
READ, WRITE_ONE, WRITE_MANY = 3, 6, 16
P_SET, Q_SET, COMMAND, HEARTBEAT, DEAD_MAN, REMOTE = range(200, 206)
COMMANDS = (1, 2, 3)


class Settings:
    """The registers that controllers write; keeps the board's orders in step with them."""

    def __init__(self, board: Board) -> None:
        """Take over what an earlier life of this device has left on the board."""
        self._board = board
        self._written_kw = board["command/p_set_kw"]

    def check(self, address: int, values: list[int]) -> ExcCodes | None:
        """Return why a write must be refused, or None."""
        local = bool(self._board.fault(f"{DEVICE}/local")) or not self._board["command/remote"]
        for at, word in enumerate(values, address):
            if at == P_SET and abs(signed(word)) > P_LIMIT:
                return ExcCodes.ILLEGAL_VALUE
            if (at == COMMAND and word not in COMMANDS) or (at == REMOTE and word > 1):
                return ExcCodes.ILLEGAL_VALUE
            if local and at in (P_SET, Q_SET, COMMAND):
                return ExcCodes.DEVICE_FAILURE
        return None

    def write(self, address: int, word: int) -> None:
        """Carry out the write of one register."""
        board = self._board
        if address == P_SET:
            self._written_kw = signed(word) / 10
            if not board.fault(f"{DEVICE}/ignore"):
                sign = -1.0 if board.fault(f"{DEVICE}/invert") else 1.0
                board["command/p_set_kw"] = sign * self._written_kw
            board["command/p_seq"] += 1
        elif address == Q_SET:
            board["command/q_set_kvar"] = signed(word) / 10
        elif address == COMMAND:
            board["command/code"] = word
            board["command/seq"] += 1
        elif address == HEARTBEAT:
            board["command/heartbeat"] = word
        elif address == DEAD_MAN:
            board["command/dead_man_s"] = word
        else:
            board["command/remote"] = word
        if address in (P_SET, HEARTBEAT):
            board["command/alive_s"] = time.monotonic()

    def words(self) -> list[int]:
        """Return what registers 200-205 read now; p_set shows at once what was written, 0 when it expired."""
        board = self._board
        expired = time.monotonic() - board["command/alive_s"] > board["command/dead_man_s"]
        if expired:
            board["command/p_set_kw"] = self._written_kw = 0.0
        remote = board["command/remote"] == 1.0 and not board.fault(f"{DEVICE}/local")
        names = "q_set_kvar", "code", "heartbeat", "dead_man_s"
        values = [self._written_kw, *(board[f"command/{name}"] for name in names), float(remote)]
        return [encode(register, value)[0] for register, value in zip(PCS_SETTINGS, values, strict=True)]


def device(board: Board) -> SimDevice:
    """Return the PCS as pymodbus wants it."""
    settings = Settings(board)

    async def action(
        function: int, first: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        if function in (WRITE_ONE, WRITE_MANY) and values:
            refused = settings.check(address, values)
            if refused is None:
                for at, word in enumerate(values, address):
                    settings.write(at, word)
            return refused
        if function not in (READ, WRITE_ONE):
            return ExcCodes.ILLEGAL_FUNCTION
        # pymodbus also reads after a single write, with the same function code, for the echo.
        if address < SET_FIRST:
            fill(registers, first, PCS, board)
        else:
            registers[SET_FIRST - first : SET_FIRST - first + SETTINGS] = settings.words()
        return None

    shown = SimData(FIRST, count=READ_ONLY, values=0, datatype=DataType.REGISTERS, readonly=True)
    kept = SimData(SET_FIRST, count=SETTINGS, values=0, datatype=DataType.REGISTERS)
    return SimDevice(UNIT_ID, [shown, kept], action=action)


def run(directory: Path, port: int) -> None:
    """Serve until the process ends."""
    board = wait_for(directory)
    serve(lambda: ModbusTcpServer(device(board), address=("127.0.0.1", port)), board, DEVICE)
