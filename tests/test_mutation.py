"""The tests of the safety code notice every change of it (slow: `make test-slow`)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAFETY = [
    ("control/guard.py", "tests/control/test_guard.py"),
    ("control/arbitrate.py", "tests/control/test_arbitrate.py"),
    ("control/watch.py", "tests/control/test_watch.py"),
    ("control/obey.py", "tests/control/test_obey.py"),
    ("control/limits/obey.py", "tests/control/limits/test_obey.py"),
    ("control/limits/bms.py", "tests/control/limits/test_bms.py"),
    ("control/limits/soc.py", "tests/control/limits/test_soc.py"),
    ("control/limits/pcs.py", "tests/control/limits/test_pcs.py"),
    ("control/limits/rated.py", "tests/control/limits/test_rated.py"),
    ("control/limits/transformer.py", "tests/control/limits/test_transformer.py"),
    ("control/limits/grid_import.py", "tests/control/limits/test_grid_import.py"),
    ("control/limits/grid_export.py", "tests/control/limits/test_grid_export.py"),
    ("control/limits/ramp.py", "tests/control/limits/test_ramp.py"),
    ("models/interval.py", "tests/models/test_interval.py"),
    ("drivers/driver.py", "tests/drivers/test_driver.py"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "tests"), SAFETY, ids=[file for file, _ in SAFETY])
def test_no_mutant_survives(file: str, tests: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutate", file, tests], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
