"""Mutation test of one module: change one thing at a time and see whether its tests notice.

    python -m tests.mutate control/guard.py tests/control/test_guard.py [more tests]

Slow (about a second per mutant), so it is a command and not a test. Nothing on disk is changed: every mutant
lives in a forked process, in which the module is loaded from the changed syntax tree. The exit code is 1 when
a mutant survives that is not listed as equivalent; one that does not end within 60 s counts as noticed.
"""

import ast
import contextlib
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np  # noqa: F401 (loaded before the forks, which makes each of them faster)
import pytest

from tests.equivalent import EQUIVALENT

TIME_LIMIT_S = 60
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0")
SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
NAMES = {"min": "max", "max": "min", "all": "any", "any": "all"}


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what one node could be turned into."""
    for other in SWAPS.get(type(node), ()):
        yield other()
    match node:
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())


class Swap(ast.NodeTransformer):
    """Puts one node in the place of another; leaves out types, decorators and ``strict=``."""

    def __init__(self, place: int = -1, new: ast.AST | None = None) -> None:
        self.place, self.new, self.parts = place, new, list[tuple[ast.AST, str]]()
        self.line = ""

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the new node for the one at the place."""
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return node
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant("")
        if isinstance(node, ast.stmt):
            self.line = f"{node.lineno}: {ast.unparse(node).splitlines()[0]}"
        self.parts.append((node, self.line))
        if self.new is not None and len(self.parts) - 1 == self.place:
            return self.new
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            return self.generic_visit(node)
        decorators, node.decorator_list = node.decorator_list, []
        self.generic_visit(node)
        node.decorator_list = decorators
        return node


def mutants(source: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield (description, changed tree) for every single change of the source."""
    original = Swap()
    tree = ast.parse(source)
    original.visit(tree)
    for place, (node, line) in enumerate(original.parts):
        for variant in variants(node):
            changed = Swap(place, variant).visit(copy.deepcopy(tree))
            assert isinstance(changed, ast.Module)
            old, new = (ast.unparse(n) or type(n).__name__ for n in (node, variant))
            yield f"{line}  [{old} -> {new}]", ast.fix_missing_locations(changed)


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a syntax tree."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.name, self.code = path.removesuffix(".py").replace("/", "."), compile(tree, path, "exec")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Claim the one module."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code."""
        exec(self.code, module.__dict__)


def noticed(path: str, tree: ast.Module, tests: Sequence[str]) -> bool:
    """Whether the tests fail on the changed module, in a process of its own."""
    child = os.fork()
    if not child:
        signal.alarm(TIME_LIMIT_S)
        sys.meta_path.insert(0, Loader(path, tree))
        null = open(os.devnull, "w")  # noqa: SIM115 (the process ends with it)
        with contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            os._exit(int(pytest.main([*OPTIONS, *tests]) != 0))
    return os.waitpid(child, 0)[1] != 0


def main(path: str, *tests: str) -> int:
    """Run all mutants of one file, print those that survive, and say whether any should not."""
    source, known, total, equivalent, bad = Path(path).read_text(), EQUIVALENT.get(path, {}), 0, 0, 0
    if noticed(path, ast.parse(source), tests):
        print(f"{path}: the tests fail without any change")
        return 1
    for total, (what, tree) in enumerate(mutants(source), 1):  # noqa: B007
        if not noticed(path, tree, tests):
            why = known.get(what.partition(": ")[2])
            bad, equivalent = bad + (why is None), equivalent + (why is not None)
            print(f"{'SURVIVES  ' if why is None else 'equivalent'}  {what}", flush=True)
    print(
        f"{path}: {total} mutants, {total - bad - equivalent} noticed, {equivalent} equivalent, {bad} survive"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
