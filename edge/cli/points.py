"""``edge points``: every point of the site, live, with its quality and age."""

import fnmatch
import math
from dataclasses import asdict
from pathlib import Path

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


def number(point: PointNow) -> str:
    """Return the value as a person would write it."""
    return "—" if math.isnan(point.value) else f"{point.value:.3f}".rstrip("0").rstrip(".")


def age(point: PointNow) -> str:
    """Return the age in words that fit a column."""
    return "—" if point.age_s is None else f"{point.age_s:.1f} s"


@verb(
    "points",
    en="Show every point: value, unit, quality, age. PATTERN is a name like `pcs-1/*` or a part of one.",
    zh="显示每个点:值、单位、质量、数据年龄。PATTERN 为点名(如 `pcs-1/*`)或其一部分。",
    examples="edge points\nedge points 'bms-1/*'\nedge points soc --json\nedge points --bad",
)
@click.argument("pattern", default="*")
@option("--bad", is_flag=True, en="Only what is not GOOD.", zh="仅显示质量不为 GOOD 的点。")
@config_option
@run_dir_option
@json_option
def command(pattern: str, bad: bool, config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """List the points."""
    points = [
        point
        for point in Glance(find_run_dir(run_dir, config)).points()
        if (fnmatch.fnmatch(point.name, pattern) or pattern in point.name)
        and not (bad and point.quality == "GOOD")
    ]
    if as_json:
        rows = [{**asdict(p), "value": None if math.isnan(p.value) else p.value} for p in points]
        emit("edge.points/1", rows, ok=bool(points) or bad)
    elif points:
        head = [
            say(*title)
            for title in (
                ("point", "点"),
                ("value", "值"),
                ("unit", "单位"),
                ("quality", "质量"),
                ("age", "年龄"),
            )
        ]
        rows_text = [[p.name, number(p), p.symbol, p.quality, age(p)] for p in points]
        click.echo(table(head, rows_text, right=(1, 4)))
    if not points and not bad:
        click.echo(say(f"No point matches {pattern!r}.", f"没有匹配 {pattern!r} 的点。"), err=True)
        raise click.exceptions.Exit(Exit.NO)
