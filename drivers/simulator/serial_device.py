"""The simulated BMS and meter: Modbus RTU, input registers only, each on a line of its own."""

from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.simulator.board import Board, wait_for
from drivers.simulator.register import BMS, METER, METER_SIZE, Register
from drivers.simulator.register import fill as fill_registers
from drivers.simulator.server import UNIT_ID, serve

BAUD = 19200
READ_INPUT = 4
TABLES: dict[str, tuple[tuple[Register, ...], int]] = {"bms-1": (BMS, 20), "meter-1": (METER, METER_SIZE)}
"""Registers and size of the address space, from 0."""


def device(name: str, board: Board) -> SimDevice:
    """Return the device as pymodbus wants it."""
    table, size = TABLES[name]

    async def action(
        function: int, first: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        if function != READ_INPUT:
            return ExcCodes.ILLEGAL_FUNCTION
        fill_registers(registers, first, table, board)
        return None

    block = SimData(0, count=size, values=0, datatype=DataType.REGISTERS, readonly=True)
    return SimDevice(UNIT_ID, [block], action=action)


def run(directory: Path, name: str, tty: str) -> None:
    """Serve until the process ends."""
    board = wait_for(directory)
    serve(lambda: ModbusSerialServer(device(name, board), port=tty, baudrate=BAUD), board, name)
