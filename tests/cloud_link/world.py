"""A small site for the tests of the link: two devices with two points each."""

import math
from collections.abc import Sequence

from cloud_link.changes import Report
from models.point import Point, Quality, Role

POINTS = (
    Point("pcs-1/p_kw", "pcs-1", "battery-1", Role.P_KW, "kW", 1.0),
    Point("pcs-1/heartbeat", "pcs-1", "battery-1", Role.HEARTBEAT, "", 3.0),
    Point("bms-1/soc", "bms-1", "battery-1", Role.SOC, "", 5.0),
    Point("bms-1/dc_v", "bms-1", "battery-1", Role.DC_V, "V", 5.0),
)
GOOD = (Quality.GOOD,) * 4
NODE = {
    "site/lo_kw": -100.0,
    "site/hi_kw": 100.0,
    "site/battery_kw": 0.0,
    "site/winner": "plan",
    "site/cycle": 1,
}


def report(
    t_ms: int,
    *value: float,
    quality: Sequence[int] = GOOD,
    **node: float | int | str | None,
) -> Report:
    """A report with the first values given and the others quiet."""
    values = (*value, *(0.0, 1.0, 0.5, 768.0)[len(value) :])
    return Report(t_ms, {**NODE, **{f"site/{name}": v for name, v in node.items()}}, values, quality)


NAN = math.nan
