"""``edge plan``: what the batteries will do, why, and what it earns.

Reads ``plan.json`` that the planner leaves beside the image; needs neither numpy nor a running solver.
"""

import json
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from edge.cli.chart import bars_down, bars_up, columns, letters, line
from edge.cli.common import (
    config_option,
    emit,
    fail,
    find_run_dir,
    is_terminal,
    json_option,
    option,
    pad,
    run_dir_option,
    say,
    verb,
)
from models.answer import Exit
from models.errors import Problem

LABEL = 11
"""Cells left of the chart."""
MAX_COLUMNS, MIN_COLUMNS = 96, 12
DEFAULT_WIDTH = 100
OLD_S = 900
"""The planner makes a plan every five minutes; one that is older says that the planner is not there."""
NEXT = 6
SMALL_KW = 0.5
ROWS = 3
LEVELS: dict[str, tuple[str, str, str, str]] = {
    "deep_valley": ("D", "bright_blue", "deep valley", "深谷"),
    "valley": ("V", "blue", "valley", "谷"),
    "flat": ("F", "white", "flat", "平"),
    "peak": ("P", "yellow", "peak", "峰"),
    "sharp": ("S", "red", "sharp", "尖"),
}
"""Letter, colour, English, Chinese."""
LADDER = {
    "fresh": ("fresh", "最新"),
    "shifted": ("the rest of an earlier plan", "沿用旧计划的剩余部分"),
    "rules": ("no plan: the controller follows its rules", "无计划:控制器按内置规则运行"),
}
FLAGS = {
    "forecast-seed": (
        "the load forecast rests partly on interval data of another year",
        "负荷预测部分使用了往年的计量数据",
    ),
    "forecast-last-value": (
        "no history yet: the present load is held",
        "尚无历史数据:负荷预测保持当前值",
    ),
    "forecast-no-present": ("the present load is not measured", "当前负荷没有测量值"),
    "no-forecast": ("nothing is known about the load", "没有任何负荷数据"),
    "battery-soc-unknown": (
        "a battery whose state of charge is not known is left out",
        "荷电状态未知的电池未参与计划",
    ),
    "month-peak-unknown": (
        "the demand billed this month is not known: no shaving of the peak that the load makes by itself",
        "本月已计需量未知:计划不削减负荷自身形成的需量",
    ),
    "no-solution": ("the solver gave no answer", "求解器没有给出结果"),
    "tariff-not-in-force": (
        "the tariff file is not in force on these days",
        "电价文件在这些日期不在有效期内",
    ),
    "holidays-unknown": (
        "the tariff file does not know the holidays of these days",
        "电价文件没有这些日期的节假日表",
    ),
}


@verb(
    "plan",
    en="Show the plan: prices, battery power, state of charge, what it costs and saves, and what comes next.",
    zh="显示计划:电价时段、电池功率、荷电状态、费用与收益,以及接下来的动作。",
    examples="edge plan\nedge plan --width 120\nedge plan --ascii > plan.txt\nedge plan --json",
)
@option("--width", type=click.IntRange(50, 400), en="Width of the output.", zh="输出宽度。")
@option("--ascii", "ascii_only", is_flag=True, en="Draw without block characters.", zh="不使用方块字符。")
@config_option
@run_dir_option
@json_option
def command(
    width: int | None, ascii_only: bool, config: Path | None, run_dir: Path | None, as_json: bool
) -> None:
    """Show the newest plan."""
    plan = _read(find_run_dir(run_dir, config) / "plan.json")
    now_ms = time.time_ns() // 1_000_000
    problems = _problems(plan, now_ms)
    if as_json:
        emit("edge.plan/1", plan, problems, ok=not problems)
    else:
        wide = width or (shutil.get_terminal_size().columns if is_terminal() else DEFAULT_WIDTH)
        click.echo("\n".join(_text(plan, now_ms, wide, ascii_only)))
        for problem in problems:
            click.echo(f"{problem.code}  {problem.what}\n   {problem.do}", err=True)
    if problems:
        raise click.exceptions.Exit(Exit.DEGRADED)


