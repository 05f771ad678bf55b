"""The recorder follows the ring and loses no second, neither by its own restarts nor by the controller's."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.events import Events, tail
from edge.history import FILE, History, load_history
from edge.image import DeviceInfo, SharedImage
from edge.ring import Ring
from edge.services.recorder import MAX_PENDING, STATE_FILE, EventTail, Recorder, run_recorder
from edge.services.tape import last_of_seconds
from models.point import Point, Role

START_MS = 1_750_000_000_000
PER_S = 10
DICE = np.random.default_rng(1)


def dtype_of(points: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("cycle", "<u8"),
            ("mono_ns", "<i8"),
            ("utc_ms", "<i8"),
            ("value", "<f8", (points,)),
            ("quality", "u1", (points,)),
            ("net_kw", "<f8"),
        ]
    )


@dataclass
class Controller:
    """Stands for the controller: makes image and ring, and appends a record every 100 ms of its own time."""

    run_dir: Path
    slots: int = 3000
    cycle: int = 0
    utc_ms: int = START_MS
    names: tuple[str, ...] = ()
    written: list[int] = field(default_factory=list)
    """UTC of every record."""

    def start(self, points: int = 2, site: str = "[site]") -> None:
        described = [Point(f"meter-1/x{i}", "meter-1", "grid", Role.OTHER, "", 1.0) for i in range(points)]
        self.names = tuple(point.name for point in described)
        device = DeviceInfo("meter-1", "modbus-rtu", 0, points)
        SharedImage.create(self.run_dir / "image", "demo", described, [device], self.utc_ms)
        meta = {"site_toml": site, "version": "1", "site": "demo"}
        self.ring = Ring.create(self.run_dir / "ring", dtype_of(points), self.slots, meta)
        newest = self.ring.newest()
        self.cycle = 0 if newest is None else int(newest["cycle"]) + 1

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * PER_S)):
            row = np.zeros((), self.ring.dtype)
            row["cycle"], row["mono_ns"], row["utc_ms"] = self.cycle, self.utc_ms * 10**6, self.utc_ms
            row["value"], row["quality"], row["net_kw"] = DICE.random(), 3, 100.0
            self.ring.append(row.tobytes())
            self.written.append(self.utc_ms)
            self.cycle += 1
            self.utc_ms += 1000 // PER_S

    @property
    def seconds(self) -> list[int]:
        """UTC of the last record of each second."""
        return [last for last in {ms // 1000: ms for ms in self.written}.values()]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    (tmp_path / "run").mkdir()
    return Controller(tmp_path / "run")


@pytest.fixture
def recorder(controller: Controller, state_dir: Path) -> Recorder:
    return Recorder(controller.run_dir, state_dir)


def stored(state_dir: Path) -> list[int]:
    history = History.open(state_dir / FILE)
    found = [int(ms) for _, rows in history.records(0, 2**53) for ms in rows["utc_ms"]]
    history.close()
    return found


def codes(controller: Controller) -> list[str]:
    return [event["code"] for event in tail(controller.run_dir / "events.jsonl", 99)]


def said(controller: Controller) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((controller.run_dir / STATE_FILE).read_text())
    return found


@pytest.mark.parametrize(
    ("says", "utc_ms", "whole", "rest"),
    [
        ("nothing", [], [], []),
        ("a second that is not over", [100, 200], [], [200]),
        ("two seconds and a bit", [100, 900, 1000, 1900, 2000], [900, 1900], [2000]),
        ("a clock that is set back", [5100, 5900, 3000, 3900, 4000], [5900, 3900], [4000]),
    ],
)
def test_the_last_record_of_every_second(
    says: str, utc_ms: list[int], whole: list[int], rest: list[int]
) -> None:
    rows = np.zeros(len(utc_ms), dtype_of(1))
    rows["utc_ms"] = utc_ms
    a, b = last_of_seconds(rows)
    assert (a["utc_ms"].tolist(), b["utc_ms"].tolist()) == (whole, rest), says


def test_every_second_is_stored_once(controller: Controller, recorder: Recorder, state_dir: Path) -> None:
    recorder.turn(0.0)  # before any controller
    controller.start()
    for turn in range(1, 60):
        controller.run(0.7)
        recorder.turn(turn * 0.7)
    recorder.turn(42.0, flush=True)
    assert stored(state_dir) == controller.seconds[:-1]
    recorder.turn(45.0, flush=True)
    assert stored(state_dir) == controller.seconds, "the last second, when nothing follows"
    recorder.close()


def test_records_are_stored_together_not_one_by_one(
    controller: Controller, recorder: Recorder, state_dir: Path
) -> None:
    controller.start()
    recorder.turn(100.0)
    controller.run(3.0)
    recorder.turn(101.0)
    controller.run(1.2)
    recorder.turn(102.0)
    assert stored(state_dir) == [], "not before FLUSH_S"
    recorder.turn(103.0, flush=True)
    history = History.open(state_dir / FILE)
    assert len(history._blobs(0, 2**53)) == 1
    assert len(stored(state_dir)) == 4
    recorder.close()


def test_a_restart_fills_in_what_was_missed(controller: Controller, state_dir: Path) -> None:
    controller.start()
    for away_s in (5.35, 61.0, 120.0, 2.2):
        recorder = Recorder(controller.run_dir, state_dir)
        controller.run(3.45)
        recorder.turn(0.0, flush=True)
        recorder.close()
        controller.run(away_s)
    recorder = Recorder(controller.run_dir, state_dir)
    recorder.turn(0.0, flush=True)
    recorder.turn(9.0, flush=True)
    recorder.close()
    assert stored(state_dir) == controller.seconds
    assert "HISTORY_GAP" not in codes(controller)


def test_an_absence_longer_than_the_ring_is_reported(controller: Controller, state_dir: Path) -> None:
    controller.slots = 200
    controller.start()
    controller.run(5)
    recorder = Recorder(controller.run_dir, state_dir)
    recorder.turn(0.0, flush=True)
    controller.run(60)
    recorder.turn(9.0, flush=True)
    assert codes(controller).count("HISTORY_GAP") == 1
    recorder.close()
    controller.run(60)
    again = Recorder(controller.run_dir, state_dir)
    again.turn(0.0, flush=True)
    again.close()
    assert codes(controller).count("HISTORY_GAP") == 2
    found = stored(state_dir)
    assert found == sorted(set(found))
    assert set(found) <= set(controller.seconds)


@pytest.mark.parametrize("recorder_away", [False, True])
def test_a_new_configuration_while_recording(
    recorder_away: bool, controller: Controller, state_dir: Path
) -> None:
    controller.start()
    recorder = Recorder(controller.run_dir, state_dir)
    controller.run(4.5)
    recorder.turn(0.0, flush=True)
    controller.run(3.0)
    if recorder_away:
        recorder.close()
    controller.start(points=5, site="[site] # more points")
    controller.run(4.3)
    if recorder_away:
        recorder = Recorder(controller.run_dir, state_dir)
    for now in (9.0, 10.0, 13.0, 16.0):
        recorder.turn(now, flush=True)
    recorder.close()
    history = History.open(state_dir / FILE)
    found = history.records(0, 2**53)
    history.close()
    assert {(len(layout.points), layout.site_toml) for layout, _ in found} == {
        (2, "[site]"),
        (5, "[site] # more points"),
    }
    seconds = {int(ms) // 1000 for _, rows in found for ms in rows["utc_ms"]}
    assert seconds == {ms // 1000 for ms in controller.seconds}


def test_a_controller_that_starts_again_goes_on(
    controller: Controller, recorder: Recorder, state_dir: Path
) -> None:
    controller.start()
    controller.run(3.0)
    recorder.turn(0.0, flush=True)
    controller.utc_ms += 7300
    controller.start()
    controller.run(3.0)
    recorder.turn(9.0, flush=True)
    recorder.turn(15.0, flush=True)
    recorder.close()
    assert stored(state_dir) == controller.seconds


def test_events_and_plans_are_taken_over(controller: Controller, recorder: Recorder, state_dir: Path) -> None:
    controller.start()
    path = controller.run_dir / "events.jsonl"
    events = Events(path, "controller")
    events.emit("STARTED", "controller", "版本 1")
    (state_dir / "plan.json").write_text('{"ref": 1}')
    recorder.turn(0.0, flush=True)
    events.emit("HOST_DIED", "pv-1", "ended with 1")
    path.replace(path.with_suffix(".previous"))
    events.emit("STOPPED", "controller", "asked to stop")
    with path.open("a") as file:
        file.write("not json\n[]\n" + '{"t_ms": 7, "source": "x", "code": "HALF"')
    recorder.turn(9.0, flush=True)
    with path.open("a") as file:
        file.write(', "where": "", "what": ""}\n')
    (state_dir / "plan.json").write_text('{"ref": 2}')
    recorder.turn(18.0, flush=True)
    recorder.close()
    again = Recorder(controller.run_dir, state_dir)
    again.turn(0.0, flush=True)
    again.close()
    history = History.open(state_dir / FILE)
    found = [event["code"] for event in history.events(0, 2**53)]
    assert found == ["HALF", "STARTED", "HOST_DIED", "STOPPED"]
    assert history.plans(0, 2**53) == [{"ref": 1}, {"ref": 2}]


def test_events_of_the_file_before_are_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Events(path, "a").emit("OLD", "", "")
    path.replace(path.with_suffix(".previous"))
    Events(path, "a").emit("NEW", "", "")
    reader = EventTail(path)
    assert [event["code"] for event in reader.take()] == ["OLD", "NEW"]
    assert reader.take() == []
    reader.close()


def test_a_full_disk_degrades_and_everything_is_stored_later(
    controller: Controller, recorder: Recorder, state_dir: Path
) -> None:
    controller.start()
    controller.run(10)
    recorder.turn(0.0, flush=True)
    assert said(controller)["degraded"] is None
    database = recorder._history._db  # type: ignore[union-attr]
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    for turn in range(1, 30):
        controller.run(20)
        recorder.turn(turn * 20.0, flush=True)
    assert "full" in said(controller)["degraded"]
    assert said(controller)["pending_s"] > 0
    assert codes(controller) == ["HISTORY_DEGRADED"], "said once"
    database.execute("PRAGMA max_page_count = 1000000")
    recorder.turn(700.0, flush=True)
    assert said(controller)["degraded"] is None
    assert codes(controller)[-1] == "HISTORY_RECOVERED"
    assert stored(state_dir) == controller.seconds
    recorder.close()


def test_old_minutes_go_once_an_hour_and_a_disk_nearly_full_is_told_once(
    controller: Controller, recorder: Recorder, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = {"room": 10**12, "thins": 0}
    monkeypatch.setattr(History, "room", lambda history: disk["room"])
    trim = History.trim
    monkeypatch.setattr(History, "trim", lambda history, now_ms: trim(history, now_ms) or disk["thins"])
    controller.start()
    controller.run(130)
    recorder.turn(10.0, flush=True)
    first_ms = stored(state_dir)[0]
    controller.utc_ms += 500 * 86_400_000
    controller.run(130)
    recorder.turn(3500.0, flush=True)
    assert stored(state_dir)[0] == first_ms, "not before an hour is over"
    assert said(controller)["held_days"] == 500.0 and said(controller)["size_bytes"] > 4096
    recorder.turn(3700.0, flush=True)
    assert stored(state_dir)[0] - first_ms > 400 * 86_400_000
    for hour, thins, room, told in (
        (2, 1, 400_000_000, 1),
        (3, 1, 400_000_000, 1),
        (4, 0, 600_000_000, 1),
        (5, 1, 400_000_000, 1),
        (6, 0, 2_000_000_000, 1),
        (7, 1, 400_000_000, 2),
    ):
        disk.update(thins=thins, room=room)
        recorder.turn(3700.0 * hour, flush=True)
        assert codes(controller).count("HISTORY_THINNED") == told, hour
    recorder.close()


def test_memory_stays_bounded_while_nothing_can_be_stored(
    controller: Controller, recorder: Recorder, state_dir: Path
) -> None:
    controller.start()
    recorder.turn(0.0, flush=True)
    database = recorder._history._db  # type: ignore[union-attr]
    database.execute("PRAGMA max_page_count = 1")
    for turn in range(1, 45):
        controller.run(100)
        recorder.turn(turn * 100.0, flush=True)
    assert said(controller)["pending_s"] <= MAX_PENDING
    database.execute("PRAGMA max_page_count = 1000000")
    recorder.turn(5000.0, flush=True)
    assert "s were lost" in tail(controller.run_dir / "events.jsonl", 1)[0]["what"]
    recorder.close()


def test_a_damaged_file_is_set_aside_while_recording(
    controller: Controller, recorder: Recorder, state_dir: Path
) -> None:
    controller.start()
    controller.run(70)
    recorder.turn(0.0, flush=True)
    recorder._history._db.execute("UPDATE second SET record = x'00112233'")  # type: ignore[union-attr]
    controller.run(70)
    recorder.turn(70.0, flush=True)
    assert len(list(state_dir.glob("history.db.corrupt-*"))) == 1
    assert codes(controller) == ["HISTORY_DEGRADED", "HISTORY_SET_ASIDE"]
    controller.run(2)
    recorder.turn(80.0, flush=True)
    assert codes(controller)[-1] == "HISTORY_RECOVERED"
    assert len(stored(state_dir)) > 70, "what was not stored yet is in the new one"
    recorder.close()


def test_a_state_folder_that_is_missing_is_tried_again(
    controller: Controller, recorder: Recorder, state_dir: Path
) -> None:
    shutil.rmtree(state_dir)
    controller.start()
    controller.run(5)
    recorder.turn(0.0, flush=True)
    assert said(controller)["degraded"]
    state_dir.mkdir()
    recorder.turn(9.0, flush=True)
    assert said(controller)["degraded"] is None
    recorder.close()


def test_an_image_that_does_not_fit_the_ring_is_waited_for(
    controller: Controller, recorder: Recorder, state_dir: Path
) -> None:
    controller.start()
    controller.run(5)
    fits = (controller.run_dir / "image").read_bytes()
    point = Point("a/b", "a", "grid", Role.OTHER, "", 1.0)
    SharedImage.create(controller.run_dir / "image", "demo", [point], [DeviceInfo("a", "opcua", 0, 1)], 1)
    recorder.turn(0.0, flush=True)
    assert stored(state_dir) == []
    (controller.run_dir / "image").write_bytes(fits)
    recorder.turn(9.0, flush=True)
    assert len(stored(state_dir)) == 4
    recorder.close()


def test_the_thread_records_a_real_run_folder(run_folder: Callable[[], Any], tmp_path: Path) -> None:
    folder = run_folder()
    folder.play(100)
    stop = threading.Event()
    thread = threading.Thread(target=run_recorder, args=(folder.path, tmp_path, stop))
    thread.start()
    deadline = time.monotonic() + 15.0
    while not (tmp_path / FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    stop.set()
    thread.join(15.0)
    assert not thread.is_alive()
    history = History.open(tmp_path / FILE)
    ((layout, rows),) = history.records(0, 2**53)
    assert len(rows) >= 9
    assert layout.points == tuple(point.name for point in folder.plant.site.points)
    assert np.isfinite(load_history(tmp_path, 0)[1]).any()
