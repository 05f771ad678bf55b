"""What counts as a violation, and what does not."""

import pytest

from drivers.simulator.violation import Judge, Limits, Mean, Tally
from models.plant import Plant

DT_S = 0.02


def judged(plant: Plant, seconds: float, judge: Judge | None = None) -> Judge:
    judge = judge or Judge(Limits(), DT_S)
    for _ in range(round(seconds / DT_S)):
        judge.see(plant)
    return judge


@pytest.mark.parametrize(
    ("grid_kw", "grid_kvar", "kind", "worst", "why"),
    [
        (-5.0, 0.0, "export", 5.0, "export beyond zero"),
        (-0.9, 0.0, None, 0.0, "export within the tolerance of 1 kW"),
        (0.0, 0.0, None, 0.0, "nothing flows"),
        (360.9, 0.0, None, 0.0, "import within the tolerance"),
        (365.0, 0.0, "import", 5.0, "import beyond the contract"),
        (300.0, 300.0, "transformer", 24.26, "apparent power"),
    ],
)
def test_grid_limits(grid_kw: float, grid_kvar: float, kind: str | None, worst: float, why: str) -> None:
    plant = Plant()
    plant.grid_kw, plant.grid_kvar = grid_kw, grid_kvar
    tallies = judged(plant, 2.0).tallies
    found = {name: tally.count for name, tally in tallies.items() if tally.count}
    assert found == ({kind: 1} if kind else {}), why
    if kind:
        assert tallies[kind].worst == pytest.approx(worst, abs=0.01), why
        assert tallies[kind].seconds == pytest.approx(2.0)


def test_a_short_spike_disappears_in_the_mean() -> None:
    plant = Plant()
    plant.grid_kw = 10.0
    judge = judged(plant, 2.0)
    plant.grid_kw = -5.0
    judged(plant, 0.5, judge)
    plant.grid_kw = 10.0
    judged(plant, 2.0, judge)
    assert judge.tallies["export"].count == 0


def test_each_new_beginning_counts() -> None:
    plant = Plant()
    judge = Judge(Limits(), DT_S)
    for grid_kw in (-20.0, 20.0, -30.0, 20.0):
        plant.grid_kw = grid_kw
        judged(plant, 3.0, judge)
    assert judge.tallies["export"].count == 2
    assert judge.tallies["export"].worst == pytest.approx(30.0)


@pytest.mark.parametrize(("soc", "kind"), [(0.03, "soc_low"), (0.98, "soc_high"), (0.04, None), (0.97, None)])
def test_soc_limits(soc: float, kind: str | None) -> None:
    plant = Plant()
    plant.battery.soc = soc
    found = {name for name, tally in judged(plant, 0.1).tallies.items() if tally.count}
    assert found == ({kind} if kind else set())


def test_pcs_rating_and_bms_current() -> None:
    plant = Plant()
    plant.pcs.p_kw, plant.pcs.q_kvar = 100.0, 80.0
    plant.battery.current_a, plant.battery.discharge_limit_a = 100.0, 70.0
    tallies = judged(plant, 1.5).tallies
    assert tallies["pcs"].worst == pytest.approx(18.06, abs=0.01)
    assert tallies["bms_current"].worst == pytest.approx(26.5)
    plant.battery.current_a = -100.0
    assert judged(plant, 1.5).tallies["bms_current"].count == 0, "charging has its own limit"


def test_mean_and_tally_alone() -> None:
    mean = Mean(3)
    assert [mean(v) for v in (3.0, 5.0, 7.0, 9.0)] == [3.0, 4.0, 5.0, 7.0]
    tally = Tally()
    tally.see(1.0, 1.0, 0.1)
    assert (tally.count, tally.seconds) == (0, 0.0), "the tolerance itself is allowed"
