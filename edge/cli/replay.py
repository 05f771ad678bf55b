"""``edge replay``: run recorded cycles again, and show what this version would do differently."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.common import (
    config_option,
    emit,
    fail,
    find_run_dir,
    json_option,
    run_dir_option,
    say,
    table,
    verb,
)
from models.answer import Exit
from models.errors import Problem

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from edge.replay import Replay, Result

TITLES = (
    ("field", "字段"), ("cycles", "周期数"), ("first cycle", "首个周期"), ("recorded", "记录值"),
    ("now", "重放值"), ("largest", "最大差值"),
)  # fmt: skip


def run(path: Path, show_progress: bool) -> "Replay":
    """Replay a whole file; on a terminal with a progress bar on stderr."""
    from edge.replay import Replay, stretches

    replay = Replay()
    step: Callable[[float], None] | None = None
    with ExitStack() as stack:
        if show_progress:
            from rich.console import Console
            from rich.progress import Progress

            bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
            task = bar.add_task(say("replaying", "重放中"), total=1.0)
            step = partial(_advance, bar, task)
        for site_toml, rows, done in stretches(path):
            replay.add(site_toml, rows)
            if step:
                step(done)
    return replay


def _advance(bar: "Progress", task: "TaskID", done: float) -> None:
    bar.update(task, completed=done)


def words(result: "Result") -> list[str]:
    """Return the result as text."""
    n, m = result.cycles, result.differing
    lines = [say(f"{n} cycles, {m} differences", f"{n} 个周期,{m} 处差异")]
    if result.skipped:
        lines.append(
            say(
                f"{result.skipped} cycles have another layout and cannot be run by this version",
                f"{result.skipped} 个周期的记录格式不同,本版本无法重放",
            )
        )
    if not m:
        return lines
    largest = f"{result.largest_setpoint_kw:.3f} kW"
    lines.append(
        say(
            f"first in cycle {result.first_cycle}; setpoints differ by up to {largest}",
            f"首个差异周期 {result.first_cycle};设定值最大相差 {largest}",
        )
    )
    rows = [
        [d.name, d.cycles, d.first_cycle, _text(d.recorded), _text(d.replayed), _text(d.largest)]
        for d in result.differences.values()
    ]
    return [*lines, "", table([say(*title) for title in TITLES], rows, right=(1, 2, 3, 4, 5))]


def _text(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.6g}"


@verb(
    "replay",
    en="Run recorded cycles again. FILE is a ring or a history.db; without it, the ring of the running site.",
    zh="重放已记录的周期。FILE 为 ring 或 history.db;不给则用运行中站点的 ring。",
    examples="edge replay\nedge replay /var/lib/yunchu/history.db\nedge replay ring --json",
)
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@config_option
@run_dir_option
@json_option
def command(file: Path | None, config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """Replay a file; exit code 1 when something differs."""
    path = file or find_run_dir(run_dir, config) / "ring"
    replay = run(path, show_progress=not as_json and sys.stderr.isatty())
    result = replay.result
    if not result.cycles:
        what = say("there is no cycle in it that can be replayed", "其中没有可重放的周期")
        do = say("Use a file that this version has recorded.", "请使用本版本记录的文件。")
        fail((replay.problems or [Problem("REP-001", str(path), what, do)])[0], Exit.NO)
    same = result.differing == 0
    if as_json:
        data = {**asdict(result), "differences": [asdict(d) for d in result.differences.values()]}
        emit("edge.replay/1", data, replay.problems, ok=same)
    else:
        click.echo("\n".join(words(result)))
    raise click.exceptions.Exit(Exit.OK if same else Exit.NO)
