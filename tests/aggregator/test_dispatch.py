"""What is dispatched, what is refused, and what becomes of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.dispatch import GRACE_MS, Dispatcher, Order, check, new_id
from aggregator.problems import Refusal
from aggregator.registry import Device, Link, Now, Reading, Registry, Site
from aggregator.rows import CommandRow
from aggregator.store import Store
from cloud_link.protocol.command import Ack, Command, command_hash, decode_command, encode_ack
from cloud_link.protocol.signing import Keyring, SigningKey
from models.point import Quality
from models.units import NS_PER_S

NAN, INF = float("nan"), float("inf")
FLEET, SITE = SigningKey.generate(), SigningKey.generate()


def at(s: float) -> Now:
    return Now(round(1e12 + s * 1000), round((100 + s) * NS_PER_S))


def site(link: Link = Link.ONLINE, quality: Quality = Quality.GOOD, **values: object) -> Site:
    points = {"site/lo_kw": -50.0, "site/hi_kw": 60.0} | {f"site/{k}": v for k, v in values.items()}
    node = Device(True, 5, {name: Reading(v, quality, 5) for name, v in points.items()})  # type: ignore[arg-type]
    return Site("demo", link, heard_ms=at(0).utc_ms, heard_ns=at(0).mono_ns, devices={"": node})


def order(p_kw: float, for_s: float = 20.0, clip: bool = False) -> Order:
    return Order("demo", p_kw, for_s, clip)


# what it says · site · order · seconds later · power or refusal
CHECKS = [
    ("inside the bounds", site(), order(40.0), 1.0, 40.0),
    ("exactly at a bound", site(), order(-50.0), 1.0, -50.0),
    ("rounded beyond a bound", site(hi_kw=33.3 + 33.3 + 33.3), order(99.9), 1.0, 33.3 + 33.3 + 33.3),
    ("above the bound", site(), order(60.1), 1.0, "FLEET-024"),
    ("below the bound", site(), order(-50.1), 1.0, "FLEET-024"),
    ("clipped at the upper bound", site(), order(400.0, clip=True), 1.0, 60.0),
    ("clipped at the lower bound", site(), order(-400.0, clip=True), 1.0, -50.0),
    ("rest where only discharge is possible", site(lo_kw=10.0), order(0.0), 1.0, "FLEET-024"),
    ("not a number", site(), order(NAN), 1.0, "FLEET-025"),
    ("not a number is not clipped", site(), order(NAN, clip=True), 1.0, "FLEET-025"),
    ("infinite", site(), order(INF, clip=True), 1.0, "FLEET-025"),
    ("a gigawatt and more", site(), order(1e308, clip=True), 1.0, "FLEET-025"),
    ("for no time", site(), order(40.0, 0.0), 1.0, "FLEET-026"),
    ("for longer than a day", site(), order(40.0, 1e6), 1.0, "FLEET-026"),
    ("for not a number of seconds", site(), order(40.0, NAN), 1.0, "FLEET-026"),
    ("an unknown site", None, order(40.0), 1.0, "FLEET-020"),
    ("an offline site", site(Link.OFFLINE), order(40.0), 1.0, "FLEET-021"),
    ("a stale site", site(Link.STALE), order(40.0), 1.0, "FLEET-022"),
    ("a silent site", site(), order(40.0), 11.0, "FLEET-022"),
    ("bounds that are not good", site(quality=Quality.STALE), order(40.0), 1.0, "FLEET-023"),
    ("no bounds", site(lo_kw=None), order(40.0), 1.0, "FLEET-023"),
    ("bounds that are texts", site(lo_kw="-50"), order(40.0), 1.0, "FLEET-023"),
    ("bounds that are truths", site(hi_kw=True), order(0.0), 1.0, "FLEET-023"),
    ("empty bounds", site(lo_kw=70.0), order(65.0, clip=True), 1.0, "FLEET-023"),
]  # fmt: skip


@pytest.mark.parametrize(("of", "wanted", "later_s", "answer"), [row[1:] for row in CHECKS],
                         ids=[row[0] for row in CHECKS])  # fmt: skip
def test_check(of: Site | None, wanted: Order, later_s: float, answer: float | str) -> None:
    found = check(of, wanted, at(later_s))
    assert (found.code if isinstance(found, Refusal) else found) == answer
    if isinstance(found, Refusal):
        assert found.problem("zh").what != found.problem("en").what


class Desk:
    """A dispatcher with its store and one site."""

    def __init__(self, path: Path) -> None:
        self.path, self.sent = path, list[tuple[str, bytes, int]]()
        self.registry = Registry()
        self.registry.sites["demo"] = site(battery_p_kw=0.0)
        self.open()

    def open(self) -> None:
        self.store = Store.serve(self.path)
        keys = Keyring.of(SITE, issuer="demo")
        send = lambda *sent: self.sent.append(sent)  # noqa: E731
        self.dispatcher = Dispatcher(self.registry, self.store, FLEET, keys, send)

    def order(self, p_kw: float = 40.0, now: Now | None = None) -> CommandRow:
        number = self.store.add_order("demo", p_kw, 20.0, False, at(0).utc_ms)
        row = self.dispatcher.order(number, order(p_kw), now or at(1))
        assert isinstance(row, CommandRow)
        return row

    def ack(
        self, row: CommandRow, stage: str, topic: str = "demo", key: SigningKey = SITE, **more: object
    ) -> str:
        ack = Ack(1, row.id, "demo", stage, "", 7, None, "", command_hash(row.body))
        return self.dispatcher.ack(topic, encode_ack(replace(ack, **more), key), at(2))  # type: ignore[arg-type]

    def stage(self, row: CommandRow) -> str:
        found = self.store.command(row.id)
        assert found is not None
        return found.stage

    def stages(self, row: CommandRow) -> list[str]:
        return [ack.stage for ack in self.store.acks(row.id)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "fleet.db")
    yield desk
    desk.store.close()


def test_a_command_is_signed_numbered_and_ends(desk: Desk) -> None:
    row = desk.order()
    [(name, raw, useful_s)] = desk.sent
    command = decode_command(raw, Keyring.of(FLEET))
    assert command == Command(
        1,
        row.id,
        "yunchu-fleet",
        "demo",
        "site",
        "setpoint",
        40.0,
        at(1).utc_ms,
        at(21).utc_ms,
        1,
        "dispatch",
    )
    assert (name, useful_s) == ("demo", 20)
    assert [desk.order(now=at(1)).seq for _ in range(3)] == [2, 3, 4]


def test_a_refused_order_sends_nothing_and_takes_no_number(desk: Desk) -> None:
    number = desk.store.add_order("demo", 400.0, 20.0, False, at(0).utc_ms)
    assert isinstance(desk.dispatcher.order(number, order(400.0), at(1)), Refusal)
    assert desk.sent == [] and desk.store.commands() == []
    assert "FLEET-024" in str(desk.store.order(number).refusal)
    assert desk.order().seq == 1


def test_numbers_continue_after_a_restart_and_open_commands_are_sent_again_as_they_were(desk: Desk) -> None:
    first = desk.order()
    desk.store.close()
    desk.sent.clear()
    desk.open()
    desk.dispatcher.tick(at(3))
    assert [raw for _, raw, _ in desk.sent] == [first.body]
    assert desk.order().seq == 2


def test_a_command_without_any_answer_is_sent_again_until_it_is_over(desk: Desk) -> None:
    row = desk.order()
    for s in range(2, 40):
        desk.dispatcher.tick(at(s))
    assert len(desk.sent) == 10 and {raw for _, raw, _ in desk.sent} == {row.body}
    assert (desk.stage(row), desk.stages(row)) == ("expired", ["expired"])


def test_only_the_newest_command_is_sent_again(desk: Desk) -> None:
    rows = [desk.order(), desk.order(30.0)]
    desk.sent.clear()
    desk.dispatcher.tick(at(4))
    assert [raw for _, raw, _ in desk.sent] == [rows[1].body]


def test_stages_are_followed(desk: Desk) -> None:
    row = desk.order()
    for stage in ("received", "accepted"):
        assert desk.ack(row, stage) == ""
    assert desk.ack(row, "active", actual_kw=39.0) == ""
    assert desk.stage(row) == "reached"
    assert desk.ack(row, "done", actual_kw=40.0) == ""
    assert desk.stages(row) == ["received", "accepted", "active", "reached", "done"]
    assert desk.stage(row) == "done"


def test_a_late_ack_does_not_take_a_command_back(desk: Desk) -> None:
    row = desk.order()
    for stage in ("done", "received", "received", "active"):
        assert desk.ack(row, stage, actual_kw=12.0) == ""
    assert desk.stage(row) == "done"


def test_reached_is_seen_in_the_measured_power_once_it_is_accepted(desk: Desk) -> None:
    row = desk.order()
    node = desk.registry.sites["demo"].devices[""].points
    node["site/battery_p_kw"] = Reading(38.5, Quality.GOOD, 6)
    desk.dispatcher.tick(at(2))
    assert desk.stage(row) == "sent"
    desk.ack(row, "accepted")
    node["site/battery_p_kw"] = Reading(37.0, Quality.GOOD, 6)
    desk.dispatcher.tick(at(2.1))
    assert desk.stage(row) == "accepted"
    node["site/battery_p_kw"] = Reading(38.5, Quality.GOOD, 6)
    desk.dispatcher.tick(at(2.2))
    assert desk.stage(row) == "reached"


@pytest.mark.parametrize(("winner", "stage"), [("fleet", "reached"), ("operator", "accepted")])
def test_without_a_measurement_the_fleets_setpoint_counts(desk: Desk, winner: str, stage: str) -> None:
    desk.registry.sites["demo"] = site(battery_kw=40.0, winner=winner)
    row = desk.order()
    desk.ack(row, "accepted")
    desk.dispatcher.tick(at(2))
    assert desk.stage(row) == stage


def test_a_rejection_ends_it_with_its_code(desk: Desk) -> None:
    row = desk.order()
    assert desk.ack(row, "rejected", code="LOCAL_MODE") == ""
    [ack] = desk.store.acks(row.id)
    assert (desk.stage(row), ack.code) == ("rejected", "LOCAL_MODE")


OTHER = SigningKey.generate()
FORGED = [
    ("signed by an unknown key", {"key": OTHER}),
    ("signed by the fleet itself", {"key": FLEET}),
    ("on another site's topic", {"topic": "other"}),
    ("in another site's name", {"site": "other"}),
    ("for another text of the command", {"command_hash": "0" * 64}),
    ("for a command that never was", {"command_id": "C0"}),
]


@pytest.mark.parametrize("more", [row[1] for row in FORGED], ids=[row[0] for row in FORGED])
def test_a_wrong_answer_is_ignored(desk: Desk, more: dict[str, object]) -> None:
    row = desk.order()
    assert desk.ack(row, "done", **more)  # type: ignore[arg-type]
    assert (desk.stage(row), desk.stages(row), desk.dispatcher.bad_acks) == ("sent", [], 1)


def test_bytes_that_are_no_answer_are_ignored(desk: Desk) -> None:
    for raw in (b"", b"{}", b"\xff", b'{"v":1,"v":1}', b"[" * 100_000):
        assert desk.dispatcher.ack("demo", raw, at(2))


def test_a_command_without_a_last_word_expires(desk: Desk) -> None:
    row = desk.order()
    desk.ack(row, "accepted")
    desk.dispatcher.tick(Now(row.valid_to_ms + GRACE_MS, at(40).mono_ns))
    assert desk.stage(row) == "accepted"
    desk.dispatcher.tick(Now(row.valid_to_ms + GRACE_MS + 1, at(40).mono_ns))
    assert desk.stage(row) == "expired"


def test_ids_are_ulids_that_sort_by_time() -> None:
    ids = [new_id(ms) for ms in (1, 2, 1_800_000_000_000)]
    assert (
        ids == sorted(ids)
        and {len(one) for one in ids} == {26}
        and len({new_id(1) for _ in range(100)}) == 100
    )
