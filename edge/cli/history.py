"""``edge history``: recorded points as small charts, a table, CSV or JSON; and the events."""

import csv
import fnmatch
import io
import math
import re
import shutil
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.chart import columns as averages
from edge.cli.chart import line
from edge.cli.common import (
    config_option,
    emit,
    fail,
    find_run_dir,
    is_terminal,
    json_option,
    option,
    run_dir_option,
    say,
    table,
    verb,
)
from models.answer import Exit
from models.errors import Problem

if TYPE_CHECKING:
    from edge.history import History

UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
STEPS_S = (1, 5, 15, 60, 300, 900, 3600, 86_400)
SAMPLES = 240
"""Without --step, the finest step that gives no more samples than this."""
MAX_SAMPLES = 1_000_000
MIN_CHART = 10
EVENT_TITLES = (("time", "时间"), ("source", "来源"), ("code", "代码"), ("where", "位置"), ("what", "内容"))
CHART_TITLES = (("point", "点"), ("min", "最小"), ("mean", "平均"), ("max", "最大"), ("last", "最新"))

Values = list[float | None]


def seconds(text: str) -> float:
    """Return a span like 15s, 10min, 1h or 7d in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|min|h|d|w)", text)
    if match is None or not float(match[1]):
        what = (
            f"{text!r} is no span like 15s, 10min, 1h or 7d",
            f"{text!r} 不是 15s、10min、1h、7d 这样的时长",
        )
        raise click.BadParameter(say(*what))
    return float(match[1]) * UNITS_S[match[2]]


def clock(utc_ms: int) -> str:
    """Return a time as people read it, in the zone of this computer."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(utc_ms / 1000))


def last_line(text: str) -> str:
    """Return the line of a message, or of a traceback, that says what it is."""
    return (text.strip().splitlines() or [""])[-1]


def find_file(file: Path | None, run_dir: Path | None, config: Path | None) -> Path:
    """Return the history file that is meant: named, of the site file, or of the site that runs here."""
    from edge.glance import Glance
    from edge.history import FILE

    if file is not None:
        return file
    if run_dir is None and config is not None:
        try:
            state_dir = tomllib.loads(config.read_text("utf-8-sig"))["site"]["state_dir"]
            return config.parent / str(state_dir) / FILE
        except (OSError, ValueError, LookupError, TypeError) as error:
            do = say("Run `edge check` to see what is wrong.", "运行 `edge check` 查看问题。")
            fail(Problem("CFG-002", str(config), str(error), do), Exit.CONFIG)
    return Glance(find_run_dir(run_dir, config)).state_dir / FILE


def chosen(known: list[str], patterns: tuple[str, ...]) -> list[str]:
    """Return the known points that a pattern or a part of a name means."""
    found = dict.fromkeys(
        name for pattern in patterns for name in known if fnmatch.fnmatch(name, pattern) or name == pattern
    )
    return list(found) or [name for name in known if any(pattern in name for pattern in patterns)]


def list_points(history: "History", as_json: bool) -> None:
    """Show what has been recorded."""
    span, points = history.span(), history.points()
    if as_json:
        first, last = span or (None, None)
        emit("edge.history/1", {"points": points, "first_utc_ms": first, "last_utc_ms": last})
        return
    for name in points:
        click.echo(name)
    if span:
        stretch = f"{clock(span[0])} … {clock(span[1])}"
        click.echo(say(f"recorded: {stretch}", f"记录时段:{stretch}"), err=True)


def list_events(history: "History", since_ms: int, until_ms: int, as_json: bool) -> None:
    """Show what happened."""
    events = history.events(since_ms, until_ms)
    if as_json:
        emit("edge.history.events/1", events)
        return
    rows = [
        [clock(event["t_ms"]), event["source"], event["code"], event["where"], last_line(event["what"])]
        for event in events
    ]
    click.echo(table([say(*title) for title in EVENT_TITLES], rows))


def shown(value: float | None) -> str:
    """Return a number as a person would write it."""
    return "—" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def charts(columns: dict[str, Values]) -> list[str]:
    """Return one line a point: its smallest, mean, largest and last value, and its course."""
    rows = []
    for name, values in columns.items():
        good = [value for value in values if value is not None]
        stats = (min(good), sum(good) / len(good), max(good), good[-1]) if good else (None,) * 4
        rows.append([name, *map(shown, stats)])
    lines = table([say(*title) for title in CHART_TITLES], rows, right=(1, 2, 3, 4)).splitlines()
    width = max(len(text) for text in lines)
    room = shutil.get_terminal_size((100, 25)).columns - width - 3
    if room < MIN_CHART:
        return lines
    for at, values in enumerate(columns.values(), 1):
        good = [value for value in values if value is not None]
        low, high = (min(good), max(good)) if good else (0.0, 1.0)
        known = [low if value is None else value for value in values]
        course = line(averages(known, min(room, len(known))), low, high, ascii_only=False)
        lines[at] += " " * (width - len(lines[at])) + "  " + course
    return lines


