"""``edge bench``: an explicit list, each with its program."""

import importlib.util

import pytest
from click.testing import CliRunner

from edge.cli.bench import BENCHMARKS, command


def test_without_a_name_it_lists_what_there_is() -> None:
    done = CliRunner().invoke(command, [])
    assert done.exit_code == 0
    assert all(name in done.output for name in BENCHMARKS)


def test_a_wrong_name_is_a_problem_with_the_known_ones() -> None:
    done = CliRunner().invoke(command, ["pol"])
    assert done.exit_code == 2
    assert "poll" in done.stderr


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_its_program(name: str) -> None:
    spec = importlib.util.find_spec(f"benchmarks.{name}")
    assert spec is not None
