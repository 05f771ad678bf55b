"""A tied process does not outlive the one that started it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from drivers.simulator.board import Board
from drivers.simulator.wire import device_tty

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "drivers.simulator", "wire", "--tied", "--dir", sys.argv[1]],
                         stdin=subprocess.PIPE)
sys.stdout.write(f"{child.pid}\\n")
sys.stdout.flush()
sys.stdin.readline()
import os
os._exit(0)
"""


def test_the_child_ends_when_the_parent_is_gone(
    tmp_path: Path, board: Board, until: Callable[..., None]
) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        child = Path(f"/proc/{int(parent.stdout.readline())}")
        until(lambda: device_tty(tmp_path, "meter-1").exists())
        assert child.exists()
        parent.communicate("go\n")
    until(lambda: not child.exists())