def _read(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text("utf-8"))
        if not isinstance(plan, dict) or plan.get("schema") != "plan/1":
            raise ValueError("not a plan of this version")
        return plan
    except FileNotFoundError:
        what = say("no plan has been made yet", "还没有计划")
        do = say("Start the planner with `edge services`.", "用 `edge services` 启动计划服务。")
        fail(Problem("PLAN-001", str(path), what, do), Exit.NOT_RUNNING)
    except (OSError, ValueError) as error:
        what = say(f"the plan cannot be read: {error}", f"无法读取计划:{error}")
        do = say("Restart the services; they write it anew.", "请重启服务,计划会重新生成。")
        fail(Problem("PLAN-002", str(path), what, do), Exit.NO)


def _problems(plan: dict[str, Any], now_ms: int) -> list[Problem]:
    """Return why the plan is not what it should be."""
    found = []
    age_s = (now_ms - plan["made_utc_ms"]) / 1000
    do = say("See `edge status`, and the events of the planner.", "查看 `edge status` 和计划服务的事件。")
    if plan["status"] != "fresh":
        what = say(*LADDER.get(plan["status"], (plan["status"],) * 2))
        found.append(Problem("PLAN-003", "planner", what, do, "warning"))
    elif age_s > OLD_S:
        what = say(f"the plan is {age_s / 60:.0f} min old", f"计划已有 {age_s / 60:.0f} 分钟未更新")
        found.append(Problem("PLAN-004", "planner", what, do, "warning"))
    if plan["status"] != "rules" and not plan["posted"]:
        what = say("the controller has not accepted this plan", "控制器尚未接受此计划")
        found.append(Problem("PLAN-005", "controller", what, do, "warning"))
    return found


def _text(plan: dict[str, Any], now_ms: int, width: int, ascii_only: bool) -> list[str]:
    out = [_headline(plan, now_ms)]
    if plan["status"] != "rules":
        coming = _next(plan, now_ms)
        out += ["", *_chart(plan, width, ascii_only), "", *_money(plan), *([""] if coming else []), *coming]
    notes = [say(*FLAGS.get(flag, (flag, flag))) for flag in plan["flags"]]
    notes += [say(f"tariff: {note}", f"电价:{note}") for note in plan["notes"]]
    return out + ([""] if notes else []) + [f"{say('note', '注')}: {note}" for note in notes]


def _zone(plan: dict[str, Any]) -> ZoneInfo:
    try:
        return ZoneInfo(plan["time_zone"])
    except (LookupError, ValueError):
        return ZoneInfo("UTC")


def _clock(plan: dict[str, Any], utc_ms: int, form: str = "%H:%M") -> str:
    return datetime.fromtimestamp(utc_ms / 1000, _zone(plan)).strftime(form)


def _headline(plan: dict[str, Any], now_ms: int) -> str:
    grid = plan["grid"]
    first = _clock(plan, grid["t0_utc_ms"], "%Y-%m-%d %H:%M")
    last = _clock(plan, grid["t0_utc_ms"] + grid["n"] * grid["step_s"] * 1000, "%m-%d %H:%M")
    age_min = max(now_ms - plan["made_utc_ms"], 0) / 60_000
    made = _clock(plan, plan["made_utc_ms"])
    state = say(*LADDER.get(plan["status"], (plan["status"],) * 2))
    return say(
        f"{first} … {last} {plan['time_zone']}  {state}, made {made} ({age_min:.0f} min ago)",
        f"{first} … {last} {plan['time_zone']}  {state},{made} 生成({age_min:.0f} 分钟前)",
    )


