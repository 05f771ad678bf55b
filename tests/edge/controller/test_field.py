"""The field desk answers or refuses whatever comes; it never dies of it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.modbus import frames
from drivers.modbus.line import Line, parse_url
from drivers.modbus.link import link_to
from edge.controller import field
from edge.controller.field import FieldDesk, Tap
from edge.field import Forbidden, Through, holder_of, holders, same_line, users_of
from edge.mailbox import FIELD_SOCKET, Refusal, ask
from models.errors import LinkError, NoReply, Refused
from tests.edge.cli.field_site import FieldSite, site

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FieldSite]:
    with site(tmp_path, running=True) as one:
        monkeypatch.setenv("YUNCHU_RUN_DIR", str(one.run_dir))
        yield one


def desk() -> FieldDesk:
    return FieldDesk("demo", [], lambda *_: None)


@given(
    st.fixed_dictionaries(
        {"v": st.just(1), "kind": st.sampled_from(["ask", "frames", "lines", "other"])},
        optional={key: JSON for key in ("line", "unit", "pdu", "after", "who", "rehearsal")},
    )
)
def test_any_message_is_answered_or_refused(message: dict[str, Any]) -> None:
    try:
        assert desk().accept(message, 0, 0)["ok"]
    except Refusal as refusal:
        assert refusal.answer["code"] in ("NO_LINE", "MALFORMED", "UNKNOWN_KIND")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["unit", "pdu", "after"]), JSON))
def test_any_message_for_a_line_is_answered_or_refused(running: FieldSite, message: dict[str, Any]) -> None:
    line = f"127.0.0.1:{running.server.port}"
    for kind in ("ask", "frames"):
        whole = {"unit": 1, "pdu": "03006400", **message, "v": 1, "kind": kind, "line": line}
        try:
            answer = ask(running.run_dir / FIELD_SOCKET, whole)
        except (LinkError, ValueError):  # what cannot be sent as JSON
            continue
        assert answer["ok"] or answer["code"] in ("MALFORMED", "NoReply", "Refused")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"v": 2, "kind": "lines"}, "VERSION"),
        ({"v": 1, "kind": "lunch"}, "UNKNOWN_KIND"),
        ({"v": 1, "kind": "ask", "line": "nowhere"}, "NO_LINE"),
        ({"v": 1, "kind": "frames", "line": ["x"]}, "NO_LINE"),
        ({"v": 1, "kind": "frames", "after": "x"}, "MALFORMED"),
        ({"v": 1, "kind": "frames", "after": float("inf")}, "MALFORMED"),
    ],
)
def test_refusals_have_codes(message: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        desk().accept(message, 0, 0)
    assert refused.value.answer["code"] == code


@pytest.mark.parametrize(
    "asked",
    [
        {"unit": float("inf"), "pdu": "0300640001"},
        {"unit": 1, "pdu": "0f00000001"},
        {"unit": 1, "pdu": "zz"},
        {"unit": 1, "pdu": ""},
        {"unit": 1, "pdu": "2b0e0100"},
        {"unit": None, "pdu": 3},
        {"unit": 999, "pdu": "0300640001"},
    ],
    ids=str,
)
def test_what_is_no_request_is_malformed(running: FieldSite, asked: dict[str, Any]) -> None:
    (held,) = holders()
    drivers = FieldDesk("demo", [], lambda *_: None)
    drivers._lines[held.line] = (None, None, [])  # type: ignore[assignment]
    with pytest.raises(Refusal) as refused:
        drivers.accept({"v": 1, "kind": "ask", "line": held.line, **asked}, 0, 0)
    assert refused.value.answer["code"] == "MALFORMED"


def test_who_holds_a_line(running: FieldSite) -> None:
    (held,) = holders()
    assert (held.site, held.devices) == ("demo", ("pcs-1",))
    assert holder_of(parse_url(running.server.url)) == held
    assert holder_of(parse_url("tcp://127.0.0.1:1")) is None


def test_a_socket_that_nobody_serves_is_nobody(tmp_path: Path) -> None:
    (tmp_path / FIELD_SOCKET).touch()
    assert list(holders(tmp_path)) == []


def test_requests_through_the_controller(running: FieldSite) -> None:
    (held,) = holders()
    through = Through(held, "tester")
    assert through(frames.read(1, 3, 204, 1)) == b"\0\3"
    with pytest.raises(Refused) as refused:
        through(frames.read(1, 3, 9000, 20))
    assert refused.value.code == 2
    with pytest.raises(NoReply):
        through(frames.read(44, 3, 0, 1))
    with pytest.raises(Forbidden) as forbidden:
        through.rehearse(frames.write_register(1, 200, b"\0\0"))
    assert forbidden.value.code == "ONE_WRITER"
    assert running.pcs.written == []


def test_a_coil_is_no_setpoint(running: FieldSite) -> None:
    (held,) = holders()
    Through(held).rehearse(frames.write_coil(1, 200, True))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1:502", "localhost:502", True),
        ("127.0.0.1:502", "127.0.0.1:503", False),
        ("/dev/null", "/dev/../dev/null", True),
        ("/dev/null", "/dev/zero", False),
        ("no.such.host.invalid:502", "127.0.0.1:502", False),
    ],
)
def test_names_of_the_same_line(one: str, other: str, same: bool) -> None:
    assert same_line(one, other) == same


def test_who_has_a_port_open(tmp_path: Path) -> None:
    assert users_of(str(tmp_path / "nothing")) == []


def test_frames_are_kept_only_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(parse_url("tcp://127.0.0.1:1"))
    tap = Tap(line)
    assert tap.after(-1) == {"ok": True, "frames": [], "newest": 0}
    assert line.tap is tap
    tap("tx", time.monotonic_ns(), b"\1")
    tap("rx", time.monotonic_ns(), b"\2")
    assert [frame[:2] + frame[3:] for frame in tap.after(0)["frames"]] == [[1, "tx", "01"], [2, "rx", "02"]]
    assert tap.after(2)["frames"] == []
    tap("tx", time.monotonic_ns() + field.TAP_NS + 10**9, b"\3")
    assert line.tap is None
    assert tap.after(0)["frames"] == []


def test_frames_that_somebody_else_takes_are_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    link = link_to(parse_url("tcp://127.0.0.1:1"))
    one = desk()
    one._lines["127.0.0.1:1"] = (None, link, [])  # type: ignore[assignment]
    assert one.accept({"v": 1, "kind": "frames", "line": "127.0.0.1:1"}, 0, 0)["ok"]
    link.line.tap = lambda *_: None
    with pytest.raises(Refusal) as refused:
        one.accept({"v": 1, "kind": "frames", "line": "127.0.0.1:1"}, 0, 0)
    assert refused.value.answer["code"] == "TAPPED"


def test_no_more_frames_are_kept_than_fit() -> None:
    tap = Tap(Line(parse_url("tcp://127.0.0.1:1")))
    tap.after(-1)
    for _ in range(field.FRAMES_KEPT + 7):
        tap("tx", time.monotonic_ns(), b"\0")
    kept = tap.after(0)
    assert len(kept["frames"]) == field.FRAMES_KEPT
    assert kept["newest"] == field.FRAMES_KEPT + 7
