"""The image must never show half a write, and must describe itself."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from drivers.driver import Counters
from edge.image import DeviceInfo, SharedImage
from models.errors import StoreError
from models.point import Point, Quality, Role

POINTS = tuple(
    Point(f"{device}/p{i}", device, "battery-1", Role.P_KW, "kW", 1.0)
    for device, count in (("a", 3), ("b", 64))
    for i in range(count)
)
DEVICES = (DeviceInfo("a", "modbus-tcp", 0, 3), DeviceInfo("b", "opcua", 3, 64))
GOOD = np.uint8(Quality.GOOD)


@pytest.fixture
def image(tmp_path: Path) -> SharedImage:
    return SharedImage.create(tmp_path / "image", "demo", POINTS, DEVICES, 1234)


def test_a_new_image_knows_its_points_and_holds_nothing(image: SharedImage, tmp_path: Path) -> None:
    seen = SharedImage.open(tmp_path / "image")
    assert (seen.site, seen.epoch_ms, seen.points, seen.devices) == ("demo", 1234, POINTS, DEVICES)
    assert seen.pid == os.getpid()
    snapshot = seen.snapshot()
    assert np.isnan(snapshot.value).all()
    assert (snapshot.quality == Quality.BAD).all()
    assert (snapshot.t_ns == 0).all()


def test_a_slice_changes_its_own_points_only(image: SharedImage, tmp_path: Path) -> None:
    image.slice("a").put(np.array([0, 2]), np.array([1.5, -2.5]), np.array([GOOD, GOOD]), 77)
    snapshot = SharedImage.open(tmp_path / "image").snapshot()
    assert snapshot.value[:3].tolist()[0::2] == [1.5, -2.5]
    assert snapshot.quality[:3].tolist() == [Quality.GOOD, Quality.BAD, Quality.GOOD]
    assert snapshot.t_ns[:3].tolist() == [77, 0, 77]
    assert (snapshot.quality[3:] == Quality.BAD).all()


def test_a_writer_that_starts_again_keeps_what_was_read(image: SharedImage) -> None:
    image.slice("a").put(np.array([0]), np.array([9.0]), np.array([GOOD]), 5)
    image.slice("a").put(np.array([1]), np.array([8.0]), np.array([GOOD]), 6)
    assert image.snapshot().value[:2].tolist() == [9.0, 8.0]


def test_counters_travel(image: SharedImage, tmp_path: Path) -> None:
    counters = Counters(polls=7, timeouts=2, bad_replies=1, writes=3, online=True)
    image.slice("b").count(counters)
    assert SharedImage.open(tmp_path / "image").counters("b") == counters
    assert SharedImage.open(tmp_path / "image").counters("a") == Counters()


def test_a_reader_never_sees_a_mix_of_two_writes(image: SharedImage, tmp_path: Path) -> None:
    stop = threading.Event()
    everything = np.arange(64)

    def write() -> None:
        part = image.slice("b")
        number = 0.0
        while not stop.is_set():
            number += 1.0
            part.put(everything, np.full(64, number), np.full(64, GOOD), int(number))

    writer = threading.Thread(target=write)
    writer.start()
    reader = SharedImage.open(tmp_path / "image")
    seen = [reader.snapshot() for _ in range(3_000)]
    stop.set()
    writer.join()
    for snapshot in seen:
        values = set(snapshot.value[3:].tolist()) | set(snapshot.t_ns[3:].tolist())
        assert len(values) == 1 or np.isnan(snapshot.value[3:]).all()
    assert len({snapshot.value[3] for snapshot in seen}) > 1


def test_a_writer_killed_in_the_middle_reads_as_bad_and_its_successor_recovers(
    image: SharedImage, tmp_path: Path
) -> None:
    image.slice("a").put(np.array([0]), np.array([9.0]), np.array([GOOD]), 5)
    image._blocks["a"][0] |= 1  # what a writer leaves that dies between its two marks
    assert SharedImage.open(tmp_path / "image").snapshot().quality[0] == Quality.BAD
    image.slice("a").put(np.array([0]), np.array([4.0]), np.array([GOOD]), 6)
    assert SharedImage.open(tmp_path / "image").snapshot().value[0] == 4.0


def test_a_writer_that_is_interrupted_takes_nothing_from_a_reader_that_knows_it(image: SharedImage) -> None:
    image.slice("a").put(np.array([0]), np.array([9.0]), np.array([GOOD]), 5)
    image.slice("a").count(Counters(polls=3))
    before = image.snapshot()
    image._blocks["a"][0] |= 1  # the writer was put to sleep between its two marks
    during = image.snapshot()
    assert (during.value[0], during.quality[0], during.t_ns[0]) == (9.0, GOOD, 5)
    assert image.counters("a").polls == 3
    aged = during.aged(np.full(len(POINTS), 100, np.int64), 106)
    assert aged.quality[0] == Quality.STALE, "should it never end its write, its readings age as all do"
    assert before.quality[1] == during.quality[1] == Quality.BAD


def test_all_its_blocks_are_there_so_that_a_full_disk_ends_nobody(image: SharedImage, tmp_path: Path) -> None:
    stat = (tmp_path / "image").stat()
    assert stat.st_blocks * 512 >= stat.st_size


def test_no_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="no room for the"):
        SharedImage.create(tmp_path / "image", "demo", POINTS, DEVICES, 1)
    assert not (tmp_path / "image").exists()


def test_the_image_survives_the_death_of_its_writer(tmp_path: Path) -> None:
    code = (
        "import sys, os, time, numpy as np; from pathlib import Path\n"
        "from edge.image import *; from models.point import *\n"
        "image = SharedImage.create(Path(sys.argv[1]), 's', [Point('a/p','a','u',Role.P_KW,'kW',1.0)],"
        " [DeviceInfo('a','x',0,1)], 1)\n"
        "image.slice('a').put(np.array([0]), np.array([3.5]), np.array([3], np.uint8), 9)\n"
        "sys.stdout.write('done\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "image")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    assert SharedImage.open(tmp_path / "image").snapshot().value[0] == 3.5


@pytest.mark.parametrize("content", [None, b"", b"x" * 200], ids=["missing", "empty", "foreign"])
def test_what_is_not_an_image_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "image"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError):
        SharedImage.open(path)
