"""``edge watch``: the site live in a terminal, readable over a 9,600-baud console.

curses sends only the cells that change; once a second, a full screen of moving values is about 0.3 kB/s.
With ``--json`` the status as a stream, one envelope a line. Reads the same files as ``edge status``; nothing
here can write to the site.
"""

import contextlib
import curses
import itertools
import locale
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edge.cli.common import (
    config_option,
    emit,
    find_run_dir,
    json_option_for,
    option,
    run_dir_option,
    say,
    verb,
)
from edge.cli.facts import gather
from edge.cli.points import age, number
from edge.cli.status import device_table, last_line, problems, summary
from edge.glance import Glance
from models.errors import Problem, StoreError

Page = Callable[[Path], list[str]]


def site_page(folder: Path) -> list[str]:
    """Return the site at a glance: powers, decision, devices, what is wrong."""
    facts: dict[str, Any] = gather(folder)
    wrong = [f"! {p.where}  {p.what}. {p.do}" for p in problems(facts)]
    return [*summary(facts), "", *device_table(facts).splitlines(), "", *wrong]


def points_page(folder: Path) -> list[str]:
    """Return every point, one a line."""
    return [
        f"{p.name:<28}{number(p):>12} {p.symbol:<5}{p.quality:<10}{age(p):>8}"
        for p in Glance(folder).points()
    ]


def events_page(folder: Path) -> list[str]:
    """Return the last events, the newest first."""
    from edge.events import tail

    return [
        f"{e['code']:<18}{e['where']:<14}{last_line(e['what'])}"
        for e in reversed(tail(folder / "events.jsonl", 40))
    ]


PAGES: dict[str, tuple[str, str, Page]] = {
    "1": ("site", "站点", site_page),
    "2": ("points", "点", points_page),
    "3": ("events", "事件", events_page),
}


@verb(
    "watch",
    en="Watch the site live. Keys: 1 site, 2 points, 3 events, j/k scroll, q quit. Cannot change anything.",
    zh="实时查看站点。按键:1 站点,2 点,3 事件,j/k 滚动,q 退出。不会改动任何东西。",
    examples="edge watch\nedge watch --every 5\nedge watch --json --count 3",
)
@option(
    "--every", type=click.FloatRange(0.2, 60), default=1.0, en="Seconds between updates.", zh="刷新间隔(秒)。"
)
@option(
    "--count",
    type=click.IntRange(1),
    en="With --json: end after so many updates; without it only Ctrl-C ends.",
    zh="与 --json 同用:输出若干次后结束;不指定则只能用 Ctrl-C 结束。",
)
@config_option
@run_dir_option
@json_option_for(
    en="Print the status at every update, one JSON envelope a line, instead of drawing.",
    zh="每次刷新输出一行 JSON 信封(内容同 status),不绘制界面。",
)
def command(
    every: float, count: int | None, config: Path | None, run_dir: Path | None, as_json: bool
) -> None:
    """Watch until q; as a stream until Ctrl-C or the end of the count."""
    if count is not None and not as_json:
        raise click.UsageError(say("--count needs --json", "--count 须与 --json 同用"))
    folder = find_run_dir(run_dir, config)
    if as_json:
        with contextlib.suppress(KeyboardInterrupt):
            _stream(folder, every, count)
        return
    locale.setlocale(locale.LC_ALL, "")
    with contextlib.suppress(KeyboardInterrupt):
        curses.wrapper(_loop, folder, every)


def _stream(folder: Path, every: float, count: int | None) -> None:
    for k in itertools.count() if count is None else range(count):
        if k:
            time.sleep(every)
        try:
            facts = gather(folder)
        except StoreError as error:
            do = say("Wait until the controller runs again.", "等待控制器重新运行。")
            emit("edge.watch/1", None, [Problem("RUN-001", str(folder), str(error), do)], ok=False)
        else:
            emit("edge.watch/1", facts, problems(facts), ok=facts["state"] == "running")


def _loop(screen: "curses.window", folder: Path, every: float) -> None:
    with contextlib.suppress(curses.error):
        curses.curs_set(0)
    screen.timeout(round(every * 1000))
    page, top = "1", 0
    while True:
        _draw(screen, folder, page, top)
        key = screen.getch()
        if key in (ord("q"), 27):
            return
        if 0 <= key < 256 and chr(key) in PAGES:
            page, top = chr(key), 0
        top = max(0, top + {ord("j"): 1, curses.KEY_DOWN: 1, ord("k"): -1, curses.KEY_UP: -1}.get(key, 0))


def _draw(screen: "curses.window", folder: Path, page: str, top: int) -> None:
    try:
        lines = PAGES[page][2](folder)
    except StoreError as error:
        lines = [str(error)]
    height, width = screen.getmaxyx()
    keys = "  ".join(f"{key} {say(*words[:2])}" for key, words in PAGES.items())
    footer = f"{keys}  j/k  q {say('quit', '退出')}"
    screen.erase()
    for row, line in enumerate([*lines[top : top + height - 2], *[""] * height][: height - 1]):
        _put(screen, row, line, width)
    _put(screen, height - 1, footer, width)
    screen.refresh()


def _put(screen: "curses.window", row: int, text: str, width: int) -> None:
    """Write one line; a terminal that cannot show a character, or is too small, must not end the program."""
    with contextlib.suppress(curses.error, UnicodeEncodeError):
        screen.addnstr(row, 0, text, max(0, width - 1))
