from cloud_link.changes import entries
from cloud_link.node import Node, asks_rebirth
from cloud_link.outbox import Row
from cloud_link.protocol.sparkplug import DataType, Metric, Payload, decode, encode
from cloud_link.transport import Message
from models.point import Quality
from tests.cloud_link.world import NAN, POINTS, report

QUALITY = (Quality.BAD, Quality.GOOD, Quality.UNCERTAIN, Quality.STALE)


def node() -> Node:
    return Node("tenant", "demo", POINTS)


def kinds(messages: list[Message]) -> list[str]:
    return [message.topic.removeprefix("spBv1.0/tenant/") for message in messages]


def test_births_say_everything_in_order() -> None:
    messages = node().births(7, 12345, 3, report(1_000, NAN, quality=QUALITY))
    assert kinds(messages) == ["NBIRTH/demo", "DBIRTH/demo/pcs-1", "DBIRTH/demo/bms-1"]
    payloads = [decode(message.payload) for message in messages]
    assert [payload.seq for payload in payloads] == [0, 1, 2]
    assert all((m.qos, m.retain) == (0, False) for m in messages)
    born = {metric.name: metric for metric in payloads[0].metrics}
    assert (born["bdSeq"].value, born["bdSeq"].datatype, born["bdSeq"].alias) == (7, DataType.INT64, None)
    assert (born["Node Control/Rebirth"].value, born["Node Control/Rebirth"].alias) == (False, None)
    assert (born["outbox/epoch"].value, born["outbox/first"].value, born["outbox/number"].value) == (
        12345,
        3,
        None,
    )
    assert born["site/winner"].value == "plan" and born["site/lo_kw"].value == -100.0
    pcs, bms = ({m.name: m for m in payload.metrics} for payload in payloads[1:])
    assert (pcs["p_kw"].value, pcs["p_kw"].quality) == (None, 0)
    assert (pcs["heartbeat"].value, pcs["heartbeat"].quality) == (1.0, 192)
    assert (bms["soc"].quality, bms["dc_v"].quality) == (500, 500)
    everything = [metric for payload in payloads for metric in payload.metrics]
    aliases = [metric.alias for metric in everything if metric.alias is not None]
    assert len(aliases) == len(set(aliases)) == len(everything) - 2
    assert all(metric.timestamp_ms == 1_000 and metric.datatype for metric in everything)


def test_a_node_without_any_report_is_born_with_nulls() -> None:
    nothing = report(1, NAN, NAN, NAN, NAN, quality=(Quality.BAD,) * 4)
    payload = decode(node().births(0, 1, 1, nothing)[1].payload)
    assert [(metric.value, metric.quality) for metric in payload.metrics] == [(None, 0), (None, 0)]


def test_a_report_is_one_message_for_each_device_closed_by_its_number() -> None:
    sparkplug = node()
    births = sparkplug.births(0, 1, 1, report(1))
    types = {m.alias: m.datatype for b in births for m in decode(b.payload).metrics if m.alias is not None}
    names = {m.alias: m.name for b in births for m in decode(b.payload).metrics}
    news = entries(POINTS, report(900, 5.5, quality=QUALITY))
    for historical in (False, True):
        messages = sparkplug.data(Row(2, 4, b""), 900, news, 1_000, historical=historical)
        assert kinds(messages) == ["DDATA/demo/pcs-1", "DDATA/demo/bms-1", "NDATA/demo"]
        payloads = [decode(message.payload, types) for message in messages]
        assert all(not m.name and m.timestamp_ms == 900 for p in payloads for m in p.metrics)
        assert all(m.is_historical == historical for p in payloads for m in p.metrics)
        values = {names[m.alias]: m.value for m in payloads[2].metrics}
        assert (values["outbox/first"], values["outbox/number"], values["site/cycle"]) == (2, 4, 1)
        assert {names[m.alias]: (m.value, m.quality) for m in payloads[0].metrics} == {
            "p_kw": (5.5, 0),
            "heartbeat": (1.0, None),
        }


def test_an_unknown_metric_of_an_older_configuration_is_left_out() -> None:
    messages = node().data(Row(1, 1, b""), 1, [("gone-1", "p_kw", 1.0, 192)], 2, historical=True)
    assert kinds(messages) == ["NDATA/demo"]


def test_the_sequence_counts_every_message_modulo_256_and_deaths_of_the_node_have_none() -> None:
    sparkplug = node()
    sparkplug.births(0, 1, 1, report(1))
    seqs = []
    for n in range(300):
        seqs += [decode(m.payload).seq for m in sparkplug.data(Row(n, n, b""), 1, [], 2, historical=False)]
    seqs.append(decode(sparkplug.device_death("pcs-1", 5).payload).seq)
    seqs.append(decode(sparkplug.device_birth("pcs-1", report(6)).payload).seq)
    assert seqs == [(3 + n) % 256 for n in range(302)]
    death = sparkplug.death(9, 7)
    assert (death.qos, death.retain) == (1, False)
    payload = decode(death.payload)
    assert payload.seq is None and [(m.name, m.value) for m in payload.metrics] == [("bdSeq", 9)]
    assert decode(sparkplug.births(0, 1, 1, report(8))[0].payload).seq == 0


def test_only_the_boolean_true_asks_for_a_rebirth() -> None:
    def ncmd(name: str, value: bool | str | int, kind: DataType) -> bytes:
        return encode(Payload((Metric(value, name, None, kind, 1),), 1), with_types=True)

    rebirth = "Node Control/Rebirth"
    assert asks_rebirth(ncmd(rebirth, True, DataType.BOOLEAN))
    for raw in (
        ncmd(rebirth, False, DataType.BOOLEAN),
        ncmd(rebirth, "true", DataType.STRING),
        ncmd(rebirth, 1, DataType.INT32),
        ncmd("Node Control/Reboot", True, DataType.BOOLEAN),
        ncmd("unknown", True, DataType.BOOLEAN),
        b"",
        b"\x12\x05\x0a",
    ):
        assert not asks_rebirth(raw)
