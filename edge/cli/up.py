"""``edge up``: the whole gateway in one terminal, for development; on a site systemd starts each process."""

import signal
import sys
import threading
from pathlib import Path

from edge.cli.common import config_option, end, find_config, hint, json_at_end_option, run_dir_option, verb
from edge.launch import Launcher, Process
from edge.places import make_run_dir
from models.answer import Exit


def gateway_processes(config: Path, run_dir: Path) -> tuple[Process, ...]:
    """Return the literal list of what runs on a gateway."""
    edge = (sys.executable, "-m", "edge")
    where = ("--config", str(config), "--run-dir", str(run_dir))
    return (
        Process("controller", (*edge, "run", *where)),
        Process("services", (*edge, "services", *where)),
    )


@verb(
    "up",
    en="Run controller and services together, restarting what dies. Ends with SIGTERM or Ctrl-C.",
    zh="同时运行控制器和服务,异常退出会自动重启。用 SIGTERM 或 Ctrl-C 结束。",
    examples="edge up --config site.toml\nedge up --json",
)
@config_option
@run_dir_option
@json_at_end_option
def command(config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """Start everything that runs on a gateway and wait."""
    from edge.config import load

    path = find_config(config)
    folder = run_dir or load(path).run_dir
    make_run_dir(folder)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    launcher = Launcher(gateway_processes(path, folder), folder)
    launcher.start()
    hint(f"Running; logs are in {folder}. Ctrl-C stops.", f"运行中;日志在 {folder}。Ctrl-C 停止。")
    stop.wait()
    launcher.stop()
    end("up", Exit.OK, as_json)
