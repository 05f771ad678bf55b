"""``edge why``: which service and which limit decided the power of a moment, in words."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.common import (
    config_option,
    emit,
    fail,
    find_run_dir,
    json_option,
    option,
    run_dir_option,
    say,
    verb,
)
from edge.cli.names import battery_power, name_of
from models.answer import Exit
from models.errors import Problem

if TYPE_CHECKING:
    from control.explain import Explanation, UnitFacts


def unit_line(unit: "UnitFacts") -> str:
    """Return what one battery may do and who says so."""
    lo, hi = battery_power(unit.lo_kw), battery_power(unit.hi_kw)
    return say(
        f"  {unit.name}: sent {battery_power(unit.p_set_kw)}; allowed {lo} ({name_of(unit.lo_by)}) to "
        f"{hi} ({name_of(unit.hi_by)}); BMS {unit.bms}, PCS {unit.pcs}",
        f"  {unit.name}:下发 {battery_power(unit.p_set_kw)};允许 {lo}({name_of(unit.lo_by)})至 "
        f"{hi}({name_of(unit.hi_by)});BMS {unit.bms},PCS {unit.pcs}",
    )


def words(facts: "Explanation") -> list[str]:
    """Return the explanation as sentences."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts.utc_ms / 1000))
    wish, target = battery_power(facts.wish_kw), battery_power(facts.target_kw)
    lines = [say(f"At {stamp} (cycle {facts.cycle}) the batteries were asked to {target}.",
                 f"{stamp}(周期 {facts.cycle})电池被要求{target}。")]  # fmt: skip
    lines.append(
        say(
            f"The wish came from: {name_of(facts.winner)} ({wish}).",
            f"期望来自:{name_of(facts.winner)}({wish})。",
        )
    )
    if facts.bound_by == "none":
        lines.append(say("No limit stood in its way.", "没有限值阻挡。"))
    else:
        bound = name_of(facts.bound_by)
        short = f"{abs(facts.short_kw):.1f} kW"
        lines.append(say(f"It was held by: {bound}; without it the power would differ by {short}.",
                         f"受限于:{bound};否则功率会相差 {short}。"))  # fmt: skip
    lo, hi = battery_power(facts.lo_kw), battery_power(facts.hi_kw)
    lines.append(say(f"Allowed then: {lo} ({name_of(facts.lo_by)}) to {hi} ({name_of(facts.hi_by)}).",
                     f"当时允许:{lo}({name_of(facts.lo_by)})至 {hi}({name_of(facts.hi_by)})。"))  # fmt: skip
    if facts.net_kw is None:
        lines.append(
            say("The meter was not trusted; the site's limits were narrowed.", "电表不可信;站点限值已收紧。")
        )
    else:
        lines.append(
            say(f"Load minus PV was {facts.net_kw:.1f} kW.", f"负荷减光伏为 {facts.net_kw:.1f} kW。")
        )
    for owner in facts.conflicts:
        lines.append(
            say(
                f"Conflict: {name_of(owner)} could not get what it demands.",
                f"冲突:{name_of(owner)} 未能满足。",
            )
        )
    return lines + [unit_line(unit) for unit in facts.units]


@verb(
    "why",
    en="Explain the power of now, or of AGO (like 30s or 2m ago): who wished it and which limit held it.",
    zh="解释当前(或 AGO 之前,如 30s、2m)的功率:谁提出,受哪个限值约束。",
    examples="edge why\nedge why 30s\nedge why 2m --json",
)
@click.argument("ago", default="0s")
@option("--cycle", type=int, en="Explain this cycle instead.", zh="改为解释指定周期。")
@config_option
@run_dir_option
@json_option
def command(ago: str, cycle: int | None, config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """Explain one recorded cycle."""
    from control.explain import explain
    from edge.config import loads
    from edge.controller.build import site_of
    from edge.ring import Ring

    folder = find_run_dir(run_dir, config)
    ring = Ring.open(folder / "ring")
    rows = ring.since(-1)
    if len(rows) == 0:
        what, do = say("there is no record yet", "尚无记录"), say("Try again in a second.", "请稍后再试。")
        fail(Problem("RUN-003", str(folder), what, do), Exit.NOT_RUNNING)
    at_ms = int(rows[-1]["utc_ms"]) - seconds(ago) * 1000
    wanted = rows["cycle"] == cycle if cycle is not None else rows["utc_ms"] <= at_ms
    if not wanted.any():
        what = say("that moment is not in the ring", "该时刻不在环形记录中")
        do = say(
            "The ring holds the last five minutes; see `edge history`.",
            "环形记录保存最近五分钟;请用 `edge history`。",
        )
        fail(Problem("RUN-004", ago, what, do), Exit.NO)
    facts = explain(site_of(loads(ring.meta["site_toml"], "ring", check_files=False)), rows[wanted][-1])
    if as_json:
        emit("edge.why/1", asdict(facts))
    else:
        click.echo("\n".join(words(facts)))


def seconds(text: str) -> int:
    """Return a span like 30s, 2m or 1h in seconds."""
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    if factor is None or not text[:-1].isdigit():
        raise click.BadParameter(
            say(f"{text!r} is no span like 30s, 2m or 1h", f"{text!r} 不是 30s、2m、1h 这样的时长")
        )
    return int(text[:-1]) * factor