def _chart(plan: dict[str, Any], width: int, ascii_only: bool) -> list[str]:
    n = plan["grid"]["n"]
    count = max(min(n, MAX_COLUMNS, width - LABEL - 1), MIN_COLUMNS)
    colour = is_terminal() and not ascii_only
    power = columns(plan["battery_kw"], count)
    top = max(max(map(abs, power)), 1.0)
    soc = columns(plan["soc"][1:], count)
    load = columns(plan["net_load_kw"], count)
    firsts = [k * n // count for k in range(count)]
    marks = [LEVELS.get(plan["levels"][k], ("?", "white", "", "")) for k in firsts]
    band = "".join(click.style(m[0], fg="black", bg=m[1]) if colour else m[0] for m in marks)
    up, down = bars_up(power, top, ROWS, ascii_only), bars_down(power, top, ROWS, ascii_only, colour)
    names = (say(f"+{top:.0f} kW", f"+{top:.0f} kW"), say("discharge", "放电"), say("charge", "充电"))
    rows = [("", letters(_hours(plan, firsts), count)), (say("price", "电价"), band)]
    rows += [(names[0] if k == 0 else names[1] if k == ROWS - 1 else "", up[k]) for k in range(ROWS)]
    low = f"-{top:.0f} kW"
    rows += [(names[2] if k == 0 else low if k == ROWS - 1 else "", down[k]) for k in range(ROWS)]
    rows += [
        (f"SOC {plan['soc'][0]:.0%}", line(soc, 0.0, 1.0, ascii_only)),
        (say("net load", "净负荷"), line(load, min(*load, 0.0), max(*load, 1.0), ascii_only)),
    ]
    kinds = dict.fromkeys(plan["levels"])
    legend = "  ".join(f"{LEVELS[k][0]} {say(*LEVELS[k][2:])}" for k in LEVELS if k in kinds)
    return [f"{pad(name, LABEL)}{row}".rstrip() for name, row in rows] + [legend]


def _hours(plan: dict[str, Any], firsts: list[int]) -> list[tuple[int, str]]:
    """Return (column, label) where a third hour of the day begins."""
    step_ms = plan["grid"]["step_s"] * 1000
    stamps = [_clock(plan, plan["grid"]["t0_utc_ms"] + k * step_ms) for k in firsts]
    found, before = [], ""
    for column, stamp in enumerate(stamps):
        hour = stamp[:2]
        if hour != before and int(hour) % 3 == 0:
            found.append((column, hour))
        before = hour
    return found


def _money(plan: dict[str, Any]) -> list[str]:
    """Return the bill with and without the batteries."""
    with_, idle = plan["money"], plan["idle"]
    rows = [
        (say("", ""), say("plan", "计划"), say("no battery", "无电池")),
        (say("energy", "电量电费"), with_["energy_cny"], idle["energy_cny"]),
        (say("demand, share of a day", "需量电费(日摊)"), with_["demand_cny"], idle["demand_cny"]),
        (say("bill", "电费合计"), plan["cost_cny"], plan["idle_cost_cny"]),
        (say("battery wear", "电池损耗"), with_["wear_cny"], idle["wear_cny"]),
        (say("stored at the end", "期末储能价值"), 0.0 - with_["stored_cny"], 0.0 - idle["stored_cny"]),
    ]
    lines = [
        pad(str(name), 22)
        + "".join(pad(v if isinstance(v, str) else f"{v:,.2f}", 14, right=True) for v in values)
        for name, *values in rows
    ]
    saving = pad(f"{plan['saving_cny']:,.2f} CNY", 28, right=True)
    return [*lines, pad(say("saving", "节省"), 22) + saving]


def _next(plan: dict[str, Any], now_ms: int) -> list[str]:
    """Return what the batteries do next, one line for steps of the same kind."""
    t0, step_ms = plan["grid"]["t0_utc_ms"], plan["grid"]["step_s"] * 1000
    first = max((now_ms - t0) // step_ms, 0)
    groups: list[tuple[tuple[int, str], list[int]]] = []
    for k in range(first, plan["grid"]["n"]):
        power = plan["battery_kw"][k]
        kind = (0 if abs(power) < SMALL_KW else 1 if power > 0 else -1, plan["levels"][k])
        if groups and groups[-1][0] == kind:
            groups[-1][1].append(k)
        else:
            groups.append((kind, [k]))
    out = [say("next", "接下来")] if groups else []
    for (sign, level), steps in groups[:NEXT]:
        span = f"{_clock(plan, t0 + steps[0] * step_ms)}-{_clock(plan, t0 + (steps[-1] + 1) * step_ms)}"
        mean = abs(sum(plan["battery_kw"][k] for k in steps)) / len(steps)
        does = (say("wait", "待机"), say("discharge", "放电"), say("charge", "充电"))[sign]
        power = f"{mean:.0f} kW" if sign else ""
        price = f"{plan['price_cny_per_kwh'][steps[0]]:.4f} CNY/kWh"
        word = say(*LEVELS[level][2:]) if level in LEVELS else level
        out.append(f"  {span}  {pad(does, 10)}{pad(power, 8, right=True)}  {word} {price}")
    return out
