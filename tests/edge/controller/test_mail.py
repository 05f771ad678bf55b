"""Setpoints between the controller and a driver host: newest wins, whole or not at all, one host a device."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge.controller.mail import HostedDriver, SharedMail, path_of
from models.errors import BusyError, StoreError
from models.proposal import Setpoint


def hosted(folder: Path) -> HostedDriver:
    return HostedDriver("pcs-1", (), folder, "bat-1")


def test_there_is_nothing_before_the_first_setpoint(tmp_path: Path) -> None:
    hosted(tmp_path)
    mail = SharedMail(path_of(tmp_path, "pcs-1"))
    assert mail.newest is None
    mail.close()


def test_the_newest_setpoint_arrives_with_its_expiry(tmp_path: Path) -> None:
    driver = hosted(tmp_path)
    mail = SharedMail(path_of(tmp_path, "pcs-1"))
    driver.start()
    for setpoint in (Setpoint("bat-1", -12.5, 2**62), Setpoint("bat-1", 0.0, 1), Setpoint("bat-1", 0.0, 1)):
        driver.offer(setpoint)
        newest = mail.newest
        assert newest == setpoint
        assert mail.newest is newest
    driver.stop()
    mail.close()


def test_what_is_no_number_crosses_so_that_the_door_can_refuse_it(tmp_path: Path) -> None:
    driver = hosted(tmp_path)
    mail = SharedMail(path_of(tmp_path, "pcs-1"))
    driver.offer(Setpoint("bat-1", 3.0, 9))
    assert mail.newest == Setpoint("bat-1", 3.0, 9)
    driver.offer(Setpoint("bat-1", float("nan"), 9))
    assert mail.newest is not None and np.isnan(mail.newest.p_kw)
    mail.close()


def test_another_process_reads_it_and_a_second_host_is_refused(tmp_path: Path) -> None:
    driver = hosted(tmp_path)
    driver.offer(Setpoint("bat-1", 7.25, 123))
    code = "import sys, pathlib; from edge.controller.mail import SharedMail; "
    code += "sys.stdout.write(str(SharedMail(pathlib.Path(sys.argv[1])).newest))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path_of(tmp_path, "pcs-1"))], capture_output=True, text=True
    )
    assert done.stdout == str(Setpoint("bat-1", 7.25, 123)), done.stderr
    first = SharedMail(path_of(tmp_path, "pcs-1"))
    with pytest.raises(BusyError, match="another driver host"):
        SharedMail(path_of(tmp_path, "pcs-1"))
    first.close()
    SharedMail(path_of(tmp_path, "pcs-1")).close()


def test_a_controller_that_starts_again_makes_a_new_box(tmp_path: Path) -> None:
    """A host of the one before must not get what is meant for its successor."""
    hosted(tmp_path).offer(Setpoint("bat-1", 1.0, 5))
    old = SharedMail(path_of(tmp_path, "pcs-1"))
    hosted(tmp_path).offer(Setpoint("bat-1", 2.0, 6))
    new = SharedMail(path_of(tmp_path, "pcs-1"))
    assert old.newest == Setpoint("bat-1", 1.0, 5)
    assert new.newest == Setpoint("bat-1", 2.0, 6)
    old.close()
    new.close()


def test_no_box_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        SharedMail(path_of(tmp_path, "pcs-1"))


def test_power_and_expiry_always_belong_together(tmp_path: Path) -> None:
    driver = hosted(tmp_path)
    mail = SharedMail(path_of(tmp_path, "pcs-1"))

    def write() -> None:
        for number in range(1, 20_000):
            driver.offer(Setpoint("bat-1", float(number), number))

    writer = threading.Thread(target=write)
    writer.start()
    last = 0
    while writer.is_alive():
        found = mail.newest
        if found is not None:
            assert found.p_kw == found.expires_ns >= last
            last = found.expires_ns
    writer.join()
    mail.close()
