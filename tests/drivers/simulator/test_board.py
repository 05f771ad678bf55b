"""The shared board and the ring of what was shown."""

from pathlib import Path

import numpy as np
import pytest

from drivers.simulator import board as module
from drivers.simulator.board import COLUMNS, FAULTS, SLOT, TRACE, Board, Trace, create, wait_for


def row(number: int) -> np.ndarray:
    return np.full(len(COLUMNS), float(number))


def test_a_new_board_is_healthy(board: Board) -> None:
    for name, value in FAULTS.items():
        assert board.fault(name) == pytest.approx(value, nan_ok=True)
    assert board["command/dead_man_s"] == 5.0


def test_two_mappings_see_each_other(tmp_path: Path, board: Board) -> None:
    other = wait_for(tmp_path)
    other["pcs-1/p_kw"] = 12.5
    assert board["pcs-1/p_kw"] == 12.5
    assert other.values.ctypes.data % 8 == 0, "aligned, so that a value is never torn"


def test_an_existing_board_is_kept(tmp_path: Path, board: Board) -> None:
    board["command/p_set_kw"] = 7.0
    assert create(tmp_path)["command/p_set_kw"] == 7.0


def test_slots_do_not_overlap() -> None:
    assert sorted(SLOT.values()) == list(range(len(SLOT)))
    assert list(SLOT)[: len(COLUMNS)] == list(COLUMNS)


def test_unknown_names_are_errors(board: Board) -> None:
    with pytest.raises(KeyError):
        board["pcs-1/nonsense"] = 1.0
    with pytest.raises(KeyError):
        board.fault("pcs-1/nonsense")


def test_no_board_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        wait_for(tmp_path / "nowhere", wait_s=0.03)


def test_trace_gives_rows_in_order_with_named_columns(tmp_path: Path, board: Board, trace: Trace) -> None:
    for number in range(5):
        trace.append(number * 1000, row(number))
    rows = trace.read()
    assert rows.dtype == TRACE
    assert rows["t_ns"].tolist() == [0, 1000, 2000, 3000, 4000]
    assert rows["meter-1/p_kw"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    again = Trace(tmp_path, board)
    again.append(5000, row(5))
    assert len(again.read()) == 6, "a restarted plant goes on where it was"


def test_trace_keeps_the_newest_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRACE_ROWS", 4)
    ring = Trace(tmp_path, create(tmp_path))
    for number in range(11):
        ring.append(number, row(number))
    assert ring.read()["t_ns"].tolist() == [8, 9, 10], "without the row that is next to be overwritten"
