"""``edge bus``: what the lines carry: load, errors, ages, reply times; the plan before a start; frames."""

import contextlib
import time
from pathlib import Path
from typing import Any

import click

from edge.cli.common import (
    config_option,
    emit,
    fail,
    find_config,
    find_run_dir,
    json_option,
    language,
    option,
    run_dir_option,
    say,
    table,
    verb,
)
from edge.glance import Glance, PointNow
from edge.mailbox import FIELD_SOCKET, ask
from models.answer import Exit
from models.errors import LinkError, Problem

SCHEMA = "edge.bus/1"
SAMPLE_S = 1.0
"""Rates are counted over this time."""
LOOK_S = 0.2
"""Frames are fetched this often."""
FULL, HIGH = 0.9, 0.7
LINE_HEAD = (
    ("line", "线路"),
    ("requests/s", "请求/秒"),
    ("busy", "占用率"),
    ("longest wait", "最长等待"),
    ("", ""),
)
UNIT_HEAD = (
    ("line", "线路"),
    ("unit", "地址"),
    ("requests/s", "请求/秒"),
    ("no reply", "无应答"),
    ("bad", "错误应答"),
    ("refused", "拒绝"),
    ("slowest reply", "最慢应答"),
    ("timeout", "超时"),
)
AGE_HEAD = (
    ("device", "设备"),
    ("online", "在线"),
    ("oldest point", "最旧的点"),
    ("age", "年龄"),
    ("not good", "异常点"),
)
PLAN_HEAD = (
    ("line", "线路"),
    ("device", "设备"),
    ("requests/s", "请求/秒"),
    ("busy", "占用率"),
    ("oldest point", "最旧的点"),
    ("age", "年龄"),
    ("", ""),
)


@verb(
    "bus",
    en="Show what the lines carry: load, errors by kind, ages, reply times. LINE is a part of its name.",
    zh="显示各线路的流量:负载、各类错误、数据年龄、应答时间。LINE 为线路名的一部分。",
    examples="edge bus\nedge bus --plan\nedge bus ttyUSB0 --raw\nedge bus --json",
)
@click.argument("line", default="")
@option(
    "--plan",
    is_flag=True,
    en="The load that the site file means, without a controller.",
    zh="按站点文件预估负载,无需控制器。",
)
@option("--raw", is_flag=True, en="Frames as they go, until Ctrl-C.", zh="实时显示报文,直到 Ctrl-C。")
@option("--count", type=int, default=0, en="End after so many frames.", zh="显示若干报文后结束。")
@config_option
@run_dir_option
@json_option
def command(
    line: str, plan: bool, raw: bool, count: int, config: Path | None, run_dir: Path | None, as_json: bool
) -> None:
    """Show the traffic, the plan, or frames."""
    if plan:
        _plan(line, find_config(config), as_json)
        return
    folder = find_run_dir(run_dir, config)
    if raw:
        _frames(folder, line, count, as_json)
    else:
        _traffic(folder, line, as_json)


def _lines(folder: Path, part: str) -> list[dict[str, Any]]:
    """Return what the controller says of its lines; or end the command."""
    try:
        answer = ask(folder / FIELD_SOCKET, {"v": 1, "kind": "lines"})
    except LinkError as error:
        do = say("Start it with `edge run`; before that, `edge bus --plan` shows what to expect.",
                 "用 `edge run` 启动;启动前可用 `edge bus --plan` 预估。")  # fmt: skip
        fail(Problem("RUN-001", str(folder), str(error), do), Exit.NOT_RUNNING)
    lines: list[dict[str, Any]] = [one for one in answer["lines"] if part in one["line"]]
    if not lines:
        known = ", ".join(one["line"] for one in answer["lines"])
        what = say(f"no line is named {part!r}", f"没有名为 {part!r} 的线路")
        fail(Problem("BUS-003", part or str(folder), what, say(f"Known: {known}", f"已有:{known}")), Exit.NO)
    return lines


# traffic


def _traffic(folder: Path, part: str, as_json: bool) -> None:
    before, start_s = _lines(folder, part), time.monotonic()
    time.sleep(SAMPLE_S)
    lines, took_s = _lines(folder, part), time.monotonic() - start_s
    for line, earlier in zip(lines, before, strict=True):
        for unit, seen in line["units"].items():
            known = earlier["units"].get(unit, {"requests": 0})
            seen["requests_per_s"] = (seen["requests"] - known["requests"]) / took_s
    wanted = {name for line in lines for name in line["devices"]}
    glance = Glance(folder)
    points = glance.points()
    devices = [
        _device(device, [p for p in points if p.device == device["name"]])
        for device in glance.devices()
        if device["name"] in wanted or not part
    ]
    if as_json:
        emit(SCHEMA, {"lines": lines, "devices": devices})
        return
    click.echo(table([say(*t) for t in LINE_HEAD], [_line_row(line) for line in lines], right=(1, 2, 3)))
    units = [_unit_row(line["line"], unit, seen) for line in lines for unit, seen in line["units"].items()]
    click.echo("\n" + table([say(*t) for t in UNIT_HEAD], units, right=range(1, 8)))
    yes, no = say("yes", "是"), say("no", "否")
    rows = [
        (d["name"], yes if d["online"] else no, d["oldest"], _span(d["age_s"]), d["not_good"])
        for d in devices
    ]
    click.echo("\n" + table([say(*t) for t in AGE_HEAD], rows, right=(3, 4)))


