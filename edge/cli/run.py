"""``edge run``: the controller of one site, in the foreground."""

from pathlib import Path

from edge.cli.common import (
    config_option,
    end,
    fail,
    find_config,
    json_at_end_option,
    run_dir_option,
    say,
    verb,
)
from models.answer import Exit
from models.errors import BusyError, ConfigError, Problem


@verb(
    "run",
    en="Run the controller: read devices, decide every cycle, write setpoints. Ends with SIGTERM or Ctrl-C.",
    zh="运行控制器:读取设备,每个周期决策,下发设定值。用 SIGTERM 或 Ctrl-C 结束。",
    examples="edge run --config /etc/yunchu/site.toml\nedge run --json",
)
@config_option
@run_dir_option
@json_at_end_option
def command(config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """Start the controller of the site that the configuration describes."""
    from edge.controller.main import run

    path = find_config(config)
    try:
        code = run(path, run_dir)
    except ConfigError:
        raise
    except BusyError as error:
        do = say("Stop the other controller first, or look at it with `edge status`.",
                 "请先停止另一个控制器,或用 `edge status` 查看。")  # fmt: skip
        fail(Problem("RUN-002", str(path), str(error), do), Exit.BUSY)
    end("run", code, as_json)
