"""Every door check of the mailbox, then the socket itself."""

import contextlib
import errno
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.events import Events, tail
from edge.mailbox import MAX_BYTES, Held, HeldPlan, Mailbox, Refusal, ask
from models.errors import LinkError
from models.proposal import Request, Source

S = 1_000_000_000
NOW_NS = 500 * S
UTC_MS = 1_790_000_000_000

PLAN: dict[str, Any] = {
    "v": 1,
    "kind": "plan",
    "ref": 7,
    "t0_utc_ms": UTC_MS - 900_000,
    "step_s": 900,
    "p_kw": [10.0, -20.0, 30.0],
    "expires_utc_ms": UTC_MS + 1_800_000,
}
FLEET: dict[str, Any] = {"v": 1, "kind": "fleet", "ref": 9, "p_kw": 40.0, "valid_s": 15.0}


def held(*messages: dict[str, Any]) -> Held:
    box = Held(-100.0, 100.0)
    for message in messages:
        box.accept(message, NOW_NS, UTC_MS)
    return box


def test_a_plan_gives_the_power_of_the_running_step() -> None:
    assert held(PLAN).requests(NOW_NS) == (Request(Source.PLAN, -20.0, NOW_NS + 900 * S, 7),)


def test_a_plan_ends_where_its_steps_or_its_expiry_end() -> None:
    box = held(PLAN)
    assert box.requests(NOW_NS + 1799 * S)[0].p_kw == 30.0
    assert box.requests(NOW_NS + 1800 * S) == ()
    short = held({**PLAN, "expires_utc_ms": UTC_MS + 60_000})
    assert short.requests(NOW_NS + 59 * S)[0].expires_ns == NOW_NS + 60 * S
    assert short.requests(NOW_NS + 60 * S) == ()


def test_a_plan_that_begins_later_says_nothing_yet() -> None:
    assert held({**PLAN, "t0_utc_ms": UTC_MS + 1000}).requests(NOW_NS) == ()


def test_a_wish_lives_as_long_as_it_says() -> None:
    box = held(FLEET)
    assert box.requests(NOW_NS + 15 * S - 1) == (Request(Source.FLEET, 40.0, NOW_NS + 15 * S, 9),)
    assert box.requests(NOW_NS + 15 * S) == ()


def test_the_newest_wish_of_a_source_replaces_the_older_one_and_leaves_the_others() -> None:
    box = held(PLAN, FLEET, {**FLEET, "p_kw": 5.0, "ref": 10}, {**FLEET, "kind": "operator", "p_kw": 0.0})
    assert [(r.source, r.p_kw) for r in box.requests(NOW_NS)] == [
        (Source.PLAN, -20.0),
        (Source.FLEET, 5.0),
        (Source.OPERATOR, 0.0),
    ]


@pytest.mark.parametrize("source", ["plan", "fleet"])
def test_cancel_takes_back_one_source(source: str) -> None:
    box = held(PLAN, FLEET, {"v": 1, "kind": "cancel", "source": source})
    assert [r.source.name.lower() for r in box.requests(NOW_NS)] == [
        {"plan": "fleet", "fleet": "plan"}[source]
    ]


