"""The judge of the demo: every check holds in a good report and falls when its figure is bad."""

import copy
from typing import Any

import pytest

from edge.cli.demo import choose_kw
from edge.demo.measure import checks

GOOD: dict[str, Any] = {
    "cycles": 602,
    "missed": 0,
    "violations": 0,
    "devices": [{"protocol": p, "polls": 9, "wrong": 0} for p in ("modbus-tcp", "modbus-rtu", "opcua")],
    "plan": {"status": "fresh", "cost_cny": 90.0, "idle_cost_cny": 100.0, "saving_cny": 8.0},
    "setpoint": {
        "sent_kw": 40.0,
        "acknowledged": True,
        "reached": True,
        "latency_ms": 900.0,
        "returned": True,
    },
    "telemetry": {"sent": 66, "received": 66},
}


def judged(**changes: Any) -> list[bool]:
    report = copy.deepcopy(GOOD)
    for path, value in changes.items():
        part, _, key = path.partition("__")
        if key:
            report[part][key] = value
        else:
            report[part] = value
    return [ok for *_, ok in checks(report, 60.0, 0.1)]


def test_a_good_demo_holds() -> None:
    assert judged() == [True] * 8


BAD = [
    ({"missed": 4}, 0, "more than three cycles missed"),
    ({"cycles": 589}, 0, "too few cycles for the time"),
    ({"violations": 1}, 1, "the plant has seen a violation"),
    ({"devices": GOOD["devices"][:2]}, 2, "only two protocols"),
    ({"devices": [{**d, "polls": 0} for d in GOOD["devices"]]}, 2, "devices that were never polled"),
    ({"devices": [{**d, "wrong": 1} for d in GOOD["devices"]]}, 2, "a wrong value"),
    ({"plan__saving_cny": -0.5}, 3, "a plan that costs more than nothing"),
    ({"plan__saving_cny": None}, 3, "no plan"),
    ({"telemetry__received": 65}, 4, "a lost report"),
    ({"telemetry__sent": 0, "telemetry__received": 0}, 4, "no telemetry at all"),
    ({"setpoint__acknowledged": False}, 5, "a setpoint without all its acknowledgements"),
    ({"setpoint__reached": False}, 6, "a setpoint that was not reached"),
    ({"setpoint__returned": False}, 7, "a battery that did not return to its plan"),
    ({"setpoint": {"sent_kw": None}}, 5, "a fleet that sent nothing"),
]


@pytest.mark.parametrize(("changes", "falls"), [b[:2] for b in BAD], ids=[b[2] for b in BAD])
def test_one_bad_figure_fails_one_check(changes: dict[str, Any], falls: int) -> None:
    assert [number for number, ok in enumerate(judged(**changes)) if not ok] == [falls]


CHOICES = [
    (-100.0, 100.0, 100.0, 40.0, "from full discharge it goes back, but not too far"),
    (-100.0, 100.0, -100.0, -40.0, "from full charge likewise"),
    (-100.0, 20.0, 10.0, -50.0, "where there is little room up, it goes down"),
    (-10.0, 60.0, 0.0, 36.0, "a small room is used in part"),
]


@pytest.mark.parametrize(("lo", "hi", "now", "chosen"), [c[:4] for c in CHOICES], ids=[c[4] for c in CHOICES])
def test_the_setpoint_of_the_demo_is_possible_and_differs(
    lo: float, hi: float, now: float, chosen: float
) -> None:
    assert choose_kw({"lo_kw": lo, "hi_kw": hi, "target_kw": now}) == chosen
    assert lo <= chosen <= hi and chosen != now
