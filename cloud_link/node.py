"""One Sparkplug session of an edge node: births, data and deaths as messages, numbered 0..255.

Pure: it knows no connection. Aliases are given once, in the order of the catalogue, so that every birth of
a configuration has the same.
"""

from collections.abc import Iterable, Mapping, Sequence

from cloud_link.changes import Entry, Report, entries, short_name
from cloud_link.outbox import Row
from cloud_link.protocol.report import BD_SEQ, OUTBOX_EPOCH, OUTBOX_FIRST, OUTBOX_NUMBER, REBIRTH
from cloud_link.protocol.sparkplug import DataType, Metric, Payload, Value, decode, encode
from cloud_link.protocol.topics import sparkplug_topic
from cloud_link.transport import Message
from models.errors import LinkError
from models.point import Point

NODE_METRICS: Mapping[str, DataType] = {
    "site/battery_kw": DataType.DOUBLE,
    "site/battery_p_kw": DataType.DOUBLE,
    "site/lo_kw": DataType.DOUBLE,
    "site/hi_kw": DataType.DOUBLE,
    "site/winner": DataType.STRING,
    "site/cycle": DataType.INT64,
}
"""Sum of setpoints, sum of measured battery power, what the batteries may do now, who decided, cycle."""

_OUTBOX = (OUTBOX_EPOCH, OUTBOX_FIRST, OUTBOX_NUMBER)


class Node:
    """Makes the messages of one site.

    Args:
        group: Sparkplug group = tenant.
        site: edge node id.
        points: of the site, in the order of its image.
    """

    def __init__(self, group: str, site: str, points: Sequence[Point]) -> None:
        self._group, self._site, self._points = group, site, tuple(points)
        self.devices: tuple[str, ...] = tuple(dict.fromkeys(point.device for point in points))
        names = [("", name, kind) for name, kind in NODE_METRICS.items()]
        names += [("", name, DataType.INT64) for name in _OUTBOX]
        names += [(point.device, short_name(point), DataType.DOUBLE) for point in points]
        self._alias = {(device, name): (index, kind) for index, (device, name, kind) in enumerate(names)}
        self._seq = -1

    def _topic(self, kind: str, device: str = "") -> str:
        return sparkplug_topic(self._group, kind, self._site, device or None)

    def death(self, bd_seq: int, t_ms: int) -> Message:
        """Return the NDEATH that belongs to the births with ``bd_seq``; also the will."""
        metric = Metric(bd_seq, BD_SEQ, datatype=DataType.INT64, timestamp_ms=t_ms)
        return Message(self._topic("NDEATH"), encode(Payload((metric,), t_ms), with_types=True), 1)

    def births(self, bd_seq: int, epoch: int, first: int, report: Report) -> list[Message]:
        """Return NBIRTH and all DBIRTHs; the numbering starts anew.

        Args:
            bd_seq: as in this connection's will.
            epoch: of the outbox.
            first: no number below it will ever come again.
            report: the state now; what it lacks is sent as null.
        """
        self._seq = -1
        known = {entry[:2]: entry for entry in entries(self._points, report)}
        own: list[Entry] = [known.get(("", name), ("", name, None, 0)) for name in NODE_METRICS]
        own += [
            ("", OUTBOX_EPOCH, epoch, 192),
            ("", OUTBOX_FIRST, first, 192),
            ("", OUTBOX_NUMBER, None, 192),
        ]
        bare = (
            Metric(bd_seq, BD_SEQ, datatype=DataType.INT64, timestamp_ms=report.t_ms),
            Metric(False, REBIRTH, datatype=DataType.BOOLEAN, timestamp_ms=report.t_ms),
        )
        metrics = bare + tuple(self._metric(entry, report.t_ms, birth=True) for entry in own)
        message = self._message("NBIRTH", "", metrics, report.t_ms)
        return [message, *(self.device_birth(device, report) for device in self.devices)]

    def device_birth(self, device: str, report: Report) -> Message:
        """Return the DBIRTH of one device."""
        own = [entry for entry in entries(self._points, report) if entry[0] == device]
        metrics = tuple(self._metric(entry, report.t_ms, birth=True) for entry in own)
        return self._message("DBIRTH", device, metrics, report.t_ms)

    def device_death(self, device: str, t_ms: int) -> Message:
        """Return the DDEATH of one device."""
        return self._message("DDEATH", device, (), t_ms)

    def data(
        self, row: Row, t_ms: int, news: Iterable[Entry], now_ms: int, *, historical: bool
    ) -> list[Message]:
        """Return a report as messages: a DDATA for each device with news, and the NDATA that closes it.

        Metrics that the catalogue does not know (any more) are left out.
        """
        by_device: dict[str, list[Metric]] = {"": []}
        for entry in news:
            if entry[:2] in self._alias:
                metric = self._metric(entry, t_ms, historical=historical)
                by_device.setdefault(entry[0], []).append(metric)
        own = by_device.pop("")
        own += [
            self._metric(("", OUTBOX_FIRST, row.first, 192), t_ms, historical=historical),
            self._metric(("", OUTBOX_NUMBER, row.number, 192), t_ms, historical=historical),
        ]
        messages = [self._message("DDATA", device, metrics, now_ms) for device, metrics in by_device.items()]
        return [*messages, self._message("NDATA", "", own, now_ms)]

    def _metric(self, entry: Entry, t_ms: int, *, birth: bool = False, historical: bool = False) -> Metric:
        device, name, value, quality = entry
        alias, kind = self._alias[device, name]
        wire: Value = float(value) if kind is DataType.DOUBLE and isinstance(value, int) else value
        marked = None if quality == 192 and not birth else quality
        return Metric(wire, name if birth else "", alias, kind, t_ms, historical, marked)

    def _message(self, kind: str, device: str, metrics: Iterable[Metric], t_ms: int) -> Message:
        self._seq = (self._seq + 1) % 256
        payload = Payload(tuple(metrics), t_ms, self._seq)
        return Message(self._topic(kind, device), encode(payload, with_types=kind.endswith("BIRTH")), 0)


def asks_rebirth(raw: bytes) -> bool:
    """Tell whether an NCMD asks for a rebirth: only the Boolean true does; anything else is ignored."""
    try:
        metrics = decode(raw).metrics
    except LinkError:
        return False
    return any(metric.name == REBIRTH and metric.value is True for metric in metrics)