REFUSED = [
    ({**FLEET, "v": 2}, "VERSION", "a version from the future"),
    ({**FLEET, "v": None}, "VERSION", "no version"),
    ({**FLEET, "kind": "magic"}, "UNKNOWN_KIND", "an unknown kind"),
    ({**FLEET, "p_kw": 100.1}, "RANGE", "more than the nameplate"),
    ({**FLEET, "p_kw": -100.1}, "RANGE", "more charge than the nameplate"),
    ({**FLEET, "p_kw": float("nan")}, "RANGE", "not a number"),
    ({**FLEET, "p_kw": float("inf")}, "RANGE", "infinite"),
    ({**FLEET, "p_kw": 1e308}, "RANGE", "absurd"),
    ({**FLEET, "p_kw": 10**400}, "RANGE", "a whole number that no float holds"),
    ({**FLEET, "p_kw": 100.002}, "RANGE", "more than rounding above the nameplate"),
    ({**FLEET, "p_kw": "40"}, "RANGE", "a number as a string"),
    ({**FLEET, "p_kw": True}, "RANGE", "a truth value"),
    ({**FLEET, "p_kw": None}, "RANGE", "no power"),
    ({**FLEET, "valid_s": 0.0}, "MALFORMED", "no time to live"),
    ({**FLEET, "valid_s": -1.0}, "MALFORMED", "a negative time to live"),
    ({**FLEET, "valid_s": 86_401.0}, "MALFORMED", "longer than a day"),
    ({**FLEET, "valid_s": float("nan")}, "MALFORMED", "a time to live that is no number"),
    ({**FLEET, "ref": -1}, "MALFORMED", "a negative reference"),
    ({**FLEET, "ref": 1.5}, "MALFORMED", "a fractional reference"),
    ({**FLEET, "ref": 2**63}, "MALFORMED", "a reference beyond 63 bits"),
    ({**PLAN, "p_kw": []}, "MALFORMED", "a plan without steps"),
    ({**PLAN, "p_kw": 5.0}, "MALFORMED", "a plan that is no list"),
    ({**PLAN, "p_kw": [1.0] * 2001}, "MALFORMED", "too many steps"),
    ({**PLAN, "p_kw": [1.0, float("nan")]}, "RANGE", "a hole in the plan"),
    ({**PLAN, "p_kw": [1.0, 101.0]}, "RANGE", "one step beyond the nameplate"),
    ({**PLAN, "step_s": 0}, "MALFORMED", "steps of no length"),
    ({**PLAN, "expires_utc_ms": UTC_MS}, "EXPIRED", "a plan that has just expired"),
    ({**PLAN, "t0_utc_ms": "now"}, "MALFORMED", "a start that is no time"),
    ({"v": 1, "kind": "cancel", "source": "moon"}, "MALFORMED", "cancelling an unknown source"),
]


@pytest.mark.parametrize(("message", "code"), [r[:2] for r in REFUSED], ids=[r[2] for r in REFUSED])
def test_refused_with_its_code_and_without_effect(message: dict[str, Any], code: str) -> None:
    box = held(PLAN, FLEET)
    before = box.requests(NOW_NS)
    with pytest.raises(Refusal) as refusal:
        box.accept(message, NOW_NS, UTC_MS)
    assert refusal.value.answer["code"] == code
    assert refusal.value.answer["what"] and refusal.value.answer["do"]
    assert box.requests(NOW_NS) == before


@pytest.mark.parametrize("asked_kw", [99.9, -99.9])
def test_a_rounded_sum_of_nameplates_is_meant_as_it(asked_kw: float) -> None:
    all_kw = 33.3 + 33.3 + 33.3
    assert all_kw < 99.9, "that is how three batteries of 33.3 kW add up"
    box = Held(-all_kw, all_kw)
    box.accept({**FLEET, "p_kw": asked_kw}, NOW_NS, UTC_MS)
    assert abs(box.requests(NOW_NS)[0].p_kw) == all_kw


class Vanishing(Held):
    """Its plan is cancelled by the mailbox thread right after the loop has seen that there is one."""

    looks = 0

    @property
    def _plan(self) -> HeldPlan | None:
        self.looks += 1
        return HeldPlan(7, NOW_NS, S, (5.0,), NOW_NS + S) if self.looks == 1 else None

    @_plan.setter
    def _plan(self, plan: HeldPlan | None) -> None:
        pass


def test_a_plan_that_is_cancelled_while_the_loop_looks_does_no_harm() -> None:
    assert [request.p_kw for request in Vanishing(-100.0, 100.0).requests(NOW_NS)] == [5.0]


@given(p_kw=st.floats(), valid_s=st.floats())
def test_whatever_is_accepted_is_inside_the_nameplate_and_expires(p_kw: float, valid_s: float) -> None:
    box = held()
    try:
        box.accept({**FLEET, "p_kw": p_kw, "valid_s": valid_s}, NOW_NS, UTC_MS)
    except Refusal:
        return
    for request in box.requests(NOW_NS):
        assert -100.0 <= request.p_kw <= 100.0
        assert NOW_NS < request.expires_ns <= NOW_NS + 86_400 * S


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, Held, list[tuple[str, str, str]]]]:
    events: list[tuple[str, str, str]] = []
    box = held()
    mailbox = Mailbox(tmp_path / "control.sock", box, lambda *event: events.append(event))
    mailbox.start()
    yield tmp_path / "control.sock", box, events
    mailbox.stop()


