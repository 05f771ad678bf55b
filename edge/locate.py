"""Where in a TOML text each key and value stands; :mod:`tomllib` keeps no positions.

The scanner reads a text that tomllib has accepted, so it need not find mistakes, only places. Paths are as
in the parsed data: names of keys and tables, and indices of array elements.
"""

import bisect
import re
import tomllib
from dataclasses import dataclass

Path = tuple[str | int, ...]

BLANK = re.compile(r"[ \t]*")
FILLER = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
DOT = re.compile(r"[ \t]*\.[ \t]*")
STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
SCALAR = re.compile(r"[^,\]}#\n]*[^,\]}#\n \t]")


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of the text; lines and columns count from 1, columns in characters."""

    line: int
    column: int
    length: int
    """In characters, up to the end of the first line."""
    start: int
    """Offset in the text with newlines normalised to ``\\n``."""
    end: int


@dataclass(frozen=True, slots=True)
class Places:
    """All places of one text."""

    keys: dict[Path, Place]
    """Of tables: their (last) header, or the first key that brought them into being."""
    values: dict[Path, Place]
    """Not of tables that have a header or come from dotted keys."""

    def key(self, path: Path) -> Place | None:
        """Return where the key stands, else the nearest table around it."""
        while path and path not in self.keys and path not in self.values:
            path = path[:-1]
        return self.keys.get(path) or self.values.get(path)

    def value(self, path: Path) -> Place | None:
        """Return where the value stands, else its key."""
        return self.values.get(path) or self.key(path)


def locate(text: str) -> Places:
    """Return the places of every key and value of a valid TOML text."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return Places(scanner.keys, scanner.values)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self._rows: dict[Path, int] = {}
        """Elements so far of every array of tables."""
        self._starts = [0] + [match.end() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: Path = ()
        self._skip(FILLER)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(FILLER)

    def _header(self) -> Path:
        start = self.at
        row = self.text.startswith("[[", start)
        self.at += 2 if row else 1
        self._skip(BLANK)
        path: Path = ()
        parts = self._key()
        for part, _ in parts[:-1]:
            path = self._newest((*path, part))
            self.keys.setdefault(path, self._place(start, parts[-1][1].end))
        path = (*path, parts[-1][0])
        if row:
            self._rows[path] = self._rows.get(path, 0) + 1
            self.keys.setdefault(path, parts[-1][1])
            path = self._newest(path)
        self._skip(BLANK)
        self.at += 2 if row else 1
        self.keys[path] = self._place(start, self.at)
        return path

    def _newest(self, path: Path) -> Path:
        return (*path, self._rows[path] - 1) if path in self._rows else path

    def _pair(self, table: Path) -> None:
        path = table
        for part, place in self._key():
            path = (*path, part)
            self.keys.setdefault(path, place)
        self._skip(BLANK)
        self.at += 1  # the equals sign
        self._skip(BLANK)
        self._value(path)

    def _key(self) -> list[tuple[str, Place]]:
        parts = []
        while match := KEY_PART.match(self.text, self.at):
            raw = match.group()
            name = str(tomllib.loads(f"x = {raw}")["x"]) if raw[0] in "\"'" else raw
            parts.append((name, self._place(match.start(), match.end())))
            self.at = match.end()
            dot = DOT.match(self.text, self.at)
            if dot is None:
                break
            self.at = dot.end()
        return parts

    def _value(self, path: Path) -> None:
        start = self.at
        if self.text[start] == "[":
            self._array(path)
        elif self.text[start] == "{":
            self._inline(path)
        else:
            match = (STRING if self.text[start] in "\"'" else SCALAR).match(self.text, start)
            self.at = match.end() if match else start + 1
        self.values[path] = self._place(start, self.at)

    def _array(self, path: Path) -> None:
        self._open()
        index = 0
        while self.text[self.at] != "]":
            self._value((*path, index))
            index += 1
            self._comma()
        self.at += 1

    def _inline(self, path: Path) -> None:
        self._open()
        while self.text[self.at] != "}":
            self._pair(path)
            self._comma()
        self.at += 1

    def _open(self) -> None:
        self.at += 1
        self._skip(FILLER)

    def _comma(self) -> None:
        self._skip(FILLER)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(FILLER)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _place(self, start: int, end: int) -> Place:
        line = bisect.bisect_right(self._starts, start)
        first = self.text.find("\n", start, end)
        length = (end if first < 0 else first) - start
        return Place(line, start - self._starts[line - 1] + 1, length, start, end)
