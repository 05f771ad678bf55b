"""What a reference like "203:W" or "160:3:DCW" names, and where that lies in one device.

model:point           a point of the model itself; "124:0:ChaState" is the same as "124:ChaState"
model:3:point         a point of the third repetition of the model's repeating group
model:1:2:point       of the second repetition inside the first
model:Name:point      a point of a group that does not repeat (704:PFWInj:PF, 707:1:MustTrip:2:V)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from drivers.sunspec.definition import HEADER, TYPES, GroupDef, PointDef, definition

Counts = Mapping[str, int]
"""What the points say that count repetitions, by name; one that is not implemented is left out."""
STRING = "string"


class Absent(Exception):
    """The device does not have the point; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point lies in a model."""

    at: int
    """Registers from the model's ID to it."""
    point: PointDef
    scale_factor_at: int | None
    """The same for its scale factor."""


def split(reference: str) -> tuple[int, tuple[str, ...]]:
    """Return the model number and the path in it; ValueError when it cannot be one."""
    model, *path = reference.split(":")
    if not (model.isdecimal() and path and all(path)) or path[-1].isdecimal():
        raise ValueError(f'"{reference}" is not a SunSpec reference like "203:W" or "160:3:DCW"')
    return int(model), tuple(path)


def check(reference: str, *, is_text: bool = False, is_written: bool = False) -> str:
    """Return what is wrong with a reference of a catalog file, whatever the device; empty when nothing is."""
    try:
        model, path = split(reference)
        group = definition(model)
        if group is None:
            raise ValueError(f"model {model} is not among the definitions")
        point = _defined(group, path)
    except (ValueError, Absent) as error:
        return str(error)
    if is_text != (point.type == STRING) or not (is_text or point.type in TYPES):
        return f"{reference} is of type {point.type}"
    return f"{reference} cannot be written" if is_written and point.access != "RW" else ""


def locate(model: int, length: int, counts: Counts, path: tuple[str, ...]) -> Place:
    """Find a point in a model of ``length`` registers; nothing is assumed that the device does not show.

    Raises:
        Absent: the device's model does not have it, or its lengths contradict each other.
    """
    top = definition(model)
    if top is None:
        raise Absent(f"model {model} is not among the definitions")
    end = HEADER + length
    layout = _Layout(top, counts, end)
    group, base = layout.enter(path[:-1])
    found = group.place(path[-1])
    if found is None:
        raise Absent(f"model {model} has no point {':'.join(path)}")
    at, point = base + found[0], found[1]
    factor_at = _factor(point, group, base, top)
    if at + point.registers > end or (factor_at or 0) >= end:
        raise Absent(f"the device's model {model} has only {length} registers")
    return Place(at, point, factor_at)


def _factor(point: PointDef, group: GroupDef, base: int, top: GroupDef) -> int | None:
    """Return where the scale factor lies: in the same group, else in the model's top."""
    if not point.scale_factor:
        return None
    own = group.place(point.scale_factor)
    if own is not None:
        return base + own[0]
    shared = top.place(point.scale_factor)
    if shared is None:
        raise Absent(f"{point.name} has a scale factor {point.scale_factor} that is not defined")
    return shared[0]


class _Layout:
    """One model of one device: how often its groups repeat."""

    def __init__(self, top: GroupDef, counts: Counts, end: int) -> None:
        self._top, self._counts, self._end = top, counts, end

    def enter(self, path: tuple[str, ...]) -> tuple[GroupDef, int]:
        """Return the group at the end of a path, and where it begins."""
        group, at = self._top, 0
        names = [name for name in path if name != "0"]
        if names and self._size(self._top, 0) > self._end:
            raise Absent("the groups that the device counts do not fit into the length that it claims")
        while names:
            sub, at = self._step(group, at, names)
            group = sub
        return group, at

    def _step(self, group: GroupDef, at: int, names: list[str]) -> tuple[GroupDef, int]:
        """Go into the group that the first names say, and take them off."""
        sub = _sub(group, names[0])
        at += group.fixed
        for before in group.groups[: group.groups.index(sub)]:
            at += self._repetitions(before, at) * self._size(before, at)
        if not names[0].isdecimal():
            del names[0]
        if sub.count is None:
            return sub, at
        if not (names and names[0].isdecimal()):
            raise Absent(f"group {sub.name} repeats: say which one")
        index, have = int(names.pop(0)), self._repetitions(sub, at)
        if not 1 <= index <= have:
            raise Absent(f"the device has {have} × {sub.name}, not {index}")
        return sub, at + (index - 1) * self._size(sub, at)

    def _size(self, group: GroupDef, at: int) -> int:
        """Return the registers of one repetition that begins at ``at``."""
        size = group.fixed
        for sub in group.groups:
            size += self._repetitions(sub, at + size) * self._size(sub, at + size)
        return size

    def _repetitions(self, group: GroupDef, at: int) -> int:
        """Return how often a group that begins at ``at`` repeats."""
        if group.count is None:
            return 1
        if isinstance(group.count, str):
            if group.count not in self._counts:
                raise Absent(f"the device does not say how many {group.name} it has ({group.count})")
            return self._counts[group.count]
        if group.count:
            return group.count
        times, rest = divmod(max(self._end - at, 0), self._size(group, at))
        if rest:
            raise Absent(f"the device's length leaves {rest} registers behind {times} × {group.name}")
        return times


def _sub(group: GroupDef, name: str) -> GroupDef:
    """Return the group that a name says, or the only one that repeats for an index."""
    for sub in group.groups:
        if sub.name == name or (name.isdecimal() and sub.count is not None):
            return sub
    raise Absent(f"{group.name} has no group {name}")


def _defined(group: GroupDef, path: tuple[str, ...]) -> PointDef:
    """Return the point of a definition, whatever the device counts."""
    *names, point = path
    names = [name for name in names if name != "0"]
    while names:
        group = _sub(group, names[0])
        named = not names.pop(0).isdecimal()
        if named and group.count is not None and not (names and names.pop(0).isdecimal()):
            raise Absent(f"group {group.name} repeats: say which one")
    found = group.place(point)
    if found is None:
        raise Absent(f"{group.name} has no point {point}")
    return found[1]
