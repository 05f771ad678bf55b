"""The site file: one TOML file becomes one frozen SiteConfig, or every problem that is in it at once.

Order: tomllib (syntax) → pydantic (each key by itself; nothing unknown, nothing guessed) → cross checks
(what must fit together). Every problem carries ``file:line:column``, a stable code and what to do.
Nothing is ever changed or filled in from a second place; paths are relative to the file's folder.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge import config_check
from edge import config_text as t
from edge.config_tables import (
    TABLES,
    BatteryTable,
    DeviceTable,
    FleetTable,
    LimitsTable,
    MeterTable,
    PvTable,
    SiteFile,
    Table,
)
from edge.language import of_environment
from edge.locate import Places, locate
from edge.places import run_dir
from edge.suggest import nearest
from models.errors import ConfigError, Problem

VERSION = 1
MAX_BYTES = 1_000_000
SYNTAX_TRIES = 50
Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """A site file that may be used; all paths are absolute."""

    path: Path
    text: str
    """The file as it was read: what the ring keeps, and what :func:`loads` takes again for a replay."""
    name: str
    time_zone: str
    state_dir: Path
    run_dir: Path
    limits: LimitsTable
    tariff_file: Path
    load_csv: Path | None
    load_csv_zone: str
    batteries: tuple[BatteryTable, ...]
    meter: MeterTable
    pvs: tuple[PvTable, ...]
    devices: tuple[DeviceTable, ...]
    period_ms: int
    fifo_priority: int | None
    fleet: FleetTable | None
    warnings: tuple[Problem, ...]
    """What is possible, but probably not meant."""


def load(path: Path, language: str | None = None) -> SiteConfig:
    """Read and check a site file and the files that it names.

    Args:
        path: the file.
        language: of the problems; default that of the environment.

    Raises:
        ConfigError: with every problem found.
    """
    language = language or of_environment()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        unreadable = t.problem(language, "unreadable", error=error)
        raise ConfigError([replace(unreadable, where=str(path))]) from error
    return loads(text, path, language=language)


def loads(
    text: str, file: Path | str = "site.toml", *, check_files: bool = True, language: str | None = None
) -> SiteConfig:
    """Check the text of a site file; see :func:`load`.

    Args:
        text: the TOML text.
        file: its name, for the problems; its folder is where relative paths start.
        check_files: whether the files that it names must exist; a replay needs none of them.
        language: of the problems.

    Raises:
        ConfigError: with every problem found.
    """
    path = Path(file)
    reader = _Reader(text, path, check_files, language or of_environment())
    whole = reader.read()
    problems = reader.sorted()
    if whole is None or any(problem.severity == "error" for problem in problems):
        raise ConfigError(problems)
    site = whole.site
    return SiteConfig(
        path=path,
        text=text,
        name=site.name,
        time_zone=site.time_zone,
        state_dir=site.state_dir,
        run_dir=run_dir(site.name, site.run_dir),
        limits=whole.limits,
        tariff_file=whole.tariff.file,
        load_csv=whole.forecast.load_csv,
        load_csv_zone=whole.forecast.load_csv_zone or site.time_zone,
        batteries=tuple(whole.battery),
        meter=whole.meter,
        pvs=tuple(whole.pv),
        devices=tuple(whole.device),
        period_ms=whole.cycle.period_ms,
        fifo_priority=whole.cycle.fifo_priority,
        fleet=whole.fleet,
        warnings=tuple(problems),
    )


class _Reader:
    """Collects the problems of one text."""

    def __init__(self, text: str, path: Path, check_files: bool, language: str) -> None:
        self.text = text
        self.path = path
        self.check_files = check_files
        self.language = language
        self.found: list[tuple[int, int, Problem]] = []
        self.places = Places({}, {})

    def sorted(self) -> list[Problem]:
        return [item[2] for item in sorted(self.found, key=lambda item: item[:2])]

    def read(self) -> SiteFile | None:
        data, cut = self._parse()
        if data is None:
            return None
        context = {"folder": self.path.absolute().parent}
        whole = None
        try:
            whole = SiteFile.model_validate(data, context=context)
        except ValidationError as error:
            self._report(error, cut)
        for where, problem in config_check.check(_sound(data, context), self.check_files, self.language):
            on_key = where[-1] == config_check.KEY
            self._at(where[:-1] if on_key else where, on_key, problem)
        return whole

    def _parse(self) -> tuple[dict[str, Any] | None, set[str]]:
        """Return the data; lines that are not TOML are reported and left out, their keys returned."""
        lines = self.text.replace("\r\n", "\n").split("\n")
        cut: set[str] = set()
        for _ in range(SYNTAX_TRIES):
            try:
                data = tomllib.loads("\n".join(lines))
            except tomllib.TOMLDecodeError as error:
                line = self._syntax(str(error), len(lines))
                wrong = lines[line - 1]
                if not re.match(
                    r"\s*[\w\"'-]+\s*=?", wrong
                ):  # a table header: what follows has lost its place
                    return None, cut
                cut.add(re.split(r"[=\s]", wrong.strip(), maxsplit=1)[0])
                lines[line - 1] = ""
                continue
            self.places = locate("\n".join(lines))
            return data, cut
        return None, cut

    def _syntax(self, message: str, last: int) -> int:
        """Report a message of tomllib; return its line."""
        match = re.search(r" \(at line (\d+), column (\d+)\)$", message)
        line, column = (int(match[1]), int(match[2])) if match else (last, 1)
        what, do = t.syntax(self.language, message[: match.start()] if match else message)
        problem = Problem(t.SYNTAX, f"{self.path}:{line}:{column}", what, do)
        self.found.append((line, column, problem))
        return line

    def _report(self, error: ValidationError, cut: set[str]) -> None:
        items = error.errors(include_url=False)
        guesses = {item["loc"]: _guess(item["loc"]) for item in items if item["type"] == "extra_forbidden"}
        meant = {(*where[:-1], guess) for where, guess in guesses.items() if guess} | {(key,) for key in cut}
        for item in items:
            where, kind = item["loc"], item["type"]
            if kind == "extra_forbidden":
                self._at(where, True, self._unknown(where, guesses[where]))
            elif kind == "missing":
                if where not in meant and where[-1] not in cut:
                    self._at(where[:-1], True, self._missing(where))
            elif where == ("config_version",):
                value = t.shown(item["input"])
                self._at(where, False, t.problem(self.language, "version", value=value, known=VERSION))
            else:
                code, what, do = t.words(
                    self.language, kind, str(where[-1]), item["input"], item.get("ctx", {})
                )
                self._at(where, False, Problem(code, "", what, do))

    def _at(self, where: Where, on_key: bool, problem: Problem) -> None:
        """Keep a problem with its place; a problem that has a place already keeps it."""
        place = self.places.key(where) if on_key else self.places.value(where)
        line, column = (place.line, place.column) if place else (1, 1)
        at = problem.where or f"{self.path}:{line}:{column}"
        self.found.append((line, column, replace(problem, where=at)))

    def _unknown(self, where: Where, guess: str | None) -> Problem:
        key = str(where[-1])
        home = next((name for name in TABLES if key in TABLES[name].model_fields), None)
        if guess:
            return t.problem(self.language, "unknown_near", key=key, guess=guess)
        if home:
            return t.problem(self.language, "unknown_elsewhere", key=key, home=home)
        return t.problem(self.language, "unknown", key=key, known=", ".join(_fields(where[:-1])))

    def _missing(self, where: Where) -> Problem:
        key = str(where[-1])
        if len(where) > 1 or key not in TABLES:
            return t.problem(self.language, "key_missing", key=key)
        name = f"[[{key}]]" if key in ("battery", "device") else f"[{key}]"
        return t.problem(self.language, "table_missing", name=name)


def _fields(where: Where) -> list[str]:
    """Return the keys that a table may have."""
    model = TABLES[str(where[0])] if where else SiteFile
    return list(model.model_fields)


def _guess(where: Where) -> str | None:
    return nearest(str(where[-1]), _fields(where[:-1]))


def _sound(data: dict[str, Any], context: dict[str, Any]) -> config_check.Sound:
    """Return what is valid by itself, key by key, so that one mistake does not hide another."""
    tables: list[tuple[Where, Table]] = []
    names: list[tuple[Where, str]] = []
    broken: list[Where] = []
    for name, model in TABLES.items():
        part = data.get(name, [])
        rows = (
            [((name, i), row) for i, row in enumerate(part)] if isinstance(part, list) else [((name,), part)]
        )
        for where, row in rows:
            if isinstance(row, dict) and isinstance(row.get("name"), str) and name != "site":
                names.append((where, row["name"]))
            table, whole = _partial(model, row, context)
            tables.append((where, table))
            if not whole:
                broken.append(where)
    return config_check.Sound(tables, names, broken, context["folder"])


def _partial(model: type[Table], row: object, context: dict[str, Any]) -> tuple[Table, bool]:
    """Return the table with None for every key that is missing or wrong, and whether there is none such."""
    try:
        return model.model_validate(row, context=context), True
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
    given = row if isinstance(row, dict) else {}
    values = {key: value for key, value in given.items() if key in model.model_fields and key not in wrong}
    return model.model_construct(
        set(values), **{**dict.fromkeys(wrong & model.model_fields.keys()), **values}
    ), False
