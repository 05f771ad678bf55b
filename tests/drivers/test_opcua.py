"""The OPC UA driver against a real server, which hangs, restarts, renumbers, doubts and lies."""

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes
from numpy.typing import NDArray

from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import PointSpec, Product
from drivers.driver import Counters
from drivers.opcua import OpcUa
from drivers.opcua_listen import Listener
from drivers.opcua_security import Link
from drivers.opcua_value import judge, parts, quality_of
from models.point import Quality, Role, RunState
from models.proposal import Setpoint
from tests.drivers.opcua_server import Plant, until

KEY = "yunchu/pv60_opcua"


class Slice:
    """A sink that remembers."""

    def __init__(self, size: int) -> None:
        self.value = np.full(size, np.nan)
        self.quality = np.zeros(size, np.uint8)
        self.t_ns = np.zeros(size, np.int64)
        self.counters = Counters()

    def put(
        self, index: NDArray[np.intp], value: NDArray[np.float64], quality: NDArray[np.uint8], t_ns: int
    ) -> None:
        self.value[index], self.quality[index], self.t_ns[index] = value, quality, t_ns

    def count(self, counters: Counters) -> None:
        self.counters = replace(counters)


class Rig:
    """A driver on a product."""

    def __init__(self, plant: Plant, product: Product) -> None:
        self.names = [spec.name for spec in product.points]
        self.sink = Slice(len(self.names))
        self.driver = OpcUa("pv-1", Link(plant.url), product, points_of(product, "pv-1", "pv-1"), self.sink)

    def value(self, name: str) -> float:
        return float(self.sink.value[self.names.index(name)])

    def quality(self, name: str) -> Quality:
        return Quality(int(self.sink.quality[self.names.index(name)]))

    def age_s(self) -> float:
        return (time.monotonic_ns() - int(self.sink.t_ns.min())) / 1e9


@pytest.fixture
def rig(plant: Plant) -> Iterator[Rig]:
    rig = Rig(plant, load_product(KEY))
    rig.driver.start()
    until(lambda: rig.sink.counters.online and rig.quality("p_kw") is Quality.GOOD)
    yield rig
    rig.driver.stop()


def test_all_points_arrive_with_their_meaning(rig: Rig) -> None:
    assert {rig.quality(name) for name in rig.names} == {Quality.GOOD}
    assert rig.value("p_kw") == 42.5
    assert rig.value("q_kvar") == -1.0
    assert rig.value("state") == RunState.RUNNING
    assert rig.value("p_limit_ratio") == 1.0


def test_a_change_arrives_through_the_subscription(plant: Plant, rig: Rig) -> None:
    for p_kw in (10.0, 11.0):
        plant.write("ActivePower", p_kw)
        until(lambda p_kw=p_kw: rig.value("p_kw") == p_kw)
    plant.write("ActivePower", 42.5)


def test_constant_values_stay_fresh_while_the_server_lives(rig: Rig) -> None:
    first_ns = int(rig.sink.t_ns.min())
    smallest_age_s = min(point.max_age_s for point in rig.driver.points)
    oldest = 0.0

    def confirmed() -> bool:
        nonlocal oldest
        oldest = max(oldest, rig.age_s())
        return int(rig.sink.t_ns.min()) > first_ns + smallest_age_s * 1e9

    until(confirmed)
    assert oldest < smallest_age_s
    assert rig.sink.counters.reconnects == 0


def test_a_hanging_server_makes_everything_stale_and_is_taken_up_again(plant: Plant, rig: Rig) -> None:
    go_on = plant.hang()
    try:
        until(lambda: rig.quality("p_kw") is Quality.STALE)
        assert {rig.quality(name) for name in rig.names} == {Quality.STALE}
        assert rig.value("p_kw") == 42.5
        assert not rig.sink.counters.online
    finally:
        go_on.set()
    until(lambda: rig.quality("p_kw") is Quality.GOOD)
    assert rig.sink.counters.timeouts > 0
    assert rig.sink.counters.reconnects > 0


STATUS = [
    ("good is good", 0, Quality.GOOD),
    ("the server doubts it", StatusCodes.UncertainSensorNotAccurate, Quality.UNCERTAIN),
    ("the server repeats an old value", StatusCodes.UncertainLastUsableValue, Quality.STALE),
    ("the source has gone", StatusCodes.BadNoCommunication, Quality.BAD),
    ("the first value is not there yet", StatusCodes.BadWaitingForInitialData, Quality.BAD),
]


@pytest.mark.parametrize(("says", "status", "quality"), STATUS)
def test_status_codes(says: str, status: int, quality: Quality) -> None:
    assert quality_of(status) is quality, says


def test_a_doubtful_status_and_not_a_number_reach_the_image(plant: Plant, rig: Rig) -> None:
    plant.write("ReactivePower", -2.0, StatusCodes.UncertainSensorNotAccurate)
    plant.write("Irradiance", math.nan)
    plant.write("State", 77)
    until(lambda: rig.quality("state") is Quality.BAD)
    until(lambda: rig.quality("irradiance_w_m2") is Quality.BAD)
    until(lambda: rig.quality("q_kvar") is Quality.UNCERTAIN)
    plant.write("ReactivePower", -1.0)
    plant.write("Irradiance", 700.0)
    plant.write("State", 3)
    until(lambda: {rig.quality(name) for name in rig.names} == {Quality.GOOD})


SPEC = PointSpec("x", Role.OTHER, "", 1.0, 2.0, scale=0.1, add=1.0, lo=-5.0, hi=5.0)
STATE = replace(SPEC, map={1: 4.0}, scale=1.0)


