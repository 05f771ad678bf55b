"""What every verb of ``edge`` shares: language, the envelope, options, failing well, tables, the run folder.

Light on purpose: importing this module brings in click and nothing else that is not in the standard library.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from edge.language import of_environment
from edge.places import run_dir
from models.answer import Exit, envelope
from models.errors import Problem
from models.language import tr

LANGUAGE_KEY = "yunchu.language"
JSON_KEY = "yunchu.json"
SYSTEM_CONFIG = Path("/etc/yunchu/site.toml")
SYSTEM_RUN_DIR = Path("/run/yunchu")

__all__ = [
    "config_option",
    "emit",
    "end",
    "fail",
    "fail_all",
    "find_config",
    "find_run_dir",
    "hint",
    "is_terminal",
    "json_at_end_option",
    "json_option",
    "json_option_for",
    "language",
    "not_running",
    "option",
    "pad",
    "run_dir",
    "run_dir_option",
    "say",
    "table",
    "verb",
]

F = TypeVar("F", bound=Callable[..., Any])


def language() -> str:
    """Return the wanted language: ``--lang``, else $YUNCHU_LANG, else $LANG, else English."""
    context = click.get_current_context(silent=True)
    chosen = context.meta.get(LANGUAGE_KEY) if context else None
    return str(chosen or of_environment())


def say(en: str, zh: str) -> str:
    """Return the text in the wanted language."""
    return tr(language(), en, zh)


def hint(en: str, zh: str) -> None:
    """Print a hint to stderr, where it does not disturb the data."""
    click.echo(say(en, zh), err=True)


def emit(schema: str, data: Any, problems: Sequence[Problem] = (), ok: bool = True) -> None:
    """Print the one envelope of a ``--json`` answer to stdout."""
    import json

    answer = envelope(schema, data, problems, ok=ok, time_ms=time.time_ns() // 1_000_000)
    click.echo(json.dumps(answer, ensure_ascii=False, default=str))


def fail(problem: Problem, exit_code: Exit) -> NoReturn:
    """End the command: the problem goes to stderr, or as the envelope to stdout under ``--json``."""
    fail_all([problem], exit_code)


def fail_all(problems: Sequence[Problem], exit_code: Exit) -> NoReturn:
    """End the command with several problems; see :func:`fail`."""
    context = click.get_current_context(silent=True)
    if context and context.meta.get(JSON_KEY):
        emit(f"edge.{context.invoked_subcommand or context.info_name}/1", None, problems, ok=False)
    else:
        for problem in problems:
            click.echo(f"{problem.where}  {problem.code}  {problem.what}\n   {problem.do}", err=True)
    raise click.exceptions.Exit(int(exit_code))


def end(verb_name: str, code: int, as_json: bool) -> NoReturn:
    """End a verb that has run its time; under ``--json`` its envelope says how."""
    if as_json:
        emit(f"edge.{verb_name}/1", {"exit": code}, ok=code == Exit.OK)
    raise click.exceptions.Exit(code)


class _Option(click.Option):
    """An option whose help exists in both languages."""

    def __init__(self, *args: Any, en: str = "", zh: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.texts = (en, zh)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return names and help in the wanted language."""
        self.help = say(*self.texts)
        return super().get_help_record(ctx)


