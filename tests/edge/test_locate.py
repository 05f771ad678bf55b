"""The located stretch of text is the value itself: it parses to the same value; so does the key."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.locate import Path, locate

TEXT = """\
# a comment with [brackets] and = signs
title = "x # no comment"
"quoted.key" = 'single'
a.b.c = 1
when = 1979-05-27 07:32:00   # a date with a blank

[server]
ports = [
  8001,  # first
  8002,
]
inline = { x = 1, y.z = [1, 2], s = "}" }
long = \"\"\"
[not.a.table]
k = 1 \\"\"\"\" quotes
\"\"\"

[[device]]
name = "one"
[[device.part]]
id = 1
[device.extra]
k = 2
[[device]]
name = '''two'''
[[device.part]]
id = 3
"""


PLACES = [
    ("a plain key", ("title",), 2, 1, 2, 9),
    ("a quoted key holds its dot", ("quoted.key",), 3, 1, 3, 16),
    ("each part of a dotted key has its own place", ("a", "b", "c"), 4, 5, 4, 9),
    ("a value with a blank in it", ("when",), 5, 1, 5, 8),
    ("a list starts where its bracket is", ("server", "ports"), 8, 1, 8, 9),
    ("an element on its own line", ("server", "ports", 1), 10, 3, 10, 3),
    ("a key in an inline table", ("server", "inline", "x"), 12, 12, 12, 16),
    ("an element in an inline table", ("server", "inline", "y", "z", 1), 12, 29, 12, 29),
    ("what looks like a table in a text is none", ("server", "long"), 13, 1, 13, 8),
    ("a list of tables", ("device", 0, "name"), 19, 1, 19, 8),
    ("a nested list of tables", ("device", 0, "part", 0, "id"), 21, 1, 21, 6),
    ("a table of the newest element", ("device", 0, "extra", "k"), 23, 1, 23, 5),
    ("the second element", ("device", 1, "name"), 25, 1, 25, 8),
    ("nested lists start again", ("device", 1, "part", 0, "id"), 27, 1, 27, 6),
]


@pytest.mark.parametrize(
    ("path", "line", "column", "value_line", "value_column"),
    [row[1:] for row in PLACES],
    ids=[row[0] for row in PLACES],
)
def test_places(path: Path, line: int, column: int, value_line: int, value_column: int) -> None:
    places = locate(TEXT)
    key, value = places.key(path), places.value(path)
    assert key is not None
    assert value is not None
    assert (value.line, value.column) == (value_line, value_column)
    if isinstance(path[-1], str):
        assert (key.line, key.column) == (line, column)


def test_what_is_not_there_is_found_at_the_table_around_it() -> None:
    place = locate(TEXT).key(("device", 1, "missing", "deep"))
    assert place is not None
    assert place.line == 24


def test_windows_line_ends_count_as_one() -> None:
    assert locate("a = 1\r\n\r\nb = 2\r\n").keys[("b",)].line == 3


def test_an_empty_text_has_no_places() -> None:
    assert locate("").key(("x",)) is None


NAMES = st.sampled_from(["a", "b", "key", "k-1", "k_2", "1", "x y", "点", "q.r", 'e"f', ""])
SCALARS = st.one_of(
    st.integers(-(10**6), 10**6),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("ab #=[]{}'\"\\\n\t,中", max_size=8),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
FILLS = st.sampled_from(["", "\n", " # [c] = 1\n", "\n\n\t"])


def text_of(name: str) -> str:
    return '"' + "".join(f"\\u{ord(c):04x}" if c in '"\\\n\t' else c for c in name) + '"'


def key_of(draw: Any, name: str) -> str:
    bare = name and name.isascii() and all(c.isalnum() or c in "-_" for c in name)
    return name if bare and draw(st.booleans()) else text_of(name)


def write(draw: Any, value: Any) -> str:
    """Write a value in one of the ways that TOML allows."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{key_of(draw, k)} = {write(draw, v)}" for k, v in value.items()) + " }"
        case list():
            fill = draw(FILLS)
            return "[" + fill + ("," + draw(FILLS)).join(write(draw, v) for v in value) + fill + "]"
        case bool():
            return str(value).lower()
        case str():
            if draw(st.booleans()) and "'" not in value:
                return f"'''\n{value}'''" if "\n" in value or "\t" in value else f"'{value}'"
            return text_of(value)
        case _:
            return repr(value)


@st.composite
def documents(draw: Any) -> str:
    """Tables, lists of tables, dotted keys, comments and all kinds of values."""
    lines = []
    for name, body in draw(
        st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=4)
    ).items():
        rows = draw(st.integers(0, 2))
        for _ in range(max(1, rows)):
            head = key_of(draw, name)
            lines.append(f"[[ {head} ]]" if rows else f"[{head}]  # table")
            lines += [f"{key_of(draw, k)} = {write(draw, v)} # c" for k, v in body.items()]
            lines.append(f"dotted . {key_of(draw, 'x y')}.z = 1")
            lines.append(draw(st.sampled_from(["", "# [no]", "\t"])))
    return "\n".join(lines)


def leaves(data: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    found = [(path, data)] if path else []
    if isinstance(data, dict):
        found += [leaf for key, value in data.items() for leaf in leaves(value, (*path, key))]
    if isinstance(data, list):
        found += [leaf for index, value in enumerate(data) for leaf in leaves(value, (*path, index))]
    return found


@settings(max_examples=150, deadline=None)
@given(documents())
def test_every_place_holds_what_it_should(text: str) -> None:
    places = locate(text)
    rows = text.split("\n")
    for path, value in leaves(tomllib.loads(text)):
        place = places.values.get(path)
        if place is not None:
            assert tomllib.loads(f"x = {text[place.start : place.end]}")["x"] == value
            assert rows[place.line - 1][place.column - 1] == text[place.start]
        else:
            assert isinstance(value, dict | list)
        key = places.keys.get(path)
        assert key is not None or isinstance(path[-1], int)
        if key is not None and place is not None:
            assert tomllib.loads(f"{text[key.start : key.end]} = 1") == {path[-1]: 1}
