"""What every configuration mistake is called: its code, and its text in English and Chinese.

The texts are data, in ``config_text.toml``; ``{…}`` is filled from the mistake's own context. A mistake of
a type that is not in the table still has a code and a text.
"""

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from models.errors import Problem
from models.language import tr

LONGEST = 200
"""Characters of a value or list that a message repeats."""

SYNTAX = "CFG-002"
IMPLAUSIBLE = "CFG-040"
"""A warning: possible, but probably not meant."""


class Text(NamedTuple):
    """What is wrong, and what to do, in both languages."""

    code: str
    en: str
    zh: str
    do_en: str
    do_zh: str


@cache
def texts(kind: str) -> dict[str, Text]:
    """Return the table ``type``, ``rule`` or ``syntax`` of ``config_text.toml``."""
    data = tomllib.loads((files("edge") / "config_text.toml").read_text("utf-8"))
    return {name: Text(**row) for name, row in data[kind].items()}


def problem(language: str, rule: str, /, **fill: object) -> Problem:
    """Return the problem ``rule`` of RULES with its blanks filled; its place is still empty."""
    text = texts("rule")[rule]
    short = {key: shorten(value) if isinstance(value, str) else value for key, value in fill.items()}
    what = tr(language, text.en, text.zh).format_map(short)
    do = tr(language, text.do_en, text.do_zh).format_map(short)
    return Problem(text.code, "", what, do, "warning" if text.code == IMPLAUSIBLE else "error")


def words(language: str, kind: str, key: str, value: object, context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return code, what and do of one pydantic error.

    Args:
        language: of the texts.
        kind: pydantic's error type.
        key: name of the key, for instance ``import_kw``.
        value: what the file says.
        context: pydantic's context of the error.
    """
    text = texts("type").get(kind) or texts("type")["other"]
    fill = {**context, "key": key, "type": kind}
    what = f"{key} = {shown(value)} " + tr(language, text.en, text.zh).format_map(fill)
    return text.code, what, tr(language, text.do_en, text.do_zh).format_map(fill)


def shown(value: object) -> str:
    """Return a value about as TOML writes it, never long."""
    match value:
        case dict():
            return "{ … }"
        case list():
            return "[ … ]"
        case str() | bool():
            return shorten(json.dumps(value, ensure_ascii=False))
        case _:
            return shorten(str(value))


def shorten(text: str) -> str:
    """Return the text, its end left out when it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def syntax(language: str, message: str) -> tuple[str, str]:
    """Return what and do of a message of tomllib (without its position)."""
    for beginning, text in texts("syntax").items():
        if message.startswith(beginning):
            return tr(language, text.en, text.zh), tr(language, text.do_en, text.do_zh)
    what = tr(language, f"this is not TOML ({message})", f"不符合 TOML 语法({message})")
    return what, tr(language, "Correct the line.", "请更正这一行。")
