"""``edge read``, ``edge write`` and ``edge bus`` on real sockets, with and without a running controller."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drivers.simulator.product_server import ProductServer
from edge.cli import program
from edge.cli.init import write_site
from edge.events import tail
from tests.drivers.fake_line import serial_line, simulated
from tests.edge.cli.field_site import FieldSite, site


@pytest.fixture(params=[True, False], ids=["through the controller", "alone"])
def either(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FieldSite]:
    """The same verbs work both ways."""
    with site(tmp_path, running=request.param) as one:
        monkeypatch.setenv("YUNCHU_RUN_DIR", str(one.run_dir))
        yield one


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FieldSite]:
    """A controller serves the converter."""
    with site(tmp_path, running=True) as one:
        monkeypatch.setenv("YUNCHU_RUN_DIR", str(one.run_dir))
        yield one


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FieldSite]:
    """No controller runs."""
    with site(tmp_path, running=False) as one:
        monkeypatch.setenv("YUNCHU_RUN_DIR", str(one.run_dir))
        yield one


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody waits for a cycle that does not run here; and no record leaves the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("edge.cli.write.TAKES_S", 0.05)
    monkeypatch.setattr("edge.cli.bus.SAMPLE_S", 0.5)


def run(one: FieldSite, *words: str, lang: str = "en") -> Result:
    verb, *rest = words
    return CliRunner().invoke(program, ["--lang", lang, verb, "--config", str(one.config), *rest])


def data(result: Result) -> Any:
    assert result.stdout, result.stderr
    return json.loads(result.stdout)["data"]


# read


def test_all_points_of_a_device(either: FieldSite) -> None:
    either.pcs.put("p_kw", -42.5)
    result = run(either, "read", "pcs-1", "--json")
    rows = {row["point"]: row for row in data(result)}
    assert result.exit_code == 0
    assert len(rows) == 17
    assert rows["p_kw"]["value"] == -42.5
    assert (rows["p_kw"]["raw"], rows["p_kw"]["quality"]) == ((65_536 - 425).to_bytes(2, "big").hex(), "GOOD")
    assert 0.0 <= rows["p_kw"]["age_s"] < 5.0


def test_one_point_as_text_in_both_languages(either: FieldSite) -> None:
    en, zh = (run(either, "read", "pcs-1/dc_v", lang=lang).stdout for lang in ("en", "zh"))
    assert "780  V     GOOD" in en
    assert "3/104 u16 ×0.1" in en
    assert "质量" in zh


def test_why_a_value_is_not_usable(either: FieldSite) -> None:
    either.pcs.put_missing("dc_v")
    result = run(either, "read", "pcs-1/dc_v")
    assert result.exit_code == 7
    assert "not available" in result.stdout


def test_watching_ends_with_ctrl_c(either: FieldSite, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([None, None])

    def pause(_: float) -> None:
        try:
            next(rounds)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("edge.cli.read.time.sleep", pause)
    result = run(either, "read", "pcs-1/dead_man_s", "--watch", "--json")
    assert result.exit_code == 130
    assert [json.loads(line)["data"][0]["value"] for line in result.stdout.splitlines()] == [3.0] * 3


def test_raw_registers_by_device_and_by_link(either: FieldSite) -> None:
    by_device = run(either, "read", "pcs-1", "--address", "204", "--count", "2", "--json")
    by_link = run(either, "read", "--link", either.server.url, "--address", "204", "--count", "2", "--json")
    assert data(by_device) == data(by_link)
    first = data(by_link)["registers"][0]
    assert (first["address"], first["values"]["u16"]) == (204, 3.0)
    assert first["values"]["u32"] == 3 * 65_536 + first["values"]["u32 lo-hi"] // 65_536


def test_a_float_with_the_low_word_first(tmp_path: Path) -> None:
    device = simulated("eastron/sdm630")
    with serial_line(device) as path:
        link = f"rtu://{path}?baud=9600"
        device.space(4).update({0: 0x0000, 1: 0x4248})
        words = (
            "read",
            "--link",
            link,
            "--fn",
            "4",
            "--address",
            "0",
            "--count",
            "2",
            "--type",
            "f32",
            "--low-first",
        )
        result = CliRunner().invoke(program, [*words, "--json", "--run-dir", str(tmp_path)])
    assert data(result)["registers"][0]["values"] == {"f32 lo-hi": 50.0}


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("read", "nobody"), 3, "FLD-001"),
        (("read", "pv-1"), 3, "FLD-002"),
        (("read",), 2, "FLD-003"),
        (("read", "--link", "tcp://127.0.0.1:1"), 2, "FLD-003"),
        (("read", "pcs-1/nothing"), 2, "FLD-004"),
        (("read", "--link", "tcp://127.0.0.1:1", "--address", "1"), 5, "BUS-002"),
        (("read", "pcs-1", "--address", "9000", "--count", "20"), 5, "FLD-007"),
        (("write", "pcs-1"), 2, "FLD-011"),
        (("write", "pcs-1/state", "3x"), 2, ""),
        (("write", "pcs-1/dc_v", "99999"), 2, "FLD-011"),
        (("write", "pcs-1", "--address", "204", "--type", "u32", "--value", "1"), 2, "FLD-011"),
        (("write", "pcs-1", "--address", "204", "--value", "70000"), 2, "FLD-011"),
        (("write", "pcs-1", "--address", "200", "--type", "i16", "--value", "1001", "--yes"), 6, "FLD-012"),
        (("write", "pcs-1", "--fn", "16", "--address", "199", "--type", "u32", "--value", "1"), 6, "FLD-012"),
    ],
    ids=str,
)
def test_what_is_refused(alone: FieldSite, words: tuple[str, ...], code: int, problem: str) -> None:
    result = run(alone, *words, lang="zh")
    assert result.exit_code == code, result.output
    assert problem in result.stderr
    assert alone.pcs.written == []


# write


def test_without_yes_nothing_is_sent_and_the_frame_is_shown(either: FieldSite) -> None:
    result = run(either, "write", "pcs-1/dead_man_s", "5")
    assert result.exit_code == 0, result.stderr
    assert "00 06 01 06 00 cc 00 05" in result.stdout
    assert "Nothing was sent" in result.stderr
    assert "未发送任何内容" in run(either, "write", "pcs-1/dead_man_s", "5", lang="zh").stderr
    assert either.pcs.written == []


def test_a_negative_value_is_no_option(alone: FieldSite) -> None:
    shown = run(alone, "write", "pcs-1/p_set_kw", "-12.5", "--json")
    assert data(shown)["new"] == (65_536 - 125).to_bytes(2, "big").hex()
    assert run(alone, "write", "pcs-1/p_set_kw", "--yess").exit_code == 2
    assert run(alone, "write", "pcs-1", "--p-kw", "-101", "--yes").exit_code in (4, 6)


def test_a_write_is_sent_once_read_back_and_recorded(either: FieldSite) -> None:
    words = (
        "write",
        "pcs-1",
        "--address",
        "204",
        "--fn",
        "6",
        "--type",
        "u16",
        "--value",
        "5",
        "--yes",
        "--json",
    )
    result = run(either, *words)
    facts = data(result)
    assert result.exit_code == 0
    assert (facts["sent"], facts["old"], facts["new"], facts["readback"]) == (True, "0003", "0005", "0005")
    assert [written.words for written in either.pcs.written if written.address == 204] == [(5,)]
    recorded = [event for event in either.events() if event.startswith("FIELD_WRITE")]
    assert len(recorded) == 1
    assert "00cc0005" in recorded[0] or "0003 → 0005" in recorded[0]


def test_a_write_for_a_time_restores_the_old_value(either: FieldSite) -> None:
    result = run(either, "write", "pcs-1/dead_man_s", "9", "--for", "0s", "--yes")
    assert result.exit_code == 0, result.stderr
    assert "restored: 0003" in result.stderr
    assert [written.words for written in either.pcs.written if written.address == 204] == [(9,), (3,)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_restores_the_old_value_too(alone: FieldSite, number: signal.Signals) -> None:
    def close_when_written() -> None:
        ends_s = time.monotonic() + 20.0
        while not alone.pcs.written and time.monotonic() < ends_s:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    threading.Thread(target=close_when_written, daemon=True).start()
    result = run(alone, "write", "pcs-1/dead_man_s", "9", "--for", "1h", "--yes")
    assert "restored: 0003" in result.stderr
    assert [written.words for written in alone.pcs.written] == [(9,), (3,)]


def test_a_device_that_does_not_take_it_is_the_answer_no(alone: FieldSite) -> None:
    del alone.pcs.space(3)[204]
    result = run(alone, "write", "pcs-1", "--address", "204", "--value", "5", "--yes")
    assert result.exit_code == 1
    assert "not confirmed: exception 2" in result.stderr
    assert alone.pcs.written == []


@pytest.mark.parametrize("unit", ["1", "77", "255"], ids=["its own", "one that nobody knows", "another"])
@pytest.mark.parametrize("yes", [(), ("--yes",)], ids=["rehearsal", "for real"])
def test_the_setpoint_has_one_writer(running: FieldSite, unit: str, yes: tuple[str, ...]) -> None:
    """Some devices answer on every unit id, so an unknown one is taken for the device."""
    running.pcs.spaces[int(unit), 3] = running.pcs.space(3)
    words = ("--link", running.server.url, "--unit-id", unit, "--address", "200", "--value", "5")
    result = run(running, "write", *words, *yes)
    assert result.exit_code == 6, result.output
    assert "ONE_WRITER" in result.stderr
    assert running.pcs.written == []


def test_the_setpoint_within_the_nameplate_may_be_written_when_no_controller_runs(alone: FieldSite) -> None:
    result = run(alone, "write", "pcs-1", "--address", "200", "--type", "i16", "--value", "-100", "--yes")
    assert result.exit_code == 0, result.output
    assert [written.words for written in alone.pcs.written] == [(65_436,)]
    assert [event["code"] for event in tail(alone.run_dir / "events.jsonl", 5)] == ["FIELD_WRITE"]


def test_without_a_site_no_setpoint_is_written(alone: FieldSite) -> None:
    words = (
        "--link",
        alone.server.url,
        "--product",
        "yunchu/pcs100",
        "--address",
        "200",
        "--value",
        "1",
        "--yes",
    )
    result = run(alone, "write", *words)
    assert result.exit_code == 6
    assert "nameplate is not known" in result.stderr


BARE = ("--address", "204", "--value", "5")


def test_on_a_bare_link_nothing_is_written_without_a_word(either: FieldSite) -> None:
    words = ("write", "--link", either.server.url, *BARE)
    shown = run(either, *words)
    assert shown.exit_code == 0
    assert "FLD-014" not in shown.stdout
    assert "--no-door" in shown.stderr
    assert "--no-door" in run(either, *words, lang="zh").stderr
    refused = run(either, *words, "--yes")
    assert refused.exit_code == 6
    assert "FLD-014" in refused.stderr
    assert either.pcs.written == []


def test_with_that_word_it_is_written_and_recorded(either: FieldSite) -> None:
    words = ("write", "--link", either.server.url, *BARE, "--no-door")
    assert "--no-door" not in run(either, *words).stderr
    assert run(either, *words, "--yes").exit_code == 0
    assert [written.words for written in either.pcs.written if written.address == 204] == [(5,)]
    recorded = [event for event in either.events() if event.startswith("FIELD_WRITE")]
    assert len(recorded) == 1
    assert recorded[0].endswith("confirmed")


def test_without_a_site_it_is_recorded_where_the_user_keeps_things(
    alone: FieldSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("YUNCHU_RUN_DIR")
    words = ("--link", alone.server.url, *BARE, "--no-door", "--for", "0s", "--yes")
    result = run(alone, "write", *words)
    assert result.exit_code == 0, result.stderr
    kept = alone.run_dir.parent / "state" / "yunchu" / "field.jsonl"
    assert f"recorded in {kept}" in result.stderr
    events = tail(kept, 5)
    assert [event["where"] for event in events] == [alone.server.url] * 2
    assert [event["what"].partition(": ")[2] for event in events] == [
        "0003 → 0005; confirmed",
        "0005 → 0003; confirmed",
    ]


def test_where_the_user_has_no_place_for_the_record_nothing_is_sent(
    alone: FieldSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("YUNCHU_RUN_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(alone.config))  # a file
    result = run(alone, "write", "--link", alone.server.url, *BARE, "--no-door", "--yes")
    assert result.exit_code == 1
    assert "cannot be recorded" in result.stderr
    assert alone.pcs.written == []


def test_a_power_goes_to_the_operator_request(running: FieldSite) -> None:
    shown = run(running, "write", "pcs-1", "--p-kw", "20")
    assert (shown.exit_code, shown.stdout) == (0, "discharge 20.0 kW\n")
    assert running.held.requests(time.monotonic_ns()) == ()
    sent = run(running, "write", "pcs-1", "--p-kw", "20", "--for", "30s", "--yes", "--json")
    (request,) = running.held.requests(time.monotonic_ns())
    assert (request.source.name, request.p_kw) == ("OPERATOR", 20.0)
    assert data(sent)["message"]["valid_s"] == 30.0
    assert any("asks for 20 kW, 30 s" in event for event in running.events())
    assert run(running, "write", "pcs-1", "--cancel", "--yes").exit_code == 0
    assert running.held.requests(time.monotonic_ns()) == ()
    assert running.pcs.written == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("pcs-1", "--p-kw", "101", "--yes"), "FLD-012"),
        (("pcs-1", "--p-kw", "nan", "--yes"), "FLD-012"),
        (("bms-1", "--p-kw", "10", "--yes"), "FLD-010"),
    ],
)
def test_a_power_that_is_refused(running: FieldSite, words: tuple[str, ...], problem: str) -> None:
    result = run(running, "write", *words)
    assert (result.exit_code, problem in result.stderr) == (6, True), result.output
    assert running.held.requests(time.monotonic_ns()) == ()


# scan and bus


def test_a_line_that_a_controller_holds_is_not_scanned(running: FieldSite) -> None:
    words = ["--lang", "en", "scan", "tcp", "localhost", "--port", str(running.server.port)]
    result = CliRunner().invoke(program, words)
    assert result.exit_code == 75
    assert "the controller of demo holds this line (pcs-1)" in result.stderr
    assert "edge read" in result.stderr


def test_a_scan_of_several_ports_leaves_out_the_held_one(running: FieldSite) -> None:
    with ProductServer(simulated("huawei/sun2000")) as other:
        ports = f"{other.port},{running.server.port}"
        words = ["--lang", "en", "scan", "tcp", "127.0.0.1", "--port", ports, "--ids", "1", "--json"]
        result = CliRunner().invoke(program, words)
    assert [found["link"] for found in data(result)] == [other.url]
    assert f"127.0.0.1:{running.server.port} is left out" in result.stderr


def test_the_traffic_of_a_running_site(running: FieldSite) -> None:
    facts = data(run(running, "bus", "--json"))
    (line,) = facts["lines"]
    assert line["devices"] == ["pcs-1"]
    assert line["units"]["1"]["requests_per_s"] > 1.0
    assert line["units"]["1"]["timeouts"] == 0
    (pcs,) = [device for device in facts["devices"] if device["name"] == "pcs-1"]
    assert pcs["online"] and pcs["not_good"] == 0
    assert pcs["age_s"] < 5.0
    assert "占用率" in run(running, "bus", lang="zh").stdout


def test_frames_as_they_go(running: FieldSite) -> None:
    result = run(running, "bus", "--raw", "--count", "4", "--json")
    frames = [json.loads(line)["data"] for line in result.stdout.splitlines()]
    assert len(frames) == 4
    assert {frame["way"] for frame in frames} == {"tx", "rx"}
    assert any("01030064000d" in frame["data"] for frame in frames)
    assert "  tx  [ 12]  " in run(running, "bus", "--raw", "--count", "2").stdout


def test_the_load_before_a_start(alone: FieldSite) -> None:
    result = run(alone, "bus", "--plan", "--json")
    lines = {line["line"]: line for line in data(result)}
    assert result.exit_code == 0
    assert 0.0 < lines[f"127.0.0.1:{alone.server.port}"]["busy"] < 1.0
    assert [line["devices"] for line in lines.values()] == [["pcs-1"], ["bms-1"], ["meter-1"]]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_line_that_does_not_fit_is_told(alone: FieldSite, lang: str) -> None:
    text = alone.config.read_text().replace("?baud=19200", "?baud=1200")
    alone.config.write_text(text)
    plan = run(alone, "bus", "--plan", lang=lang)
    assert plan.exit_code == 1
    assert "BUS-010" in plan.stderr
    assert "edge bus --plan" in plan.stderr
    write_site(alone.config.parent, text, "demo")
    check = CliRunner().invoke(program, ["--lang", lang, "check", str(alone.config)])
    assert check.exit_code == 0, check.stderr
    assert "BUS-010" in check.stderr


@pytest.mark.parametrize(
    "words", [("bus",), ("bus", "--raw"), ("write", "pcs-1", "--p-kw", "1", "--yes")], ids=str
)
def test_without_a_controller(alone: FieldSite, words: tuple[str, ...]) -> None:
    assert run(alone, *words).exit_code == 4
