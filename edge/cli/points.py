"""``edge points``: every point of the site, live, with its quality and age."""

import fnmatch
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.common import (
    config_option,
    emit,
    find_run_dir,
    json_option,
    option,
    run_dir_option,
    say,
    table,
    verb,
)
from edge.glance import Glance, PointNow
from models.answer import Exit

if TYPE_CHECKING:
    from drivers.catalog.product import PointSpec


HEAD = (("point", "点"), ("value", "值"), ("unit", "单位"), ("quality", "质量"), ("age", "年龄"))
LONG_HEAD = (("role", "角色"), ("part", "部分"), ("at", "位置"))


def number(point: PointNow) -> str:
    """Return the value as a person would write it."""
    return "—" if math.isnan(point.value) else f"{point.value:.3f}".rstrip("0").rstrip(".")


def age(point: PointNow) -> str:
    """Return the age in words that fit a column."""
    return "—" if point.age_s is None else f"{point.age_s:.1f} s"


def catalog_facts(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Return by point name what the catalog says of it, for the site as it runs."""
    from drivers.catalog.loader import load_product
    from edge.config import loads
    from edge.ring import Ring

    site = loads(Ring.open(run_dir / "ring").meta["site_toml"], "ring", check_files=False)
    return {
        f"{device.name}/{spec.name}": {
            "part": spec.part,
            "at": where(spec),
            "period_s": spec.period_s,
            "max_age_s": spec.max_age_s,
        }
        for device in site.devices
        for spec in load_product(device.product, device.variant).points
    }


def _long(point: PointNow, facts: dict[str, dict[str, Any]]) -> list[str]:
    """Return the cells of ``--long``; none without it."""
    known = facts.get(point.name)
    return [point.role, known["part"], known["at"]] if known else []


def where(spec: "PointSpec") -> str:
    """Return in a few words where a point lies and how it is scaled, or from what it is derived."""
    if spec.derivation:
        return f"{spec.derivation} {', '.join(spec.of)}"
    place = (
        " ".join(spec.sunspec) or "/".join(spec.node) or spec.di or f"{spec.fn}/{spec.address} {spec.type}"
    )
    return place + (f" ×{spec.scale:g}" if spec.scale != 1.0 else "")


@verb(
    "points",
    en="Show every point: value, unit, quality, age. PATTERN is a name like `pcs-1/*` or a part of one.",
    zh="显示每个点:值、单位、质量、数据年龄。PATTERN 为点名(如 `pcs-1/*`)或其一部分。",
    examples="edge points\nedge points 'bms-1/*'\nedge points soc --json\nedge points --bad\n"
    "edge points 'pcs-1/*' --long",
)
@click.argument("pattern", default="*")
@option("--bad", is_flag=True, en="Only what is not GOOD.", zh="仅显示质量不为 GOOD 的点。")
@option(
    "--long",
    "in_full",
    is_flag=True,
    en="Also role, part, address and scale.",
    zh="另列角色、部分、地址和比例。",
)
@config_option
@run_dir_option
@json_option
def command(
    pattern: str, bad: bool, in_full: bool, config: Path | None, run_dir: Path | None, as_json: bool
) -> None:
    """List the points."""
    folder = find_run_dir(run_dir, config)
    points = [
        point
        for point in Glance(folder).points()
        if (fnmatch.fnmatch(point.name, pattern) or pattern in point.name)
        and not (bad and point.quality == "GOOD")
    ]
    facts = catalog_facts(folder) if in_full else {}
    if as_json:
        rows = [
            {**asdict(p), **facts.get(p.name, {}), "value": None if math.isnan(p.value) else p.value}
            for p in points
        ]
        emit("edge.points/1", rows, ok=bool(points) or bad)
    elif points:
        titles = HEAD + LONG_HEAD * in_full
        head = [say(*title) for title in titles]
        rows_text = [[p.name, number(p), p.symbol, p.quality, age(p), *_long(p, facts)] for p in points]
        click.echo(table(head, rows_text, right=(1, 4)))
    if not points and not bad:
        click.echo(say(f"No point matches {pattern!r}.", f"没有匹配 {pattern!r} 的点。"), err=True)
        raise click.exceptions.Exit(Exit.NO)
