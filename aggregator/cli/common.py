"""What every verb of ``fleet`` shares: language, options, the envelope, failing well, tables.

Light on purpose: no paho, no cryptography, no protobuf, no numpy.
"""

import json
import os
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from aggregator.problems import FleetStoreError, problem
from models.answer import Exit, envelope
from models.errors import BusyError, Problem
from models.language import tr

LANGUAGE_KEY = "yunchu.language"
JSON_KEY = "yunchu.json"
DB_DEFAULT = Path("fleet.db")

F = TypeVar("F", bound=Callable[..., Any])


def now_ms() -> int:
    """Return UTC in ms."""
    return time.time_ns() // 1_000_000


def language() -> str:
    """Return the wanted language: ``--lang``, else $YUNCHU_LANG, else $LANG, else English."""
    context = click.get_current_context(silent=True)
    chosen = context.meta.get(LANGUAGE_KEY) if context else None
    return str(chosen or os.environ.get("YUNCHU_LANG") or os.environ.get("LANG") or "en")


def say(en: str, zh: str) -> str:
    """Return the text in the wanted language."""
    return tr(language(), en, zh)


def emit(schema: str, data: Any, problems: Sequence[Problem] = (), ok: bool = True) -> None:
    """Print the one envelope of a ``--json`` answer to stdout."""
    answer = envelope(schema, data, problems, ok=ok, time_ms=now_ms())
    click.echo(json.dumps(answer, ensure_ascii=False))


def tell(problems: Sequence[Problem]) -> None:
    """Print problems to stderr, where they do not disturb the data."""
    for one in problems:
        click.echo(f"{one.where}  {one.code}  {one.what}\n   {one.do}", err=True)


def leave(exit_code: Exit) -> NoReturn:
    """End the command with this exit code."""
    raise click.exceptions.Exit(int(exit_code))


def fail(trouble: Problem, exit_code: Exit) -> NoReturn:
    """End the command: the problem goes to stderr, or as the envelope to stdout under ``--json``."""
    context = click.get_current_context()
    if context.meta.get(JSON_KEY):
        emit(f"fleet.{context.info_name}/1", None, [trouble], ok=False)
    else:
        tell([trouble])
    leave(exit_code)


def fail_store(error: FleetStoreError | BusyError) -> NoReturn:
    """End the command because the store cannot be used."""
    if isinstance(error, BusyError):
        fail(problem("FLEET-003", str(error), language(), detail=".lock"), Exit.BUSY)
    codes = {"FLEET-001": Exit.NOT_RUNNING, "FLEET-003": Exit.BUSY}
    fail(error.refusal.problem(language()), codes.get(error.refusal.code, Exit.CONFIG))


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
    """A command whose help exists in both languages and ends with examples and exit codes."""

    def __init__(self, *args: Any, en: str = "", zh: str = "", ends: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.texts, self.ends = (en, zh), ends

    def get_short_help_str(self, limit: int = 90) -> str:
        """Return the description in the wanted language."""
        return say(*self.texts)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description in the wanted language."""
        self.help = say(*self.texts)
        super().format_help_text(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one a line."""
        with formatter.section(say("Examples and exit codes", "示例与退出码")):
            for line in self.ends.splitlines():
                formatter.write(f"  {line}\n")


def verb(
    name: str, *, en: str, zh: str, ends: str, **kwargs: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a click command with help in both languages; ``ends``: examples and exit codes."""
    return click.command(name, cls=_Verb, en=en, zh=zh, ends=ends, **kwargs)


def option(*names: str, en: str, zh: str, **kwargs: Any) -> Callable[[F], F]:
    """Return a click option with help in both languages."""
    return click.option(*names, cls=_Option, en=en, zh=zh, **kwargs)


def _remember_json(context: click.Context, _: click.Parameter, value: bool) -> bool:
    context.meta[JSON_KEY] = value
    return value


json_option = option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    callback=_remember_json,
    en="Print one JSON envelope instead of text.",
    zh="输出一个 JSON 信封而不是文本。",
)
"""``as_json: bool``"""

db_option = option(
    "--db",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="YUNCHU_FLEET_DB",
    default=DB_DEFAULT,
    en="The fleet's store; default ./fleet.db or $YUNCHU_FLEET_DB.",
    zh="聚合平台数据库;默认 ./fleet.db 或 $YUNCHU_FLEET_DB。",
)
"""``db: Path``"""


def beside(db: Path, given: Path | None, name: str) -> Path:
    """Return a file that lies next to the store unless it was named."""
    return given if given is not None else db.parent / name


def ago(age_s: float | None) -> str:
    """Return an age in words."""
    if age_s is None:
        return say("never", "从未")
    if age_s < 120:
        return f"{max(age_s, 0.0):.1f} s"
    return f"{age_s / 60:.0f} min" if age_s < 7200 else f"{age_s / 3600:.1f} h"


def cells(text: str) -> int:
    """Return how many terminal cells the text takes; Chinese characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Return an aligned plain-text table; ``right``: numbers of the columns to be set flush right."""
    lines = [[str(cell) for cell in line] for line in (head, *rows)]
    widths = [max(cells(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(_pad(cell, widths[n], n in right) for n, cell in enumerate(line)).rstrip() for line in lines
    )


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks
