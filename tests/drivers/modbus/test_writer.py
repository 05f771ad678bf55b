"""When what is written: order, refresh, read-back, direction, loss. The clock is the test's."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.catalog.loader import load_product
from drivers.catalog.product import Register, SetRow, Step, WriteSpec
from drivers.driver import Counters, Mail, Nameplate
from drivers.modbus.event import EventCode
from drivers.modbus.spec import ModbusSpec, on_loss_of
from drivers.modbus.writer import Writer
from models.proposal import Setpoint

S = 1_000_000_000
MODE, DIRECTION, POWER = 1, 2, 3
CHARGE, ZERO, DISCHARGE = 0xAA, 0xCC, 0xBB
SIGNED = WriteSpec((SetRow(Register(6, POWER, "i16", 0.1), "p_kw"),), 10.0)
TURNING = WriteSpec(
    (
        SetRow(Register(6, MODE), "constant", 2.0),
        SetRow(Register(6, DIRECTION), "by_sign", by_sign=(CHARGE, ZERO, DISCHARGE)),
        SetRow(Register(6, POWER, scale=0.1), "magnitude_kw"),
    ),
    10.0,
    release=(SetRow(Register(6, MODE), "constant", 0.0),),
)


class Desk:
    """A writer with a device that takes everything, unless it is told to refuse."""

    def __init__(self, write: WriteSpec, on_loss=None, **known: float) -> None:
        product = replace(load_product("yunchu/pcs100"), write=write, prepare=())
        spec = ModbusSpec("d", "u", "", "", 1, Nameplate(-100.0, 100.0), None, on_loss=on_loss)  # type: ignore[arg-type]
        self.known = known
        self.events: list[str] = []
        self.mail = Mail()
        self.now_ns = 100 * S
        self.registers: dict[int, int] = {}
        self.log: list[tuple[int, int]] = []
        self.refuse: set[int] = set()
        self.writer = Writer(
            spec, product, self.mail, Counters(), lambda name: self.known.get(name, math.nan), self.tell
        )

    def prepare(self, point: str, value: float) -> None:
        """Give the device a step that is due while ``point`` has this value."""
        step = Step("start", Register(6, 8), 1.0, point, frozenset({value}), False, 2.0)
        self.writer._steps, self.writer._step_ns = (step,), {0: 0}

    def tell(self, code: EventCode, what: str) -> None:
        self.events.append(code)

    def want(self, p_kw: float, for_s: float = 1000.0) -> None:
        self.mail.newest = Setpoint("u", p_kw, self.now_ns + round(for_s * S))

    def work(self, most: int = 50) -> list[tuple[int, int]]:
        """Do everything that is to be done now; return address and value of each write."""
        done = []
        for _ in range(most):
            request = self.writer.next(self.now_ns)
            if request is None:
                break
            address = int.from_bytes(request.pdu[1:3], "big")
            value = int.from_bytes(request.pdu[3:5], "big", signed=True)
            done.append((address, value))
            if address in self.refuse:
                self.writer.failed(request)
            else:
                self.registers[address] = value
                self.writer.confirmed(request, self.now_ns)
        self.log += done
        return done

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        self.now_ns += round(seconds * S)
        return self.work()


def test_a_sequence_is_written_in_order_and_then_only_what_changes() -> None:
    desk = Desk(TURNING)
    desk.want(-5.0)
    assert desk.work() == [(MODE, 2), (DIRECTION, ZERO), (POWER, 0), (DIRECTION, CHARGE), (POWER, 50)]
    desk.want(-6.0)
    assert desk.work() == [(POWER, 60)]
    desk.want(-6.0)
    assert desk.work() == []


def test_every_register_is_refreshed_while_the_setpoint_lives() -> None:
    desk = Desk(TURNING)
    desk.want(-5.0)
    desk.work()
    desk.now_ns += 5 * S
    desk.want(-6.0)
    assert desk.work() == [(POWER, 60)]
    assert desk.wait(5.1) == [(MODE, 2), (DIRECTION, CHARGE)], "the power was told later"
    assert desk.wait(5.0) == [(POWER, 60)]
    assert desk.writer.next_ns <= desk.now_ns + 10 * S


def test_the_direction_turns_through_zero() -> None:
    desk = Desk(TURNING)
    desk.want(80.0)
    desk.work()
    desk.want(-80.0)
    assert desk.work() == [(DIRECTION, ZERO), (POWER, 0), (DIRECTION, CHARGE), (POWER, 800)]


@given(st.lists(st.floats(-100.0, 100.0), max_size=12), st.sets(st.integers(0, 40), max_size=8))
def test_no_moment_has_a_power_in_a_direction_that_nobody_wanted(wishes, failures) -> None:
    """Whatever is refused or lost: the power is between zero and one of the last two wishes."""
    desk, count, last = Desk(TURNING), 0, 0.0
    for wish in wishes:
        desk.now_ns += S // 10
        desk.want(wish)
        for _ in range(12):
            request = desk.writer.next(desk.now_ns)
            if request is None:
                break
            count += 1
            address, value = (int.from_bytes(request.pdu[i : i + 2], "big") for i in (1, 3))
            if count not in failures or count % 2:
                desk.registers[address] = value
            if count in failures:  # the device has taken it or not: nobody knows
                desk.writer.failed(request)
            else:
                desk.writer.confirmed(request, desk.now_ns)
            sign = {CHARGE: -1, DISCHARGE: 1}.get(desk.registers.get(DIRECTION, ZERO), 0)
            told_kw = sign * desk.registers.get(POWER, 0) * 0.1
            assert min(0.0, wish, last) - 1e-6 <= told_kw <= max(0.0, wish, last) + 1e-6
        sign = {CHARGE: -1, DISCHARGE: 1}.get(desk.registers.get(DIRECTION, ZERO), 0)
        last = sign * desk.registers.get(POWER, 0) * 0.1


def test_after_a_failure_the_rest_waits_for_the_refresh() -> None:
    desk = Desk(TURNING)
    desk.want(-5.0)
    desk.refuse = {DIRECTION}
    assert desk.work() == [(MODE, 2), (DIRECTION, ZERO)]
    assert desk.wait(1.0) == []
    desk.refuse = set()
    assert desk.wait(10.0)[-2:] == [(DIRECTION, CHARGE), (POWER, 50)]


def test_after_a_failure_less_is_tried_at_once_and_another_wish_after_a_pause() -> None:
    desk = Desk(SIGNED)
    desk.refuse = {POWER}
    desk.want(5.0)
    assert desk.work() == [(POWER, 50)]
    desk.want(6.0)
    assert desk.work() == []
    desk.want(-4.0)
    assert desk.work() == [(POWER, -40)], "less power is never kept waiting"
    desk.want(7.0)
    assert desk.work() == []
    assert desk.wait(1.0) == [(POWER, 70)]


def test_a_device_that_refuses_is_not_written_to_without_end() -> None:
    """A constant wish is repeated by the refresh alone, a restless one about once a second."""
    for restless in (0.0, 0.1):
        desk = Desk(TURNING)
        desk.refuse = {POWER}
        for k in range(300):
            desk.now_ns += S // 10
            desk.want(50.0 + restless * (k % 7))
            desk.work()
        assert len(desk.log) <= (3 * 3 if not restless else 3 * 50), "30 s at ten wishes a second"


def test_the_heartbeat_stops_while_setpoints_fail() -> None:
    desk = Desk(replace(SIGNED, heartbeat=Register(6, 9), expires_s=30.0))
    desk.want(80.0)
    desk.work()
    desk.refuse = {POWER}
    desk.want(-10.0)
    desk.work()
    desk.log.clear()
    desk.now_ns += S // 2
    desk.want(-10.0)
    assert desk.work() == [], "its own timer must be able to drop the old power"


def test_a_sign_that_changes_in_the_middle_of_a_sequence_goes_over_zero() -> None:
    desk = Desk(TURNING)
    desk.want(0.0)
    desk.work()
    desk.want(50.0)
    assert desk.work(most=2)[-1] == (POWER, 500)
    desk.want(-3.0)
    turned = desk.work()
    assert turned.index((POWER, 0)) < turned.index((DIRECTION, CHARGE)) < turned.index((POWER, 30))


def test_last_words_are_not_kept_waiting_by_an_older_failure() -> None:
    desk = Desk(SIGNED)
    desk.want(50.0, 1.5)
    desk.work()
    desk.refuse = {POWER}
    desk.want(60.0, 1.0)
    desk.wait(0.5)
    desk.refuse = set()
    assert desk.wait(0.6) == [(POWER, 0)]


def test_last_words_that_depend_on_an_unknown_point_are_told_when_it_is_known() -> None:
    rows = (SetRow(Register(6, POWER, "i16", 0.1), "p_kw", per="most_kw"),)
    desk = Desk(WriteSpec(rows, 10.0), "zero", most_kw=100.0)
    desk.want(50.0, 1.0)
    assert desk.work() == [(POWER, 5)]
    desk.known.clear()
    assert desk.wait(1.0) == []
    assert not desk.writer.idle
    desk.known["most_kw"] = 100.0
    assert desk.wait(1.0) == [(POWER, 0)]
    assert desk.writer.idle


def test_a_power_that_the_door_refuses_for_longer_than_the_last_one_lived_ends_it() -> None:
    desk = Desk(SIGNED)
    desk.want(80.0, 2.0)
    desk.work()
    desk.want(120.0, 100.0)
    assert desk.wait(1.0) == []
    assert desk.wait(1.0) == [(POWER, 0)]
    desk.want(20.0)
    assert desk.work() == [(POWER, 200)]


LOSS = [
    # on loss, write, what is written when the setpoint has expired
    ("device", TURNING, [], "its own timer acts"),
    ("release", TURNING, [(MODE, 0)], "control goes back to the device"),
    ("zero", SIGNED, [(POWER, 0)], "no power"),
    ("zero", TURNING, [(MODE, 2), (DIRECTION, ZERO), (POWER, 0)], "no power, in all registers"),
    (None, TURNING, [(MODE, 0)], "no timer, but a release"),
    (None, SIGNED, [(POWER, 0)], "neither timer nor release"),
    (None, replace(TURNING, expires_s=30.0), [], "a timer"),
]


@pytest.mark.parametrize(("on_loss", "write", "expected", "why"), LOSS, ids=[row[3] for row in LOSS])
def test_what_is_told_on_loss(on_loss, write, expected, why) -> None:
    desk = Desk(write, on_loss)
    desk.want(50.0, 1.0)
    desk.work()
    assert not desk.writer.idle
    assert desk.wait(1.0) == expected
    assert desk.writer.idle
    assert desk.wait(100.0) == [], "once"
    assert (EventCode.RELEASED in desk.events) == bool(expected)


def test_nothing_is_told_on_loss_to_a_device_that_was_never_told_anything() -> None:
    desk = Desk(SIGNED)
    desk.want(50.0, -1.0)
    assert desk.work() == []
    assert desk.writer.idle


def test_last_words_that_fail_are_repeated_until_they_are_heard() -> None:
    desk = Desk(SIGNED)
    desk.want(50.0, 1.0)
    desk.work()
    desk.refuse = {POWER}
    assert desk.wait(1.0) == [(POWER, 0)]
    assert desk.wait(1.0) == []
    desk.refuse = set()
    assert desk.wait(10.0) == [(POWER, 0)]
    assert desk.wait(10.0) == []


def test_after_a_loss_everything_is_told_anew() -> None:
    desk = Desk(TURNING)
    desk.want(50.0, 1.0)
    desk.work()
    desk.wait(2.0)
    desk.want(50.0)
    assert desk.work() == [(MODE, 2), (DIRECTION, ZERO), (POWER, 0), (DIRECTION, DISCHARGE), (POWER, 500)]


READ_BACK = replace(SIGNED, readback="p_set_kw")


def test_a_device_that_shows_another_setpoint_is_told_once_more_and_reported() -> None:
    desk = Desk(READ_BACK, p_set_kw=0.0)
    desk.want(10.0)
    desk.work()
    desk.work()
    desk.writer.seen(desk.now_ns)
    assert desk.events == [], "it may show it late"
    desk.now_ns += 2 * S
    desk.writer.seen(desk.now_ns)
    assert desk.events == [EventCode.NOT_TAKEN]
    assert desk.work() == [(POWER, 100)]
    desk.writer.seen(desk.now_ns)
    assert desk.work() == [], "not for ever"
    desk.known["p_set_kw"] = 10.0
    desk.writer.seen(desk.now_ns)
    assert desk.events == [EventCode.NOT_TAKEN, EventCode.TAKEN]


def test_a_device_that_shows_what_it_was_told_a_moment_ago_is_well() -> None:
    desk = Desk(READ_BACK, p_set_kw=10.0)
    for p_kw in (10.0, 11.0, 12.0):
        desk.now_ns += S // 5
        desk.want(p_kw)
        desk.work()
        desk.work()
        desk.writer.seen(desk.now_ns)
    assert desk.events == []
    desk.now_ns += 2 * S
    desk.want(13.0)
    desk.work()
    desk.work()
    desk.writer.seen(desk.now_ns)
    assert desk.events == [EventCode.NOT_TAKEN], "that moment is over"


def test_a_reading_between_two_writes_accuses_nobody() -> None:
    desk = Desk(READ_BACK, p_set_kw=10.0)
    desk.want(10.0)
    desk.work()
    desk.now_ns += 5 * S
    desk.want(-20.0)
    desk.work(most=1)
    desk.known["p_set_kw"] = -20.0
    desk.writer.seen(desk.now_ns)
    assert desk.work() == []
    desk.writer.seen(desk.now_ns)
    assert desk.events == []


def test_a_device_that_shows_its_setpoint_late_is_well() -> None:
    """Also after a long constant: what was told until a moment ago may still be shown."""
    desk = Desk(READ_BACK, p_set_kw=10.0)
    desk.want(10.0)
    desk.work()
    desk.work()
    desk.now_ns += 60 * S
    desk.want(20.0)
    desk.work()
    desk.work()
    desk.now_ns += S // 3
    desk.writer.seen(desk.now_ns)
    assert desk.events == []
    desk.now_ns += S
    desk.writer.seen(desk.now_ns)
    assert desk.events == [EventCode.NOT_TAKEN]


def test_a_step_that_the_device_ignores_is_told_once() -> None:
    desk = Desk(SIGNED, state=1.0)
    desk.prepare("state", 1.0)
    desk.want(5.0, 1e6)
    writes = [desk.wait(2.0) for _ in range(20)]
    assert sum(map(len, writes)) == 20
    assert desk.events == [EventCode.PREPARED]
    desk.known["state"] = 3.0
    desk.wait(1.0)
    desk.known["state"] = 1.0
    desk.wait(10.0)
    assert desk.events == [EventCode.PREPARED] * 2


def test_an_unknown_read_back_says_nothing() -> None:
    desk = Desk(READ_BACK)
    desk.want(10.0)
    desk.work()
    desk.writer.seen(desk.now_ns)
    assert desk.events == []


CLAMPED = replace(SIGNED, clamp_charge="most_in_kw", clamp_discharge="most_out_kw")
CLAMPS = [
    (50.0, {"most_out_kw": 20.0}, 200, "no more than the device allows"),
    (-50.0, {"most_in_kw": 20.0}, -200, "nor in the other direction"),
    (10.0, {"most_out_kw": 20.0}, 100, "what it allows"),
    (10.0, {"most_in_kw": 20.0}, 0, "what is not known allows nothing"),
    (10.0, {"most_out_kw": -5.0}, 0, "nor does a negative limit turn the power"),
]


@pytest.mark.parametrize(("p_kw", "known", "raw", "why"), CLAMPS, ids=[row[3] for row in CLAMPS])
def test_the_devices_own_limits(p_kw, known, raw, why) -> None:
    desk = Desk(CLAMPED, **known)
    desk.want(p_kw)
    assert desk.work() == [(POWER, raw)]


def test_the_default_on_loss_follows_the_product() -> None:
    product = load_product("yunchu/pcs100")
    assert on_loss_of(product) == "device"
    assert on_loss_of(replace(product, write=None)) == "device"
