"""The demand of the month: averages over the tariff's window, kept over a restart."""

from datetime import datetime
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge.services.demand import Demand
from models.tariff_file import parse_tariff

TARIFF = parse_tariff((resources.files("examples") / "tariffs" / "jiangsu-2025.toml").read_text("utf-8"))
START = round(datetime(2026, 7, 31, 23, 0, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp() * 1000)
WINDOW_MS = 900_000


def feed(demand: Demand, start_ms: int, windows: int, *powers: float | None) -> None:
    """Give equal parts of each window the powers, a sample every 10 s."""
    for k in range(windows * 90):
        demand.add(start_ms + k * 10_000, powers[k % 90 * len(powers) // 90], TARIFF)


def made(path: Path, start_kw: float = 0.0) -> Demand:
    demand = Demand(path / "demand.json")
    demand.load(start_kw)
    return demand


def test_the_peak_is_an_average_over_the_window(tmp_path: Path) -> None:
    demand = made(tmp_path)
    feed(demand, START, 2, 100.0, 300.0)
    assert demand.peak_kw == pytest.approx(200.0, rel=0.02)
    assert not demand.complete, "the month began before"


def test_export_counts_as_no_import(tmp_path: Path) -> None:
    demand = made(tmp_path)
    feed(demand, START, 2, 100.0, -500.0)
    assert demand.peak_kw == pytest.approx(50.0, rel=0.03)


def test_a_window_that_was_hardly_seen_sets_no_peak(tmp_path: Path) -> None:
    demand = made(tmp_path)
    feed(demand, START, 2, 900.0, None, None, None)
    assert demand.peak_kw == 0.0


def test_a_new_month_begins_from_zero_and_is_complete(tmp_path: Path) -> None:
    demand = made(tmp_path, 333.0)
    assert demand.complete
    feed(demand, START, 4, 100.0)
    assert (demand.month, demand.peak_kw) == ("2026-07", 333.0)
    feed(demand, START + 4 * WINDOW_MS, 2, 120.0)
    assert (demand.month, demand.complete) == ("2026-08", True)
    assert demand.peak_kw == pytest.approx(120.0)


def test_after_an_outage_over_the_turn_of_the_month_its_peak_is_not_known(tmp_path: Path) -> None:
    feed(made(tmp_path, 333.0), START, 1, 100.0)
    demand = made(tmp_path, 333.0)
    feed(demand, START + 400 * WINDOW_MS, 1, 100.0)
    assert (demand.month, demand.complete) == ("2026-08", False)


def test_it_survives_a_restart_and_a_damaged_file(tmp_path: Path) -> None:
    feed(made(tmp_path), START, 2, 100.0)
    assert made(tmp_path, 5.0).peak_kw == pytest.approx(100.0)
    (tmp_path / "demand.json").write_text("{", "utf-8")
    assert made(tmp_path, 5.0).peak_kw == 5.0


def test_a_clock_that_was_never_set_forgets_no_peak(tmp_path: Path) -> None:
    """A gateway without a battery-backed clock begins in 1970 until the network is there."""
    demand = made(tmp_path, 333.0)
    feed(demand, START, 1, 100.0)
    restarted = made(tmp_path)
    feed(restarted, 0, 2, 500.0)
    feed(restarted, START + 2 * WINDOW_MS, 2, 200.0)
    assert (restarted.month, restarted.peak_kw, restarted.complete) == ("2026-07", 333.0, True)
    assert made(tmp_path).peak_kw == 333.0


def test_a_clock_that_jumps_back_does_no_harm(tmp_path: Path) -> None:
    demand = made(tmp_path)
    feed(demand, START, 1, 100.0)
    feed(demand, START - 5 * WINDOW_MS, 2, 100.0)
    assert demand.peak_kw == pytest.approx(100.0)
