"""A site has one controller; the lock dies with its holder."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.controller.lock import SiteLock
from models.errors import BusyError

HOLD = (
    "import sys, time; from pathlib import Path; from edge.controller.lock import SiteLock\n"
    "lock = SiteLock(Path(sys.argv[1])); sys.stdout.write('held\\n'); sys.stdout.flush(); time.sleep(60)\n"
)


def test_a_second_controller_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BusyError, match=str(holder.pid)):
            SiteLock(tmp_path)
        holder.send_signal(signal.SIGKILL)
    lock = SiteLock(tmp_path)
    lock.release()
    SiteLock(tmp_path).release()