def _device(device: dict[str, Any], points: list[PointNow]) -> dict[str, Any]:
    """Return counters, and the oldest point, of one device."""
    aged = [point for point in points if point.age_s is not None]
    oldest = max(aged, key=lambda point: point.age_s or 0.0, default=None)
    bad = sum(point.quality != "GOOD" for point in points)
    name, age_s = (oldest.name.partition("/")[2], oldest.age_s) if oldest else ("", None)
    return {**device, "oldest": name, "age_s": age_s, "not_good": bad}


def _line_row(line: dict[str, Any]) -> tuple[str, ...]:
    rate = sum(unit["requests_per_s"] for unit in line["units"].values())
    remark = ""
    if not line["open"]:
        remark = say("not open", "未打开")
    elif line["busy"] > FULL:
        remark = say("full: values become old", "已满:数据会过期")
    elif line["busy"] > HIGH:
        remark = say("nearly full", "接近满载")
    return line["line"], f"{rate:.1f}", f"{line['busy']:.0%}", _span(line["wait_s"]), remark


def _unit_row(line: str, unit: str, seen: dict[str, Any]) -> tuple[object, ...]:
    errors = (seen["timeouts"], seen["bad_replies"], seen["refused"])
    times = (_span(seen["slowest_s"]), _span(seen["timeout_s"]))
    return (line, unit, f"{seen['requests_per_s']:.1f}", *errors, *times)


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    return f"{seconds * 1000:.0f} ms" if seconds < 1.0 else f"{seconds:.1f} s"


# the plan


def _plan(part: str, path: Path, as_json: bool) -> None:
    from edge.busplan import plans_of, warnings_of
    from edge.config import loads

    site = loads(path.read_text("utf-8-sig"), path, check_files=False, language=language())
    plans = [plan for plan in plans_of(site) if part in plan.endpoint.name]
    problems = warnings_of(plans, str(path), language())
    if as_json:
        data = [
            {
                "line": plan.endpoint.name,
                "devices": plan.devices,
                "unplanned": plan.unplanned,
                "busy": plan.load.utilisation,
                "requests_per_s": plan.load.requests_per_s,
                "worst_age_s": {f"{d}/{p}": age_s for (d, p), age_s in plan.load.worst_age_s.items()},
                "late": [f"{d}/{p}" for d, p in plan.load.late],
            }
            for plan in plans
        ]
        emit(SCHEMA, data, problems, ok=not problems)
    else:
        rows: list[tuple[object, ...]] = []
        for plan in plans:
            line = (plan.endpoint.name, f"{plan.load.requests_per_s:.1f}", f"{plan.load.utilisation:.0%}")
            for name in plan.devices:
                point, age_s = plan.oldest(name)
                rows.append((line[0], name, *line[1:], point, _span(age_s), ""))
                line = ("", "", "")
            for name in plan.unplanned:
                rows.append((line[0], name, *line[1:], "", "", say("known once it answers", "应答后可知")))
                line = ("", "", "")
        click.echo(table([say(*t) for t in PLAN_HEAD], rows, right=(2, 3, 5)))
        for problem in problems:
            click.echo(f"{problem.code}  {problem.what}\n   {problem.do}", err=True)
    if problems:
        raise click.exceptions.Exit(int(Exit.NO))


# frames


def _frames(folder: Path, part: str, count: int, as_json: bool) -> None:
    """Print what goes over one line, from now on."""
    lines = _lines(folder, part)
    if len(lines) > 1:
        names = ", ".join(line["line"] for line in lines)
        what = say("there are several lines", "有多条线路")
        fail(Problem("BUS-004", "--raw", what, say(f"Name one: {names}", f"请指定一条:{names}")), Exit.USAGE)
    seen, printed, first_ns = -1, 0, 0
    with contextlib.suppress(KeyboardInterrupt):
        while not count or printed < count:
            message = {"v": 1, "kind": "frames", "line": lines[0]["line"], "after": seen}
            try:
                answer = ask(folder / FIELD_SOCKET, message)
            except LinkError as error:
                do = say("It may have been stopped.", "控制器可能已停止。")
                fail(Problem("RUN-001", str(folder), str(error), do), Exit.NOT_RUNNING)
            if not answer["ok"]:
                fail(Problem(answer["code"], lines[0]["line"], answer["what"], answer["do"]), Exit.BUSY)
            for number, way, t_ns, data in answer["frames"][: count - printed if count else None]:
                if number > seen + 1:
                    click.echo(
                        say(f"… {number - seen - 1} left out", f"… 略去 {number - seen - 1} 条"), err=True
                    )
                seen, printed, first_ns = number, printed + 1, first_ns or t_ns
                _print_frame((t_ns - first_ns) / 1e9, way, bytes.fromhex(data), as_json)
            seen = max(seen, answer["newest"])
            time.sleep(LOOK_S)
        return
    raise click.exceptions.Exit(int(Exit.INTERRUPTED))


def _print_frame(t_s: float, way: str, data: bytes, as_json: bool) -> None:
    if as_json:
        emit("edge.bus.frame/1", {"t_s": t_s, "way": way, "data": data.hex()})
    else:
        click.echo(f"{t_s:10.4f}  {way}  [{len(data):3d}]  {data.hex(' ')}")
