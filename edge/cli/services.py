"""``edge services``: planner, recorder and uplink of one site, in the foreground."""

from pathlib import Path

from edge.cli.common import config_option, end, find_config, json_at_end_option, run_dir_option, verb


@verb(
    "services",
    en="Run planner, recorder and uplink. The controller goes on without them. Ends with SIGTERM or Ctrl-C.",
    zh="运行计划、记录和上行服务;没有它们控制器也能继续。用 SIGTERM 或 Ctrl-C 结束。",
    examples="edge services --config /etc/yunchu/site.toml\nedge services --json",
)
@config_option
@run_dir_option
@json_at_end_option
def command(config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """Start the services of the site that the configuration describes."""
    from edge.services.main import run

    end("services", run(find_config(config), run_dir), as_json)