class _Verb(click.Command):
    """A command whose help exists in both languages and ends with examples."""

    def __init__(self, *args: Any, en: str = "", zh: str = "", examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.texts = (en, zh)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description in the wanted language."""
        self.help = say(*self.texts)
        super().format_help_text(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one a line."""
        with formatter.section(say("Examples", "示例")):
            for line in self.examples.splitlines():
                formatter.write(f"  {line}\n")


def verb(name: str, *, en: str, zh: str, examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a click command with help in both languages and at least one example."""
    return click.command(name, cls=_Verb, en=en, zh=zh, examples=examples)


def option(*names: str, en: str, zh: str, **kwargs: Any) -> Callable[[F], F]:
    """Return a click option with help in both languages."""
    return click.option(*names, cls=_Option, en=en, zh=zh, **kwargs)


def _remember_json(context: click.Context, _: click.Parameter, value: bool) -> bool:
    context.meta[JSON_KEY] = value
    return value


def json_option_for(*, en: str, zh: str) -> Callable[[F], F]:
    """Return the option ``as_json: bool`` for a verb that has more to say about it."""
    return option(
        "--json", "as_json", is_flag=True, is_eager=True, callback=_remember_json, en=en, zh=zh
    )  # fmt: skip


json_option = json_option_for(
    en="Print one JSON envelope instead of text.", zh="输出一个 JSON 信封而不是文本。"
)
"""``as_json: bool``"""

json_at_end_option = json_option_for(
    en="Print one JSON envelope when it ends: the exit code, or why it could not run.",
    zh="结束时输出一个 JSON 信封:退出码,或无法运行的原因。",
)
"""``as_json: bool`` of a verb that runs until it is told to end; see :func:`end`."""

run_dir_option = option(
    "--run-dir",
    "run_dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="YUNCHU_RUN_DIR",
    en="Folder of the running site (image, ring, control socket).",
    zh="运行中站点的目录(映像、环形记录、控制套接字)。",
)
"""``run_dir: Path | None``; give it to :func:`find_run_dir`; a verb that loads the site file has its own."""

config_option = option(
    "--config",
    "-c",
    "config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="YUNCHU_CONFIG",
    en="Site file; default ./site.toml, then /etc/yunchu/site.toml.",
    zh="站点文件;默认 ./site.toml,其次 /etc/yunchu/site.toml。",
)
"""``config: Path | None``; give it to :func:`find_config`."""


def _config_or_none(given: Path | None) -> Path | None:
    if given is not None:
        return given
    if named := os.environ.get("YUNCHU_CONFIG"):
        return Path(named)
    return next((path for path in (Path("site.toml"), SYSTEM_CONFIG) if path.is_file()), None)


def find_config(given: Path | None) -> Path:
    """Return the site file to use, or end the command when there is none.

    Order: ``given``, $YUNCHU_CONFIG, ./site.toml, /etc/yunchu/site.toml.
    """
    path = _config_or_none(given)
    if path is not None and path.is_file():
        return path
    what = say("there is no site file", "没有站点文件")
    do = say(
        "Create one with `edge init`, or name it with --config.", "用 `edge init` 创建,或用 --config 指定。"
    )
    fail(Problem("CFG-001", str(path or "site.toml"), what, do), Exit.CONFIG)


def find_run_dir(given: Path | None, config: Path | None = None) -> Path:
    """Return the run folder of the site that a light verb means, or end the command with Exit.NOT_RUNNING.

    Order: ``given`` (--run-dir or its variable); the site file's ``run_dir`` or name; the one site that runs
    here. Only :mod:`tomllib` looks at the site file: whether it is valid is the business of ``edge check``.
    """
    if given is not None:
        if not (given / "image").exists():
            not_running(given)
        return given
    path = _config_or_none(config)
    if path is not None and path.is_file():
        candidates = [_run_dir_of(path)]
    else:
        running = [image.parent for image in run_dir("x").parent.glob("*/image")]
        candidates = running if len(running) == 1 else []
    if path in (None, SYSTEM_CONFIG):  # a file that was chosen means its own site and no other
        candidates.append(SYSTEM_RUN_DIR)
    for folder in candidates:
        if (folder / "image").exists():
            return folder
    not_running(candidates[0] if candidates else Path(path or "."))


def _run_dir_of(path: Path) -> Path:
    import tomllib

    try:
        site = tomllib.loads(path.read_text("utf-8")).get("site", {})
    except (OSError, ValueError) as error:
        do = say("Run `edge check` to see what is wrong.", "运行 `edge check` 查看问题。")
        fail(Problem("CFG-002", str(path), str(error), do), Exit.CONFIG)
    table = site if isinstance(site, dict) else {}
    configured = table.get("run_dir")
    return run_dir(str(table.get("name", "site")), path.parent / str(configured) if configured else None)


def not_running(where: Path) -> NoReturn:
    """End the command because no controller has left its image in the run folder."""
    what = say("no controller runs here", "这里没有运行中的控制器")
    do = say(
        "Start it with `edge up` or `edge run`, or name the folder with --run-dir.",
        "用 `edge up` 或 `edge run` 启动,或用 --run-dir 指定目录。",
    )
    fail(Problem("RUN-001", str(where), what, do), Exit.NOT_RUNNING)


def cells(text: str) -> int:
    """Return how many terminal cells the text takes; Chinese characters take two, combining marks none."""
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def pad(text: str, width: int, right: bool = False) -> str:
    """Fill the text with blanks to ``width`` cells, at the left side when ``right``."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def table(head: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Return an aligned plain-text table that also lines up with Chinese text in it.

    Args:
        head: titles of the columns.
        rows: as many cells a row as there are titles.
        right: numbers of the columns to be set flush right.
    """
    lines = [[str(cell) for cell in line] for line in (head, *rows)]
    widths = [max(cells(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(pad(cell, widths[column], column in right) for column, cell in enumerate(line)).rstrip()
        for line in lines
    )


def is_terminal() -> bool:
    """Return whether stdout is a terminal, so that something moving may be drawn."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