@pytest.mark.parametrize(
    ("says", "spec", "raw", "value"),
    [
        ("scaled and shifted", SPEC, 20.0, 3.0),
        ("integers too", SPEC, -10, 0.0),
        ("out of range", SPEC, 50.0, math.nan),
        ("not a number", SPEC, math.nan, math.nan),
        ("infinite", SPEC, math.inf, math.nan),
        ("a text is no value", SPEC, "7", math.nan),
        ("an array is no value", SPEC, [1.0], math.nan),
        ("nothing is no value", SPEC, None, math.nan),
        ("a known code", STATE, 1, 4.0),
        ("an unknown code", STATE, 2, math.nan),
        ("half a code", STATE, 1.5, math.nan),
        ("no code at all", STATE, math.nan, math.nan),
        ("true is one", STATE, True, 4.0),
    ],
)
def test_decode(says: str, spec: PointSpec, raw: Any, value: float) -> None:
    data = ua.DataValue(ua.Variant(raw, None if raw is None else ua.VariantType.Variant))
    found, quality = judge(spec, *parts(data))
    assert np.array_equal(found, value, equal_nan=True), says
    assert quality is (Quality.BAD if math.isnan(value) else Quality.GOOD), says


def test_a_missing_node_leaves_only_its_own_point_bad(plant: Plant) -> None:
    product = load_product(KEY)
    ghost = replace(product.points[1], node=("Inverter", "Nonsense"))
    rig = Rig(plant, replace(product, points=(product.points[0], ghost)))
    rig.driver.start()
    until(lambda: rig.quality("p_kw") is Quality.GOOD)
    assert rig.quality("q_kvar") is Quality.BAD
    assert rig.sink.counters.refused == 1
    rig.driver.stop()
    assert rig.quality("p_kw") is Quality.STALE


def test_a_foreign_namespace_is_not_taken_for_ours(plant: Plant) -> None:
    product = load_product(KEY)
    rig = Rig(plant, replace(product, link=replace(product.link, namespace="urn:somebody:else")))
    rig.driver.start()
    until(lambda: rig.sink.counters.bad_replies > 0)
    assert {rig.quality(name) for name in rig.names} == {Quality.BAD}
    rig.driver.stop()


def test_a_setpoint_is_refused(plant: Plant) -> None:
    rig = Rig(plant, load_product(KEY))
    rig.driver.offer(Setpoint("pv-1", 1.0, 1))
    assert rig.driver.counters.door_refused == 1
    rig.driver.stop()


def test_a_server_that_takes_no_subscription_is_polled(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: OpcUa, *_: Any) -> None:
        return None

    monkeypatch.setattr(OpcUa, "_subscribe", refuse)
    rig = Rig(plant, load_product(KEY))
    rig.driver.start()
    until(lambda: rig.quality("p_kw") is Quality.GOOD)
    plant.write("ActivePower", 12.0)
    until(lambda: rig.value("p_kw") == 12.0)
    plant.write("ActivePower", 42.5)
    rig.driver.stop()


def test_a_request_that_the_library_cancels_does_not_end_the_driver(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.opcua.BACKOFF_S", (0.05,))
    session, calls = OpcUa._session, iter([True])

    async def cancelled_once(self: OpcUa) -> None:
        if next(calls, False):
            raise asyncio.CancelledError
        await session(self)

    monkeypatch.setattr(OpcUa, "_session", cancelled_once)
    rig = Rig(plant, load_product(KEY))
    rig.driver.start()
    until(lambda: rig.quality("p_kw") is Quality.GOOD)
    assert rig.driver.alive
    rig.driver.stop()
    assert not rig.driver.alive


def test_what_was_lost_on_the_way_is_read_again(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that never arrives must not lose a value for ever: the numbers show the gap."""
    hear, lost = Listener.hear, []

    async def deaf(self: Listener, result: ua.PublishResult) -> None:
        if lost == ["next"] and result.NotificationMessage.NotificationData:
            lost.append("this")
        else:
            await hear(self, result)

    monkeypatch.setattr(Listener, "hear", deaf)
    rig = Rig(plant, load_product(KEY))
    rig.driver.start()
    until(lambda: rig.quality("p_kw") is Quality.GOOD and rig.sink.counters.polls > 2)
    lost.append("next")
    plant.write("ActivePower", 13.0)
    until(lambda: rig.value("p_kw") == 13.0)
    assert lost == ["next", "this"]
    until(lambda: rig.sink.counters.bad_replies > 0)
    plant.write("ActivePower", 42.5)
    until(lambda: rig.value("p_kw") == 42.5)
    rig.driver.stop()


def message(number: int, *notified: Any) -> ua.PublishResult:
    result = ua.PublishResult(SubscriptionId=1)
    result.NotificationMessage.SequenceNumber = number
    result.NotificationMessage.NotificationData = list(notified)
    return result


@pytest.mark.parametrize(
    ("says", "numbers", "lost"),
    [
        ("one after the other", [(1, True), (2, True), (3, True)], False),
        ("a keep-alive announces the next number", [(1, True), (2, False), (2, False), (2, True)], False),
        ("a message is missing", [(1, True), (3, True)], True),
        ("a keep-alive shows that one is missing", [(1, True), (3, False)], True),
        ("numbers start again", [(2**32 - 1, True), (1, True)], False),
    ],
)
def test_a_gap_in_the_numbers_is_noticed(says: str, numbers: list[tuple[int, bool]], lost: bool) -> None:
    async def hear() -> Listener:
        listener = Listener(lambda *_: None, lambda: None)
        for number, notified in numbers:
            await listener.hear(message(number, *[ua.DataChangeNotification()] * notified))
        await listener.hear(message(9, ua.StatusChangeNotification()))
        return listener

    listener = asyncio.run(hear())
    assert listener.ended
    assert listener.lost is lost, says
