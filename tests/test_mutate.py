"""The mutation tool itself: what it changes, what it leaves alone, and that it sees a failing test."""

import ast

import pytest

from tests.mutate import Loader, mutants

TABLE = [
    ("a comparison", "a < b", {"a <= b", "a > b"}),
    ("a chain of comparisons", "a < b == c", {"a <= b == c", "a > b == c", "a < b != c"}),
    ("plus and minus", "a + b - c", {"a - b - c", "a + b + c"}),
    ("and, or, not", "a and not b", {"a or not b", "a and b"}),
    ("numbers", "f(2, 0.5)", {"f(3, 0.5)", "f(2, 1.5)"}),
    ("truth", "x = True", {"x = False"}),
    ("a choice", "a if b else c", {"c if b else a"}),
    ("a sign", "-a", {"a"}),
    ("smallest and largest", "min(a, b)", {"max(a, b)"}),
    ("text is left alone", "'text'", set()),
    ("types are left alone", "def f(a: int | None = None) -> 3 + 4:\n    pass", set()),
    ("decorators are left alone", "@d(x=True)\nclass C:\n    pass", set()),
]


@pytest.mark.parametrize(("source", "expected"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_mutants(source: str, expected: set[str]) -> None:
    assert {ast.unparse(tree) for _, tree in mutants(source)} == expected


def test_a_mutant_is_named_by_its_line() -> None:
    assert next(mutants("x = 1\ny = a < b"))[0] == "1: x = 1  [1 -> 2]"


def test_the_loader_claims_its_module_only() -> None:
    loader = Loader("control/guard.py", ast.parse("answer = 42"))
    assert loader.find_spec("control.cycle", None) is None
    spec = loader.find_spec("control.guard", None)
    assert spec is not None
    assert spec.loader is loader
