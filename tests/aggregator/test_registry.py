"""The state machine of sites, as tables: what comes, and what is believed afterwards."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.registry import DEVICES_MAX, REORDER_NS, Link, Message, Now, Registry, Verdict
from cloud_link.protocol.sparkplug import DataType, Metric, Payload
from models.point import Quality
from models.units import NS_PER_S

BORN, DEVICE_BORN, DATA, DEVICE_DATA, DEVICE_DIED, DIED = (
    "NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH",
)  # fmt: skip


def metric(name: str = "", value: object = 1.0, alias: int | None = None, **more: object) -> Metric:
    return Metric(value, name, alias, DataType.DOUBLE, 5000, **more)  # type: ignore[arg-type]


def bd(value: object) -> Metric:
    return Metric(value, "bdSeq", datatype=DataType.INT64)  # type: ignore[arg-type]


BIRTH_METRICS = (bd(3), metric("site/lo_kw", -50.0, 1), metric("site/hi_kw", 50.0, 2))


def message(kind: str, seq: int | None, *metrics: Metric, device: str = "") -> Message:
    if kind == BORN and not metrics:
        metrics = BIRTH_METRICS
    if kind == DEVICE_BORN and not metrics:
        metrics = (metric("p_kw", 7.0, 11),)
    if kind.startswith("D"):
        device = device or "pcs-1"
    return Message(kind, "demo", device, Payload(tuple(metrics), 5000, seq))


def pcs(seq: int | None, value: object, **more: object) -> Message:
    return message(DEVICE_DATA, seq, metric(value=value, alias=11, **more))


def at(s: float) -> Now:
    return Now(round(1e12 + s * 1000), round((100 + s) * NS_PER_S))


def play(messages: Sequence[Message]) -> tuple[Registry, list[Verdict]]:
    registry = Registry()
    return registry, [registry.apply(one, at(0.01 * n)) for n, one in enumerate(messages)]


B, D = message(BORN, 0), message(DEVICE_BORN, 1)
GOOD = pcs(2, 8.0)

# what it says · messages · link · last message taken? · a rebirth was asked · p_kw of pcs-1 and its quality
TABLE = [
    ("births and data make values", [B, D, GOOD], Link.ONLINE, True, False, (8.0, Quality.GOOD)),
    ("data before any birth is not taken", [GOOD], Link.OFFLINE, False, True, None),
    ("a device birth before the node's is not taken", [D], Link.OFFLINE, False, True, None),
    ("device data before the device's birth", [B, message(DEVICE_DATA, 1, metric(alias=11))], Link.ONLINE,
     False, True, None),
    ("seq wraps from 255 to 0", [message(BORN, 254), message(DEVICE_BORN, 255), pcs(0, 9.0)], Link.ONLINE,
     True, False, (9.0, Quality.GOOD)),
    ("after a gap nothing is taken yet", [B, D, pcs(4, 9.0)], Link.ONLINE, False, False, (7.0,
     Quality.GOOD)),
    ("the missing one comes: both are taken in order", [B, D, pcs(3, 9.0), GOOD], Link.ONLINE, True, False,
     (9.0, Quality.GOOD)),
    ("the same message twice counts once", [B, D, GOOD, GOOD], Link.ONLINE, False, False, (8.0,
     Quality.GOOD)),
    ("seq far out of order ends belief", [B, D, pcs(200, 9.0)], Link.STALE, False, True, (7.0,
     Quality.STALE)),
    ("data without seq is not taken", [B, D, pcs(None, 9.0)], Link.ONLINE, False, True, (7.0,
     Quality.GOOD)),
    ("an unknown alias refuses the whole message", [B, D, message(DEVICE_DATA, 2, metric(value=9.0,
     alias=11), metric(value=1.0, alias=99))], Link.ONLINE, False, True, (7.0, Quality.GOOD)),
    ("an unknown name refuses the whole message", [B, D, message(DEVICE_DATA, 2, metric("nonsense"))],
     Link.ONLINE, False, True, (7.0, Quality.GOOD)),
    ("a name instead of an alias is understood", [B, D, message(DEVICE_DATA, 2, metric("p_kw", 4.0))],
     Link.ONLINE, True, False, (4.0, Quality.GOOD)),
    ("an alias given twice means nothing, and is no reason to ask again and again", [B, message(DEVICE_BORN,
     1, metric("p_kw", 7.0, 1)), message(DEVICE_DATA, 2, metric(value=9.0, alias=1))], Link.ONLINE, True,
     False, (7.0, Quality.GOOD)),
    ("an alias of another device does not write here", [B, D, message(DEVICE_DATA, 2, metric(value=9.0,
     alias=1))], Link.ONLINE, True, False, (7.0, Quality.GOOD)),
    ("a null is BAD", [B, D, pcs(2, None)], Link.ONLINE, True, False, (None, Quality.BAD)),
    ("not a number is BAD", [B, D, pcs(2, float("nan"))], Link.ONLINE, True, False, (None, Quality.BAD)),
    ("quality 500 is STALE", [B, D, pcs(2, 9.0, quality=500)], Link.ONLINE, True, False, (9.0,
     Quality.STALE)),
    ("a quality that does not exist is BAD", [B, D, pcs(2, 9.0, quality=77)], Link.ONLINE, True, False,
     (9.0, Quality.BAD)),
    ("history is taken but is not the newest state", [B, D, pcs(2, 9.0, is_historical=True)], Link.ONLINE,
     True, False, (7.0, Quality.GOOD)),
    ("a device death makes its values STALE", [B, D, message(DEVICE_DIED, 2)], Link.ONLINE, True, False,
     (7.0, Quality.STALE)),
    ("data of a dead device is not taken", [B, D, message(DEVICE_DIED, 2), pcs(3, 9.0)], Link.ONLINE, False,
     True, (7.0, Quality.STALE)),
    ("a dead device is born again", [B, D, message(DEVICE_DIED, 2), message(DEVICE_BORN, 3)], Link.ONLINE,
     True, False, (7.0, Quality.GOOD)),
    ("the death of this session", [B, D, message(DIED, None, bd(3))], Link.OFFLINE, True, False, (7.0,
     Quality.STALE)),
    ("the death of an older session changes nothing", [B, D, message(DIED, None, bd(2))], Link.ONLINE,
     False, False, (7.0, Quality.GOOD)),
    ("a death without bdSeq changes nothing", [B, D, message(DIED, None)], Link.ONLINE, False, False, (7.0,
     Quality.GOOD)),
    ("a new session forgets what aliases meant until the device is born in it", [B, D, message(BORN, 0),
     pcs(1, 9.0)], Link.ONLINE, False, True, (7.0, Quality.STALE)),
    ("a rebirth with the same bdSeq is a birth", [B, D, message(BORN, 0), message(DEVICE_BORN, 1)],
     Link.ONLINE, True, False, (7.0, Quality.GOOD)),
    ("a birth without bdSeq is none", [message(BORN, 0, metric("x"))], Link.OFFLINE, False, False, None),
    ("a bdSeq that is no integer is none", [message(BORN, 0, bd("3"))], Link.OFFLINE, False, False, None),
    ("a bdSeq beyond 255 is none", [message(BORN, 0, bd(256))], Link.OFFLINE, False, False, None),
    ("a birth without seq is none", [message(BORN, None)], Link.OFFLINE, False, False, None),
    ("a kind that does not exist is ignored", [B, D, message("NHELLO", 2)], Link.ONLINE, False, False, (7.0,
     Quality.GOOD)),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "link", "taken", "asked", "p_kw"), [row[1:] for row in TABLE],
                         ids=[row[0] for row in TABLE])  # fmt: skip
def test_table(messages: list[Message], link: Link, taken: bool, asked: bool, p_kw: object) -> None:
    registry, verdicts = play(messages)
    site = registry.sites["demo"]
    assert site.link is link
    assert bool(verdicts[-1].taken) is taken
    assert any(verdict.rebirth for verdict in verdicts) is asked
    pcs = site.devices.get("pcs-1")
    found = pcs.points.get("p_kw") if pcs else None
    assert (found[:2] if found else None) == p_kw


def test_a_gap_that_stays_ends_belief_and_asks_for_a_rebirth() -> None:
    registry, _ = play([B, D, message(DATA, 3, metric(value=-10.0, alias=1))])
    assert registry.tick(at(1.9)) == []
    assert registry.tick(at(0.02 + REORDER_NS / NS_PER_S)) == ["demo"]
    assert registry.sites["demo"].link is Link.STALE
    assert registry.apply(B, at(4)).taken
    assert registry.sites["demo"].node("site/lo_kw") == (-50.0, Quality.GOOD, 5000)


def test_rebirth_requests_are_rare_and_become_rarer() -> None:
    registry = Registry()
    asked = [s for s in range(600) if registry.apply(GOOD, at(s)).rebirth]
    assert asked == [0, 5, 15, 35, *range(75, 600, 60)]


def test_after_a_quiet_time_a_rebirth_is_asked_at_once() -> None:
    registry = Registry()
    assert [registry.apply(GOOD, at(s)).rebirth for s in (0, 5, 100, 104, 105)] == [
        True,
        True,
        True,
        False,
        True,
    ]


def test_losing_our_own_connection_makes_everything_stale() -> None:
    registry, _ = play([B, D, GOOD])
    registry.link_lost(at(1))
    site = registry.sites["demo"]
    assert site.link is Link.STALE
    assert {r.quality for d in site.devices.values() for r in d.points.values()} == {Quality.STALE}
    assert registry.apply(message(DEVICE_DATA, 3, metric(alias=11)), at(2)).rebirth
    assert registry.changed == {("demo", ""), ("demo", "pcs-1")}


def test_a_silent_site_whose_birth_was_missed_is_asked_once_our_connection_stands() -> None:
    registry, _ = play([B])
    registry.apply(Message(BORN, "gone", "", B.payload), at(0))
    registry.apply(Message(DIED, "gone", "", Payload((bd(3),))), at(0))
    registry.link_lost(at(1))
    assert registry.tick(at(50)) == []
    registry.link_up(at(51))
    assert [s for s in range(52, 120) if registry.tick(at(s))] == [55, 60, 70, 90]
    registry.apply(B, at(120))
    assert registry.tick(at(1000)) == []


def test_a_death_is_still_understood_after_our_own_connection_was_lost() -> None:
    registry, _ = play([B, D])
    registry.link_lost(at(1))
    registry.apply(message(DIED, None, bd(3)), at(2))
    assert registry.sites["demo"].link is Link.OFFLINE


def test_a_restored_site_is_not_believed() -> None:
    registry = Registry()
    registry.restore("demo", Link.ONLINE, 3, 1, 2)
    registry.restore("gone", Link.OFFLINE, 3, 1, 2)
    assert [site.link for site in registry.sites.values()] == [Link.STALE, Link.OFFLINE]
    assert registry.apply(GOOD, at(0)).rebirth


def test_devices_are_limited() -> None:
    registry, _ = play([B])
    for n in range(DEVICES_MAX + 5):
        born = Message(DEVICE_BORN, "demo", f"d{n}", Payload((metric("x"),), 1, (n + 1) % 256))
        registry.apply(born, at(0))
    assert len(registry.sites["demo"].devices) == DEVICES_MAX


def test_held_messages_keep_their_order() -> None:
    registry, _ = play([B, D])
    for seq in (4, 3, 6, 5):
        assert not registry.apply(pcs(seq, float(seq)), at(0)).taken
    taken = registry.apply(GOOD, at(0)).taken
    assert [one.payload.seq for one in taken] == [2, 3, 4, 5, 6]
    assert registry.sites["demo"].devices["pcs-1"].points["p_kw"].value == 6.0


@given(st.lists(st.tuples(
    st.sampled_from([BORN, DEVICE_BORN, DATA, DEVICE_DATA, DEVICE_DIED, DIED, "X"]),
    st.sampled_from([None, 0, 1, 2, 3, 4, 5, 100, 255, 256, -1]),
    st.lists(st.sampled_from([bd(3), bd(4), metric("a", 1.0, 1), metric("b", 2.0, 1), metric(alias=1)])),
), max_size=30))  # fmt: skip
def test_nothing_that_a_site_sends_raises(story: list[tuple[str, int | None, list[Metric]]]) -> None:
    registry = Registry()
    for n, (kind, seq, metrics) in enumerate(story):
        registry.apply(message(kind, seq, *metrics), at(n))
        registry.tick(at(n + 0.5))
        site = registry.sites["demo"]
        if site.link is not Link.ONLINE:
            values = [r.quality for d in site.devices.values() for r in d.points.values()]
            assert all(quality <= Quality.STALE for quality in values)