def as_csv(t_ms: list[int], columns: dict[str, Values]) -> str:
    """Return the samples as CSV; times are ISO 8601 in UTC, gaps are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["utc", *columns])
    for at, ms in enumerate(t_ms):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"
        writer.writerow([stamp, *("" if values[at] is None else values[at] for values in columns.values())])
    return out.getvalue()


def show(t_ms: list[int], step_s: float, columns: dict[str, Values], form: str) -> None:
    """Print the samples."""
    if form == "json":
        emit("edge.history/1", {"step_s": step_s, "t_ms": t_ms, "points": columns})
    elif form == "csv":
        click.echo(as_csv(t_ms, columns), nl=False)
    elif form == "charts":
        click.echo("\n".join(charts(columns)))
    else:
        rows = [
            [clock(ms), *(shown(values[at]) for values in columns.values())] for at, ms in enumerate(t_ms)
        ]
        click.echo(table([say("time", "时间"), *columns], rows, right=range(1, len(columns) + 1)))


def step_for(span_s: float, step: str | None) -> float:
    """Return the step to use; refuse one that gives more samples than anybody can want."""
    step_s = seconds(step) if step else next((s for s in STEPS_S if span_s / s <= SAMPLES), STEPS_S[-1])
    if step_s < 1 or span_s / step_s > MAX_SAMPLES:
        what = (
            f"a step of {step_s:g} s over {span_s:g} s is too fine",
            f"{span_s:g} s 内取 {step_s:g} s 步长过细",
        )
        raise click.BadParameter(say(*what))
    return step_s


@verb(
    "history",
    en="Show recorded points: charts on a terminal, a table when piped. Without POINT: what is recorded.",
    zh="显示历史数据:终端上为图形,管道中为表格。不给 POINT 时列出已记录的点。",
    examples=(
        "edge history\nedge history meter-1/p_kw site/net_load_kw --since 6h\n"
        "edge history 'bms-1/*' --since 1d --step 15min --csv > day.csv\nedge history --events --since 1d"
    ),
)
@click.argument("points", nargs=-1, metavar="[POINT]...")
@option(
    "--since", default="1h", show_default=True, en="From how long ago: 15min, 1h, 7d.", zh="从多久以前开始。"
)
@option("--until", default=None, en="Up to how long ago; default now.", zh="到多久以前为止;默认到现在。")
@option("--step", default=None, en="Width of one sample: 1s, 15s, 15min.", zh="采样步长。")
@option("--csv", "want_csv", is_flag=True, en="Print CSV.", zh="输出 CSV。")
@option("--events", "want_events", is_flag=True, en="Show events instead of points.", zh="显示事件。")
@option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    en="A history.db; default that of the site.",
    zh="指定 history.db;默认为本站点的文件。",
)
@config_option
@run_dir_option
@json_option
def command(points: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Show or export what was recorded."""
    from edge.history import History

    since_s, until_s = seconds(given["since"]), seconds(given["until"]) if given["until"] else 0.0
    if since_s <= until_s:
        raise click.BadParameter(say("--since must be longer ago than --until", "--since 必须早于 --until"))
    step_s = step_for(since_s - until_s, given["step"])
    now_ms = time.time_ns() // 1_000_000
    since_ms, until_ms = now_ms - round(since_s * 1000), now_ms - round(until_s * 1000)
    history = History.open(find_file(given["file"], given["run_dir"], given["config"]))
    try:
        if given["want_events"]:
            return list_events(history, since_ms, until_ms, as_json)
        if not points:
            return list_points(history, as_json)
        names = chosen(history.points(), points)
        if not names:
            what = say(
                f"no recorded point matches {' '.join(points)}", f"没有匹配 {' '.join(points)} 的记录点"
            )
            do = say("List them with `edge history`.", "用 `edge history` 列出全部。")
            fail(Problem("HIS-001", str(history.path), what, do), Exit.NO)
        t_ms, values = history.read_many(names, since_ms, until_ms, step_s)
    finally:
        history.close()
    form = "json" if as_json else "csv" if given["want_csv"] else "charts" if is_terminal() else "table"
    show(t_ms.tolist(), step_s, {name: plain(values[:, at].tolist()) for at, name in enumerate(names)}, form)


def plain(values: list[float]) -> Values:
    """Return the values with None for what is not known."""
    return [None if math.isnan(value) else value for value in values]
