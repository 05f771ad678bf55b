"""What the demo measures: from the flight recorder, from the plant's own trace, from both ends of the link.

Nothing here believes the controller: violations are those that the plant saw, a value counts as wrong unless
the device really showed it, a report counts as received when the fleet has stored it.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.owners import OWNERS
from drivers.simulator.check import undetected_wrong
from edge.cli.facts import gather
from edge.demo.scene import Scene
from edge.image import SharedImage
from edge.ring import Ring
from models.point import Quality

REACH_KW = 2.0
"""Measured power this near to the setpoint counts as reached."""
ARRIVE_S = 5.0
MISSED_MAX = 3
CYCLES_SHARE = 590 / 600
"""Of the cycles that the time has room for."""


@dataclass(frozen=True, slots=True)
class Order:
    """The setpoint that the fleet has sent during the demo."""

    sent_kw: float
    sent_ms: int
    valid_s: float
    stages: tuple[str, ...]


def measure(
    scene: Scene, first_cycle: int, violations_before: dict[str, Any], order: Order | None
) -> dict[str, Any]:
    """Return the report of the demo, without ``ok``.

    Args:
        scene: the running demo.
        first_cycle: cycle after which it counts.
        violations_before: what the plant had seen until then.
        order: what the fleet has sent, if anything.
    """
    ring = Ring.open(scene.run_dir / "ring")
    rows = ring.since(first_cycle)
    late_ms = rows["lateness_ns"] / 1e6
    facts = gather(scene.run_dir)
    plan = facts["plan"] or {}
    kinds = _since(scene.plant.violations(), violations_before)
    return {
        "cycles": len(rows),
        "missed": int(rows["missed"][-1] - rows["missed"][0]) if len(rows) else 0,
        "lateness_ms": {
            "p50": _round(np.percentile(late_ms, 50)),
            "p99": _round(np.percentile(late_ms, 99)),
            "max": _round(late_ms.max()),
        },
        "violations": sum(kinds.values()),
        "violations_by_kind": kinds,
        "devices": _devices(scene, rows, facts),
        "plan": {
            "status": plan.get("status"),
            "cost_cny": plan.get("cost_cny"),
            "idle_cost_cny": plan.get("idle_cost_cny"),
            "saving_cny": plan.get("saving_cny"),
        },
        "setpoint": _setpoint(rows, scene, order),
        "telemetry": telemetry(scene),
    }


def telemetry(scene: Scene) -> dict[str, int]:
    """Return how many reports the site had made until now, and how many of them the fleet has stored.

    A report is made every second, so the newest ones are given a moment to arrive.
    """
    sent = int(((scene.facts() or {}).get("link") or {}).get("newest", 0))
    deadline = time.monotonic() + ARRIVE_S
    received = scene.received()
    while received < sent and time.monotonic() < deadline:
        received = scene.received()
    return {"sent": sent, "received": min(received, sent)}


def _round(value: Any) -> float:
    return round(float(value), 3)


def _since(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> dict[str, int]:
    """Return the number of violations of each kind since the start."""
    return {kind: int(seen["count"] - before[kind]["count"]) for kind, seen in now.items()}


def _devices(scene: Scene, rows: NDArray[np.void], facts: dict[str, Any]) -> list[dict[str, Any]]:
    wrong = wrong_values(scene, rows)
    return [
        {
            "name": device["name"],
            "protocol": device["protocol"],
            "polls": device["polls"],
            "errors": device["errors"],
            "wrong": wrong[device["name"]],
        }
        for device in facts["devices"]
    ]


def wrong_values(scene: Scene, rows: NDArray[np.void]) -> dict[str, int]:
    """Return for each device how many good readings in the records it had never shown."""
    image = SharedImage.open(scene.run_dir / "image")
    trace = scene.plant.trace()
    wrong = {device.name: 0 for device in image.devices}
    for number, point in enumerate(image.points):
        if point.name not in (trace.dtype.names or ()):
            continue
        good = rows["quality"][:, number] == Quality.GOOD
        t_ns, first = np.unique(rows["t_ns"][good, number], return_index=True)
        values = rows["value"][good, number][first]
        wrong[point.device] += int(undetected_wrong(trace, point.name, t_ns, values).sum())
    return wrong


def _setpoint(rows: NDArray[np.void], scene: Scene, order: Order | None) -> dict[str, Any]:
    """Return whether the battery has followed the fleet's setpoint, by the plant's own power."""
    if order is None:
        return {
            "sent_kw": None,
            "acknowledged": False,
            "reached": False,
            "latency_ms": None,
            "returned": False,
        }
    trace = scene.plant.trace()
    offset_ns = int(rows["mono_ns"][-1]) - int(rows["utc_ms"][-1]) * 1_000_000
    sent_ns = order.sent_ms * 1_000_000 + offset_ns
    end_ns = sent_ns + round(order.valid_s * 1e9)
    inside = (trace["t_ns"] >= sent_ns) & (trace["t_ns"] < end_ns)
    near = inside & (np.abs(trace["pcs-1/p_kw"] - order.sent_kw) <= REACH_KW)
    reached = bool(near.any())
    after = rows[rows["mono_ns"] > end_ns + 1_000_000_000]
    back = bool(len(after)) and OWNERS[int(after["winner"][-1])] == "plan"
    latency = (int(trace["t_ns"][near][0]) - sent_ns) / 1e6 if reached else math.nan
    return {
        "sent_kw": order.sent_kw,
        "acknowledged": {"received", "accepted", "active"} <= set(order.stages),
        "stages": list(order.stages),
        "reached": reached,
        "latency_ms": _round(latency) if reached else None,
        "returned": back,
    }


def checks(report: dict[str, Any], seconds: float, period_s: float) -> list[tuple[str, str, bool]]:
    """Return every check of the demo: (English, Chinese, whether it holds)."""
    expected = seconds / period_s
    protocols = {device["protocol"] for device in report["devices"] if device["polls"] > 0}
    setpoint, telemetry, plan = report["setpoint"], report["telemetry"], report["plan"]
    saving = plan["saving_cny"] if plan["saving_cny"] is not None else -1.0
    wrong = sum(device["wrong"] for device in report["devices"])
    lost = telemetry["sent"] - telemetry["received"]
    cycles, missed, broken = report["cycles"], report["missed"], report["violations"]
    sent, saved = telemetry["sent"], f"{saving:.1f}"
    rows = [
        (
            f"{cycles} cycles, {missed} missed",
            f"{cycles} 个周期,错过 {missed} 个",
            missed <= MISSED_MAX and cycles >= CYCLES_SHARE * expected,
        ),
        (f"{broken} violations seen by the plant", f"对象侧越限 {broken} 次", broken == 0),
        (
            f"{len(protocols)} protocols, {wrong} wrong values",
            f"{len(protocols)} 种协议,错误值 {wrong} 个",
            len(protocols) >= 3 and wrong == 0,
        ),
        (
            f"plan {plan['status']}, saves {saved} CNY",
            f"计划 {plan['status']},节省 {saved} 元",
            saving >= 0.0,
        ),
        (f"telemetry: {sent} sent, {lost} lost", f"遥测:发送 {sent},丢失 {lost}", sent > 0 and lost <= 0),
    ]
    if setpoint["sent_kw"] is None:
        return [*rows, ("the fleet sent no setpoint", "云端未下发设定值", False)]
    asked, latency = f"{setpoint['sent_kw']:.0f} kW", f"{setpoint['latency_ms'] or math.nan:.0f} ms"
    rows += [
        (f"setpoint {asked} acknowledged", f"设定值 {asked} 已确认", setpoint["acknowledged"]),
        (f"setpoint reached after {latency}", f"设定值在 {latency} 后达到", setpoint["reached"]),
        ("back on the plan after it expired", "到期后回到计划", setpoint["returned"]),
    ]
    return rows


def as_order(data: dict[str, Any]) -> Order:
    """Return the order from the answer of ``fleet dispatch --json``."""
    command = data["command"]
    return Order(
        sent_kw=float(command["p_kw"]),
        sent_ms=int(command["valid_from_ms"]),
        valid_s=(int(command["valid_to_ms"]) - int(command["valid_from_ms"])) / 1000,
        stages=tuple(stage["stage"] for stage in data["stages"]),
    )