Served = tuple[Path, Held, list[tuple[str, str, str]]]


def test_over_the_socket(served: Served) -> None:
    path, _, events = served
    assert ask(path, FLEET) == {"ok": True, "accepted": {"p_kw": 40.0}}
    assert ask(path, {**FLEET, "p_kw": 500.0})["code"] == "RANGE"
    assert [event[0] for event in events] == ["REQUEST_REFUSED"]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "raw",
    [b"\n", b"{\n", b"[1]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * (MAX_BYTES + 10) + b"\n"],
    ids=["empty", "half an object", "a list", "not UTF-8", "deep nesting", "too long"],
)
def test_garbage_gets_an_answer_and_the_next_one_is_served(served: Served, raw: bytes) -> None:
    path, _, _ = served
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.settimeout(5.0)
        client.sendall(raw)
        assert json.loads(client.makefile().readline())["code"] == "MALFORMED"
    assert ask(path, FLEET)["ok"] is True


@pytest.mark.parametrize(
    "raw",
    [
        b'{"v":1,"kind":"fleet","ref":1,"valid_s":1,"p_kw":1' + b"0" * 400 + b"}\n",
        b'{"v":1,"kind":"fleet","ref":1' + b"0" * 4000 + b',"valid_s":1,"p_kw":1}\n',
        b'{"v":1,"kind":"\\ud800","ref":1}\n',
    ],
    ids=["a power that no float holds", "an endless reference", "half a character"],
)
def test_nothing_that_is_json_ends_the_mailbox(tmp_path: Path, raw: bytes) -> None:
    mailbox = Mailbox(tmp_path / "control.sock", held(), Events(tmp_path / "events.jsonl", "test").emit)
    mailbox.start()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "control.sock"))
            client.settimeout(5.0)
            client.sendall(raw)
            answer = json.loads(client.makefile().readline())
        assert answer["ok"] is False and len(answer["what"]) < 200
        assert ask(tmp_path / "control.sock", FLEET)["ok"] is True
        assert [event["code"] for event in tail(tmp_path / "events.jsonl", 9)] == ["REQUEST_REFUSED"]
    finally:
        mailbox.stop()


class Exhausted:
    """A socket whose accept fails once, as it does when no file descriptor is left."""

    def __init__(self, real: socket.socket) -> None:
        self.real, self.failed = real, False

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.failed:
            self.failed = True
            raise OSError(errno.EMFILE, "too many open files")
        return self.real.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def test_the_mailbox_outlives_a_lack_of_file_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.mailbox.ACCEPT_PAUSE_S", 0.01)
    mailbox = Mailbox(tmp_path / "control.sock", held(), lambda *_: None)
    poor = Exhausted(mailbox._socket)
    monkeypatch.setattr(mailbox, "_socket", poor)
    mailbox.start()
    assert ask(tmp_path / "control.sock", FLEET)["ok"] is True
    assert poor.failed
    mailbox.stop()


def test_stopping_ends_the_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    mailbox = Mailbox(tmp_path / "control.sock", held(), lambda *_: None)
    mailbox.start()
    (thread,) = set(threading.enumerate()) - before
    mailbox.stop()
    thread.join(5.0)
    assert not thread.is_alive()


def test_a_silent_client_does_not_stop_the_others(served: Served) -> None:
    path, _, _ = served
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        answers: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: answers.append(ask(path, FLEET, 10.0)))
        thread.start()
        thread.join(10.0)
    assert answers and answers[0]["ok"] is True


def test_a_client_that_dribbles_does_not_stop_the_others(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps every single wait short, and is cut off all the same."""
    monkeypatch.setattr("edge.mailbox.REPLY_TIMEOUT_S", 0.3)
    path, _, _ = served
    done = threading.Event()

    def dribble() -> None:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(path))
            begun.set()
            with contextlib.suppress(OSError):
                while not done.wait(0.05):
                    slow.sendall(b"x")

    begun = threading.Event()
    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        assert begun.wait(5.0)
        assert ask(path, FLEET, 5.0)["ok"] is True
    finally:
        done.set()
        thread.join(5.0)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(LinkError):
        ask(tmp_path / "nothing.sock", FLEET)
