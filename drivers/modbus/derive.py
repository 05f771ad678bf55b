"""Values that depend on other points of the same device: signs, scale factors, sums, alarm levels.

Nothing is ever guessed: while one of the points that a value depends on is unknown or too old, the value
is BAD. A derived value is as old as the oldest reading in it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.catalog.product import By, PointSpec
from drivers.driver import Sink
from models.point import AlarmLevel, Quality
from models.units import seconds_to_ns

UNMAPPED = AlarmLevel.STOP
"""Level of a bit or code that the catalog does not know: whatever it means, it is no leave to go on."""


class Readings:
    """The newest reading of every point of a device, as arrays of shape (P,)."""

    def __init__(self, specs: Sequence[PointSpec]) -> None:
        size = len(specs)
        self.value = np.full(size, np.nan)
        self.quality = np.zeros(size, np.uint8)
        self.t_ns = np.zeros(size, np.int64)
        self.since_ns = np.zeros(size, np.int64)
        """When the value was first read as it is."""
        self._changing = any(spec.by for spec in specs)
        self._max_age_ns = [seconds_to_ns(spec.max_age_s) for spec in specs]

    def put(
        self, index: NDArray[np.intp], value: NDArray[np.float64], quality: NDArray[np.uint8], t_ns: int
    ) -> None:
        """Keep new readings."""
        if self._changing:
            self.since_ns[index[self.value[index] != value]] = t_ns
        self.value[index], self.quality[index], self.t_ns[index] = value, quality, t_ns

    def known(self, i: int, now_ns: int) -> float:
        """Return a value that may be used, or NaN."""
        fresh = now_ns - self.t_ns[i] <= self._max_age_ns[i]
        return float(self.value[i]) if fresh and self.quality[i] == Quality.GOOD else math.nan


@dataclass(frozen=True, slots=True)
class Rule:
    """How one point follows from others."""

    target: int
    of: tuple[int, ...]
    """Positions that it needs; for a point that is only changed, itself first."""
    compute: Callable[[list[float]], float]
    watched: tuple[int, ...] = ()
    """Those of them that must have been the same before and after the point itself was read."""


def rules_of(specs: Sequence[PointSpec]) -> tuple[Rule, ...]:
    """Return the rules of a device in the order in which they must run."""
    position = {spec.name: i for i, spec in enumerate(specs)}
    changed = [
        _changed(i, spec, position, specs) for i, spec in enumerate(specs) if spec.by and not spec.derivation
    ]
    derived = [_derived(i, spec, position, specs) for i, spec in enumerate(specs) if spec.derivation]
    return (*changed, *derived)


def after(rules: Sequence[Rule], read: Sequence[int]) -> tuple[Rule, ...]:
    """Return the rules that must run when the points ``read`` are new."""
    touched, result = set(read), []
    for rule in rules:
        if touched.intersection(rule.of):
            touched.add(rule.target)
            result.append(rule)
    return tuple(result)


def _in_range(spec: PointSpec, value: float) -> float:
    return value if spec.lo <= value <= spec.hi else math.nan


def _changed(i: int, spec: PointSpec, position: dict[str, int], specs: Sequence[PointSpec]) -> Rule:
    def compute(values: list[float]) -> float:
        result = values[0]
        for by, other in zip(spec.by, values[1:], strict=True):
            result *= _factor(by, other)
        return _in_range(spec, result)

    others = tuple(position[by.point] for by in spec.by)
    watched = tuple(k for k in others if specs[k].period_s <= spec.period_s)
    return Rule(i, (i, *others), compute, watched)


def _factor(by: By, other: float) -> float:
    if by.how == "factor":
        return other
    if by.how == "power_of_ten":
        return 10.0**other if abs(other) <= 10.0 else math.nan
    return -1.0 if other in by.minus else 1.0


def _derived(i: int, spec: PointSpec, position: dict[str, int], specs: Sequence[PointSpec]) -> Rule:
    of = tuple(position[name] for name in spec.of)
    if spec.derivation == "worst":
        sources = [specs[k] for k in of]
        return Rule(i, of, lambda values: float(max(map(alarm_level, sources, values))))
    combine = COMBINE[spec.derivation]

    def compute(values: list[float]) -> float:
        return _in_range(spec, combine(values) * spec.scale + spec.add)

    return Rule(i, of, compute)


def _ratio(values: list[float]) -> float:
    return values[0] / values[1] if values[1] else math.nan


COMBINE: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "product": math.prod,
    "ratio": _ratio,
}


def alarm_level(spec: PointSpec, value: float) -> AlarmLevel:
    """Return how severe an alarm word or code of a device is; one that already is a level stays it."""
    if not spec.alarm_levels:
        return AlarmLevel(int(value)) if 0 <= value <= AlarmLevel.TRIP else UNMAPPED
    code = int(value)
    if not spec.alarm_by_bit:
        return spec.alarm_levels.get(code, UNMAPPED)
    bits = (bit for bit in range(64) if code >> bit & 1)
    return max((spec.alarm_levels.get(bit, UNMAPPED) for bit in bits), default=AlarmLevel.NONE)


def _settled(rule: Rule, plain: Readings, final: Readings) -> bool:
    """Whether the points that change a value were read the same before and after it.

    Read apart, a new power could else meet an old direction. Until then the last settled value stands, and
    ages. A point that is polled less often is a setting of the device: it must not have changed since.
    """
    t_ns = plain.t_ns[rule.target]
    again = all(final.t_ns[i] >= t_ns for i in rule.watched)
    return again and all(final.since_ns[i] <= t_ns for i in rule.of[1:])


def run(rules: Sequence[Rule], plain: Readings, final: Readings, now_ns: int) -> None:
    """Bring the values that follow from others up to date.

    Args:
        rules: of :func:`after`.
        plain: what the registers say.
        final: what they mean; the targets are written.
        now_ns: monotonic time of the last reading.
    """
    for rule in rules:
        itself = rule.target == rule.of[0]
        known = [(plain if i == rule.target else final).known(i, now_ns) for i in rule.of]
        unknown = any(map(math.isnan, known))
        if itself and not unknown and not _settled(rule, plain, final):
            continue
        value = math.nan if unknown else rule.compute(known)
        good = math.isfinite(value)
        final.value[rule.target] = value if good else math.nan
        final.quality[rule.target] = Quality.GOOD if good else Quality.BAD
        final.t_ns[rule.target] = plain.t_ns[rule.target] if itself else final.t_ns[list(rule.of)].min()


class Meaning:
    """Puts what was read, and what follows from it, into the image."""

    def __init__(self, specs: Sequence[PointSpec], shown: int, sink: Sink) -> None:
        """Args: the points, of which the first ``shown`` are in the image, and the image."""
        self._specs, self._shown, self._sink = specs, shown, sink
        self._position = {spec.name: i for i, spec in enumerate(specs)}
        self._rules = rules_of(specs)
        self._final = Readings(specs)
        self._plain = Readings(specs) if any(spec.by for spec in specs) else self._final
        self._sets: dict[tuple[int, ...], tuple[tuple[Rule, ...], NDArray[np.intp]]] = {}

    def inherit(self, other: "Meaning") -> None:
        """Take over what is known of the points that are the same."""
        was = ((k, spec, other._position.get(spec.name)) for k, spec in enumerate(self._specs))
        pairs = [(k, i) for k, spec, i in was if i is not None and other._specs[i] == spec]
        mine, theirs = np.array(pairs, np.intp).reshape(-1, 2).T
        for new, old in ((self._final, other._final), (self._plain, other._plain)):
            new.value[mine], new.quality[mine] = old.value[theirs], old.quality[theirs]
            new.t_ns[mine], new.since_ns[mine] = old.t_ns[theirs], old.since_ns[theirs]

    def known(self, point: str, now_ns: int) -> float:
        """Return the value of a point if it may be used, else NaN."""
        return self._final.known(self._position[point], now_ns)

    def put(
        self,
        points: tuple[int, ...],
        index: NDArray[np.intp],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        now_ns: int,
    ) -> None:
        """Take one read.

        Args:
            points: positions of what was read; the same tuple for each read of the same place.
            index: (K,) the same as an array.
            value: (K,) what the registers say.
            quality: (K,) of Quality.
            now_ns: monotonic time of receipt.
        """
        rules, own = self._sets.get(points) or self._set(points)
        plain, final = self._plain, self._final
        plain.put(index, value, quality, now_ns)
        if plain is not final:
            final.put(index[own], value[own], quality[own], now_ns)
        if not rules and self._shown == len(self._specs):
            self._sink.put(index, value, quality, now_ns)
            return
        self._show(index[own], now_ns)
        run(rules, plain, final, now_ns)
        for rule in rules:
            self._show(np.array([rule.target], np.intp), int(final.t_ns[rule.target]))

    def _set(self, points: tuple[int, ...]) -> tuple[tuple[Rule, ...], NDArray[np.intp]]:
        """Return what follows from some points, and which of them mean what their registers say."""
        own = np.array([k for k, i in enumerate(points) if not self._specs[i].by], np.intp)
        self._sets[points] = after(self._rules, points), own
        return self._sets[points]

    def _show(self, index: NDArray[np.intp], t_ns: int) -> None:
        """Put what the readings mean into the image; points beyond those shown are for us alone."""
        index = index[index < self._shown]
        if index.size:
            self._sink.put(index, self._final.value[index], self._final.quality[index], t_ns)
