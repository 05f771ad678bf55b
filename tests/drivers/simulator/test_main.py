"""The command line of the simulator."""

from pathlib import Path

import pytest

from drivers.simulator.__main__ import ROLES, main, parser
from drivers.simulator.board import Board


def test_fault_sets_a_switch(tmp_path: Path, board: Board) -> None:
    main(["fault", "--dir", str(tmp_path), "pcs-1/silent", "1"])
    assert board.fault("pcs-1/silent") == 1.0


def test_an_unknown_fault_lists_the_known_ones(tmp_path: Path, board: Board) -> None:
    with pytest.raises(SystemExit, match=r"bms-1/freeze"):
        main(["fault", "--dir", str(tmp_path), "pcs-1/nonsense", "1"])


@pytest.mark.parametrize(
    "words",
    [
        "plant --dir d --soc 0.5 --seed 1 --export-kw 5",
        "wire --dir d",
        "pcs --dir d --port 1",
        "bms --dir d --tty t",
        "meter --dir d --tty t",
        "pv --dir d --port 1 --tied",
    ],
)
def test_every_role_can_be_asked_for(words: str) -> None:
    assert parser().parse_args(words.split()).role in ROLES


def test_a_role_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "required" in capsys.readouterr().err
