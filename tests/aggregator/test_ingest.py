"""From bytes to rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.ingest import Ingest, Taken, read_table, unpack
from aggregator.registry import Now, Registry
from cloud_link.protocol.sparkplug import DataType, Metric, Payload, encode
from models.point import Quality

NOW = Now(9_000_000, 1)
TYPES = {"bdSeq": DataType.INT64, "outbox/epoch": DataType.INT64, "outbox/confirmed": DataType.INT64}
ALIASES = {"site/lo_kw": 1, "outbox/number": 2, "outbox/first": 3}


def birth(**more: object) -> bytes:
    metrics = [
        Metric(1, "bdSeq", datatype=DataType.INT64),
        Metric(7, "outbox/epoch", datatype=DataType.INT64),
    ]
    metrics += [Metric(v, k, datatype=TYPES.get(k, DataType.INT64)) for k, v in more.items()]  # type: ignore[arg-type]
    metrics.append(Metric(-50.0, "site/lo_kw", 1, DataType.DOUBLE, 1000))
    metrics += [Metric(None, name, alias, DataType.INT64) for name, alias in list(ALIASES.items())[1:]]
    return encode(Payload(tuple(metrics), 1000, 0), with_types=True)


def data(
    seq: int, number: int | None, lo_kw: float = -40.0, first: int | None = None, history: bool = False
) -> bytes:
    metrics = [Metric(lo_kw, "", 1, DataType.DOUBLE, 2000, history)]
    for alias, value in ((2, number), (3, first)):
        if value is not None:
            metrics.append(Metric(value, "", alias, DataType.INT64))
    return encode(Payload(tuple(metrics), 5000, seq))


def take(ingest: Ingest, kind: str, raw: bytes, site: str = "demo") -> Taken:
    return ingest.take(f"spBv1.0/default/{kind}/{site}", raw, NOW)


@pytest.fixture
def ingest() -> Ingest:
    ingest = Ingest("default", Registry())
    take(ingest, "NBIRTH", birth())
    return ingest


def test_a_report_becomes_a_row_that_can_be_read_again(ingest: Ingest) -> None:
    [report] = take(ingest, "NDATA", data(1, 1)).reports
    assert (report.site, report.epoch, report.first, report.number) == ("demo", 7, 1, 1)
    assert (report.t_ms, report.received_ms, report.history) == (2000, 9_000_000, False)
    metrics = unpack(report.body, read_table(report.table))
    assert metrics["site/lo_kw"].value == -40.0 and metrics["outbox/number"].value == 1


def test_a_number_is_stored_once(ingest: Ingest) -> None:
    assert [len(take(ingest, "NDATA", data(seq, 1)).reports) for seq in (1, 2, 3)] == [1, 0, 0]
    assert (ingest.numbers["demo"].received, ingest.numbers["demo"].duplicates) == (1, 2)


def test_history_is_stored_with_its_own_time_and_does_not_touch_the_newest_state(ingest: Ingest) -> None:
    take(ingest, "NDATA", data(1, 2, -30.0))
    [report] = take(ingest, "NDATA", data(2, 1, -99.0, history=True)).reports
    assert (report.history, report.t_ms) == (True, 2000)
    reading = ingest.registry.sites["demo"].node("site/lo_kw")
    assert reading is not None and reading.value == -30.0
    assert ingest.numbers["demo"].contiguous == 2


def test_what_is_not_understood_is_not_counted(ingest: Ingest) -> None:
    raw = encode(Payload((Metric(1, "", 2, DataType.INT64), Metric(1.0, "", 99, DataType.DOUBLE)), 1, 1))
    taken = take(ingest, "NDATA", raw)
    assert (taken.reports, taken.rebirth, taken.why) == ([], "demo", "unknown metric")
    assert ingest.numbers["demo"].received == 0
    take(ingest, "NBIRTH", birth())
    assert len(take(ingest, "NDATA", data(1, 1)).reports) == 1


def device(seq: int, alias: int = 11, kind: str = "DDATA", history: bool = False) -> bytes:
    birth = kind == "DBIRTH"
    metric = Metric(7.0, "p_kw" if birth else "", alias, DataType.DOUBLE, 2000, history)
    return encode(Payload((metric,), 5000, seq), with_types=birth)


def test_a_report_is_the_devices_messages_and_the_one_that_closes_it(ingest: Ingest) -> None:
    take(ingest, "DBIRTH", device(1, kind="DBIRTH"), "demo/pcs-1")
    assert not take(ingest, "DDATA", device(2), "demo/pcs-1").reports
    [report] = take(ingest, "NDATA", data(3, 1)).reports
    metrics = unpack(report.body, read_table(report.table))
    assert {name: metric.value for name, metric in metrics.items()} == {
        "pcs-1/p_kw": 7.0, "site/lo_kw": -40.0, "outbox/number": 1,
    }  # fmt: skip


def test_a_report_of_which_a_part_was_refused_is_not_counted(ingest: Ingest) -> None:
    take(ingest, "DBIRTH", device(1, kind="DBIRTH"), "demo/pcs-1")
    assert take(ingest, "DDATA", device(2, alias=99), "demo/pcs-1").why
    assert not take(ingest, "NDATA", data(3, 1)).reports
    assert ingest.numbers["demo"].received == 0
    assert take(ingest, "NDATA", data(4, 2)).reports


def test_history_of_a_dead_device_is_taken_and_leaves_it_dead(ingest: Ingest) -> None:
    take(ingest, "DBIRTH", device(1, kind="DBIRTH"), "demo/pcs-1")
    take(ingest, "DDEATH", encode(Payload((), 1, 2)), "demo/pcs-1")
    take(ingest, "DDATA", device(3, history=True), "demo/pcs-1")
    assert take(ingest, "NDATA", data(4, 1, history=True)).reports
    assert not ingest.registry.sites["demo"].devices["pcs-1"].online


def test_a_part_from_before_a_birth_does_not_get_into_the_next_report(ingest: Ingest) -> None:
    take(ingest, "DBIRTH", device(1, kind="DBIRTH"), "demo/pcs-1")
    take(ingest, "DDATA", device(2), "demo/pcs-1")
    take(ingest, "NBIRTH", birth())
    [report] = take(ingest, "NDATA", data(1, 1)).reports
    assert len(unpack(report.body, read_table(report.table))) == 2


def test_a_site_without_an_outbox_is_stored_message_by_message() -> None:
    ingest = Ingest("default", Registry())
    take(ingest, "NBIRTH", birth(**{"outbox/epoch": 0}))
    take(ingest, "DBIRTH", device(1, kind="DBIRTH"), "demo/pcs-1")
    reports = [
        *take(ingest, "DDATA", device(2), "demo/pcs-1").reports,
        *take(ingest, "NDATA", data(3, None)).reports,
        *take(ingest, "NDATA", data(4, None)).reports,
    ]
    assert [(report.first, report.number) for report in reports] == [(None, None)] * 3


def test_a_merged_report_stands_for_a_range(ingest: Ingest) -> None:
    [report] = take(ingest, "NDATA", data(1, 10, first=1)).reports
    assert (report.first, report.number, ingest.numbers["demo"].contiguous) == (1, 10, 10)


@pytest.mark.parametrize("number", [0, -1, 2**53, 2**62])
def test_an_absurd_number_is_no_number(ingest: Ingest, number: int) -> None:
    [report] = take(ingest, "NDATA", data(1, number)).reports
    assert report.number is None


BROKEN = [
    ("truncated", "NDATA", data(1, 1)[:-3]),
    ("no protobuf", "NDATA", b"\xff" * 40),
    ("oversize", "NDATA", b"\0" * 1_100_000),
    ("wrong datatype", "NDATA", encode(Payload((Metric("x", "", 1, DataType.STRING),), 1, 1))),
    ("a device kind without a device", "DDATA", data(1, 1)),
    ("a command from nowhere", "NCMD", data(1, 1)),
    ("another tenant", "../other", data(1, 1)),
]


@pytest.mark.parametrize(("kind", "raw"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_broken_is_refused_and_harms_nothing(ingest: Ingest, kind: str, raw: bytes) -> None:
    taken = take(ingest, kind, raw)
    assert taken.why and not taken.reports
    assert len(take(ingest, "NDATA", data(1, 1)).reports) == 1
    reading = ingest.registry.sites["demo"].node("site/lo_kw")
    assert reading is not None and reading.quality is Quality.GOOD


def test_topics_of_others_are_not_ours(ingest: Ingest) -> None:
    for topic in ("spBv1.0/other/NDATA/demo", "spBv1.0/STATE/x", "x", "spBv1.0/default/NDATA/demo/d/e"):
        assert ingest.take(topic, data(1, 1), NOW).why


@given(st.text(max_size=40), st.binary(max_size=200))
def test_nothing_that_arrives_raises(topic: str, raw: bytes) -> None:
    ingest = Ingest("default", Registry())
    ingest.take(topic, raw, NOW)
    for kind in ("NBIRTH", "NDATA", "NDEATH"):
        take(ingest, kind, raw)
