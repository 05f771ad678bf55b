"""The split by state of charge: what the shares are; the arithmetic itself is tested with the kernel."""

import pytest

from control.allocate import allocate
from tests.control.make import seen

WIDE = (-100.0, 100.0)

TABLE = [
    ("discharge goes by usable energy", 60, [WIDE, WIDE], [(10, 90), (20, 80)], [20, 40]),
    ("charge goes by room", -60, [WIDE, WIDE], [(90, 10), (80, 20)], [-20, -40]),
    ("a unit with nothing left gives nothing", 60, [WIDE, WIDE], [(0, 100), (20, 80)], [0, 60]),
    ("a full unit takes nothing", -60, [WIDE, WIDE], [(100, 0), (80, 20)], [0, -60]),
    ("a window that is full passes on", 60, [(-5, 5), WIDE], [(20, 80), (20, 80)], [5, 55]),
    ("more than all windows: their ends", 300, [(-5, 5), WIDE], [(20, 80), (20, 80)], [5, 100]),
    ("nothing wanted: nothing moves", 0, [WIDE, WIDE], [(0, 100), (20, 80)], [0, 0]),
    ("a little discharge goes by usable energy too", 0.6, [WIDE, WIDE], [(10, 90), (20, 80)], [0.2, 0.4]),
    (
        "a sum of zero goes by usable energy, where a unit is still far from it",
        0,
        [(6, 9), WIDE, WIDE],
        [(5, 5), (10, 90), (20, 80)],
        [6, -2, -4],
    ),
    ("no unit: no answer", 60, [], [], []),
]


@pytest.mark.parametrize(
    ("target", "windows", "energies", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE]
)
def test_allocate(
    target: float,
    windows: list[tuple[float, float]],
    energies: list[tuple[float, float]],
    expected: list[float],
) -> None:
    batteries = [seen(usable_kwh=float(usable), room_kwh=float(room)) for usable, room in energies]
    assert allocate(float(target), windows, batteries) == pytest.approx(expected)


def test_no_battery_is_charged_from_another() -> None:
    batteries = [seen(usable_kwh=100.0, room_kwh=1.0), seen(usable_kwh=1.0, room_kwh=100.0)]
    for target in (-80.0, -1.0, 0.0, 1.0, 80.0):
        out = allocate(target, [WIDE, WIDE], batteries)
        assert min(out) * max(out) >= 0.0
