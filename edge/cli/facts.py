"""What ``status``, ``watch`` and the demo show of a running site: gathered from files, without numpy."""

import json
import math
import time
from pathlib import Path
from typing import Any

from control.owners import OWNERS
from edge.events import tail
from edge.glance import Glance, PointNow

EVENTS_SHOWN = 5
SERVICE_STALE_MS = 15_000
"""Uplink and recorder say how they are every 5 s."""


def gather(run_dir: Path) -> dict[str, Any]:
    """Return the state of the site as plain data.

    Raises:
        StoreError: no controller has ever run in that folder.
    """
    glance = Glance(run_dir)
    points = glance.points()
    devices = glance.devices()
    record = glance.record
    bad = [p.name for p in points if p.quality != "GOOD"]
    fine = glance.running and all(d["online"] for d in devices) and not bad
    link = _read(glance.state_dir / "uplink.json")
    recorder = _read(run_dir / "recorder.json")
    if link and _silent(link):
        link["connected"] = False  # a service that was killed cannot say so itself
    return {
        "site": glance.site,
        "state": "stopped" if not glance.running else "running" if fine else "degraded",
        "pid": glance.pid,
        "since_ms": glance.epoch_ms,
        "age_s": None if record is None else round(glance.record_age_s, 3),
        "cycle": None if record is None else record["cycle"],
        "missed": None if record is None else record["missed"],
        "lateness_ms": None if record is None else record["lateness_ns"] / 1e6,
        "decision": None if record is None else _decision(record),
        "power": _powers(points, devices, record),
        "devices": devices,
        "bad_points": bad,
        "plan": _read(glance.state_dir / "plan.json"),
        "link": link,
        "recorder": recorder,
        "services": recorder is not None and not _silent(recorder),
        "events": tail(run_dir / "events.jsonl", EVENTS_SHOWN),
    }


def _silent(said: dict[str, Any]) -> bool:
    """Tell whether a service has not said for long how it is."""
    return bool(time.time() * 1000 - said.get("t_ms", 0) > SERVICE_STALE_MS)


def _decision(record: dict[str, Any]) -> dict[str, Any]:
    """Return who decided the power of the newest cycle, and what holds it."""
    wish, target = record["wish_kw"], record["target_kw"]
    bound = record["reach_hi_by"] if wish > target else record["reach_lo_by"] if wish < target else 0
    return {
        "winner": OWNERS[record["winner"]],
        "wish_kw": wish,
        "target_kw": target,
        "p_set_kw": math.fsum(record["p_set_kw"]),
        "bound_by": OWNERS[bound],
        "lo_kw": record["site_lo_kw"],
        "hi_kw": record["site_hi_kw"],
        "lo_by": OWNERS[record["site_lo_by"]],
        "hi_by": OWNERS[record["site_hi_by"]],
    }


def _powers(
    points: list[PointNow], devices: list[dict[str, Any]], record: dict[str, Any] | None
) -> dict[str, float | None]:
    """Return the four powers and the SOC; None where one of the readings behind it is not good."""
    kind = {device["name"]: device["kind"] for device in devices}
    setters = {p.device for p in points if p.role == "p_set_kw"}

    def total(wanted: str) -> float | None:
        rows = [p for p in points if p.role == "p_kw" and kind[p.device] == wanted]
        rows = [p for p in rows if wanted != "battery" or p.device in setters]
        good = rows and all(p.quality == "GOOD" for p in rows)
        return math.fsum(p.value for p in rows) if good else None

    socs = [p.value for p in points if p.role == "soc" and p.quality == "GOOD"]
    net = None if record is None or math.isnan(record["net_kw"]) else record["net_kw"]
    pv = total("pv")
    return {
        "grid_kw": total("meter"),
        "battery_kw": total("battery"),
        "pv_kw": pv,
        "load_kw": None if net is None else net + (pv or 0.0),
        "soc": sum(socs) / len(socs) if socs else None,
    }


def _read(path: Path) -> dict[str, Any] | None:
    """Return a small file in which a service says how it is."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
