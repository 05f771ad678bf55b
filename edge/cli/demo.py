"""``edge demo``: a complete simulated site over real protocols, watched live, judged at the end."""

import json
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edge.cli.common import fail, is_terminal, option, say, table, verb
from edge.cli.names import battery_power
from edge.cli.status import device_table, summary
from models.answer import Exit
from models.errors import Problem, YunchuError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edge.demo.measure import Order

SETPOINT_AT_S = 20.0
SETPOINT_FOR_S = 15.0
JOIN_S = 5.0
MIN_S = 45.0
"""Shorter than this, the setpoint cannot come, be followed and expire."""
LOOK_S = 0.5
LINE_EVERY_S = 5.0
MOVE_KW = 30.0
"""The fleet asks for at least this much change."""


@verb(
    "demo",
    en="Run a complete simulated site over real protocols; touches no hardware and nothing beyond loopback.",
    zh="用真实协议运行一个完整的仿真站点;不接触任何硬件,仅使用本机回环。",
    examples="edge demo --for 60s\nedge demo --for 60s --json report.json\nedge demo",
)
@option(
    "--for",
    "span",
    default=None,
    en="Stop after this time and judge, like 60s.",
    zh="运行时长,如 60s,结束后评判。",
)
@option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path),
        en="Write the report to this file.", zh="将报告写入该文件。")  # fmt: skip
@option("--dir", "folder", type=click.Path(file_okay=False, path_type=Path),
        en="Keep everything in this folder.", zh="把所有文件保存在该目录。")  # fmt: skip
@option("--seed", default=1, en="Seed of load, clouds and grid.", zh="负荷、云和电网的随机种子。")
def command(span: str | None, json_file: Path | None, folder: Path | None, seed: int) -> None:
    """Run the demo."""
    from edge.cli.why import seconds

    length_s = float(seconds(span)) if span else None
    if length_s is not None and length_s < MIN_S:
        raise click.BadParameter(say(f"at least {MIN_S:.0f}s", f"至少 {MIN_S:.0f}s"), param_hint="--for")
    with tempfile.TemporaryDirectory(prefix="yunchu-demo-") as temporary:
        where = folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        report = Show(where, seed, length_s).run()
    if report is None:
        return
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    raise click.exceptions.Exit(Exit.OK if report["ok"] else Exit.NO)


class Show:
    """One performance."""

    def __init__(self, folder: Path, seed: int, length_s: float | None) -> None:
        """Args: where everything is kept; length None runs until Ctrl-C."""
        from edge.demo.scene import Scene

        self._scene = Scene(folder, seed)
        self._length_s = length_s
        self._stop = threading.Event()
        self._answer: dict[str, Any] = {}

    def run(self) -> dict[str, Any] | None:
        """Perform; return the report, None when it was stopped by hand."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._interrupt)
        try:
            self._open()
            return self._play()
        except YunchuError as error:
            do = say(
                "Run it with --dir FOLDER and look at the logs there.",
                "用 --dir FOLDER 运行并查看其中的日志。",
            )
            fail(Problem("DEMO-001", "demo", str(error), do), Exit.NO)
        finally:
            self._scene.close()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()

    def _open(self) -> None:
        """Start everything, one line a step."""
        for en, zh, do in self._scene.steps():
            began = time.monotonic()
            click.echo(f"  {say(en, zh)} …", nl=False)
            do()
            click.echo(f" {time.monotonic() - began:.1f} s")

    def _play(self) -> dict[str, Any] | None:
        from edge.demo.measure import checks, measure

        scene = self._scene
        facts = scene.facts()
        assert facts is not None
        first_cycle, before = facts["cycle"], scene.plant.violations()
        began = time.monotonic()
        director = threading.Thread(target=self._direct, args=(began,), daemon=True)
        director.start()
        self._watch(began)
        if self._length_s is None or self._stop.is_set():
            return None
        director.join(JOIN_S)
        report = measure(scene, first_cycle, before, self._order())
        rows = checks(report, self._length_s, scene.config.period_ms / 1000)
        click.echo(
            "\n"
            + table([say("check", "检查"), ""], [[say(en, zh), "✓" if ok else "✗"] for en, zh, ok in rows])
        )
        return {"ok": all(ok for *_, ok in rows), **report}

    def _direct(self, began: float) -> None:
        """Let the fleet send a setpoint 20 s in; what it answers is kept."""
        if self._stop.wait(max(0.0, began + SETPOINT_AT_S - time.monotonic())):
            return
        facts = self._scene.facts()
        if facts is None:
            return
        p_kw = choose_kw(facts["decision"])
        words = ("dispatch", "demo", f"{p_kw:.0f}kW", "--for", f"{SETPOINT_FOR_S:.0f}s", "--wait", "--clip")
        with self._scene.fleet(*words) as asked:
            out, err = asked.communicate()
        self._answer = json.loads(out) if out else {"ok": False, "error": err}

    def _order(self) -> "Order | None":
        from edge.demo.measure import as_order

        return as_order(self._answer["data"]) if self._answer.get("data") else None

    def _watch(self, began: float) -> None:
        """Show the site until the time is over or somebody stops it."""
        end = began + self._length_s if self._length_s is not None else float("inf")
        if is_terminal():
            self._watch_live(began, end)
            return
        next_line = began
        while time.monotonic() < end and not self._stop.wait(LOOK_S):
            facts = self._scene.facts()
            if facts is not None and time.monotonic() >= next_line:
                click.echo(f"{time.monotonic() - began:5.1f} s  {one_line(facts)}")
                next_line += LINE_EVERY_S

    def _watch_live(self, began: float, end: float) -> None:
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(file=sys.stdout), refresh_per_second=2) as live:
            while time.monotonic() < end and not self._stop.wait(LOOK_S):
                facts = self._scene.facts()
                if facts is not None:
                    live.update(picture(facts, time.monotonic() - began, self._length_s))


def choose_kw(decision: dict[str, Any]) -> float:
    """Return a setpoint that the site can follow and that differs from what it does now."""
    lo, hi, now = decision["lo_kw"], decision["hi_kw"], decision["target_kw"]
    up = now + (hi - now) * 0.6 if hi - now >= now - lo else now - (now - lo) * 0.6
    limited = max(now - MOVE_KW * 2, min(now + MOVE_KW * 2, up))
    return float(round(limited))


def one_line(facts: dict[str, Any]) -> str:
    """Return the site in one line."""
    power, decision = facts["power"], facts["decision"]
    soc = "—" if power["soc"] is None else f"{100 * power['soc']:.1f} %"
    grid = "—" if power["grid_kw"] is None else f"{power['grid_kw']:.1f} kW"
    state, winner = facts["state"], decision["winner"] if decision else "—"
    return (
        f"{state:<9} {battery_power(power['battery_kw']):<20} SOC {soc}  grid {grid}  "
        f"by {winner}  cycle {facts['cycle']}  missed {facts['missed']}"
    )


def picture(facts: dict[str, Any], passed_s: float, length_s: float | None) -> "RenderableType":
    """Return the live picture: the status, the devices, the progress."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    bar = ProgressBar(total=length_s or passed_s, completed=passed_s, width=60)
    clock = f"{passed_s:5.1f} s" + (
        f" / {length_s:.0f} s" if length_s else say("  (Ctrl-C ends)", "  (Ctrl-C 结束)")
    )
    body = "\n".join([*summary(facts), "", device_table(facts)])
    return Group(Panel(Text(body), title="yunchu", width=100), bar, Text(clock))
