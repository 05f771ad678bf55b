"""A simulated device of any product of the catalog: the register view of its file.

It reads the TOML itself and encodes with ``encoding``, not with anything of the drivers. Values are put by
point name in the units of the catalog; what was written to it can be looked at. It has no physics.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.simulator.encoding import (
    Coding,
    pattern,
    pattern_words,
    raw_pattern,
    raw_value,
    text_words,
)

Row = Mapping[str, Any]
Space = dict[int, int]
"""Address to register (or bit)."""
DERIVED = ("sum", "product", "ratio", "worst")
UNREACHABLE = {"node": "an OPC UA node", "di": "DL/T 645", "instance": "a second model of the same number"}
HOLDING = 3
WRITES = {5: 1, 6: HOLDING, 15: 1, 16: HOLDING}
"""Function of a write: function that reads the same registers."""


@dataclass(frozen=True, slots=True)
class Written:
    """One write as it came in."""

    unit_id: int
    fn: int
    address: int
    words: tuple[int, ...]


class Refusal(Exception):
    """The device answers with this Modbus exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class ProductDevice:
    """Registers of one product, by unit id and function."""

    def __init__(self, file: Path, variant: str = "", unit_id: int | None = None) -> None:
        """Build all registers as zero.

        Args:
            file: of the catalog.
            variant: as in the site file.
            unit_id: on which it answers; default is that of the file.
        """
        table = tomllib.loads(file.read_text("utf-8"))
        link = table.get("link", {})
        self.variant = variant
        self.unit_id: int = link.get("unit_id", 1) if unit_id is None else unit_id
        self.rows: dict[str, Row] = {row["name"]: row for row in table["points"]}
        self.unserved = {name: why for name, row in self.rows.items() if (why := _unreachable(row))}
        """Point: why it cannot be read from this device."""
        self.spaces: dict[tuple[int, int], Space] = {}
        self.written: list[Written] = []
        self._holes = [(hole["fn"], hole["first"], hole["last"]) for hole in link.get("holes", [])]
        self._max_gap: int = link.get("max_gap", 8)
        self._max_registers: int = link.get("max_registers", 125)
        self._build(table)

    def _build(self, table: Mapping[str, Any]) -> None:
        self._sunspec(table)
        for name, row in self.rows.items():
            if name not in self.unserved and not is_derived(row):
                self._reserve(row, coding_of(row, self.variant).size)
        for text in table.get("texts", []):
            if "fn" in text:
                self._reserve(text, text["registers"])
        for row in (*_written_rows(table), *(step["write"] for step in table.get("prepare", []))):
            if "fn" in row:
                self._reserve({**row, "fn": WRITES[row["fn"]]}, coding_of(row, self.variant).size)
        for rule in table.get("identity", []):
            self._identify(rule)

    def _sunspec(self, table: Mapping[str, Any]) -> None:
        """Lay out the SunSpec models that the points need; from then on these are registers like others."""
        rows = [row for name, row in self.rows.items() if "sunspec" in row and name not in self.unserved]
        if not rows:
            return
        from drivers.simulator.product_sunspec import BASE, Units

        names = [rule["sunspec"]["manufacturer"] for rule in table.get("identity", []) if "sunspec" in rule]
        units = Units(rows, self.unit_id, names[0] if names else "")
        self.rows |= {row["name"]: units.plain(row) for row in rows}
        for unit, words in units.words().items():
            self.space(HOLDING, unit).update(enumerate(words, BASE))

    def _identify(self, rule: Mapping[str, Any]) -> None:
        """Answer the rules by which the product is recognised."""
        if "text" in rule:
            row = rule["text"]
            self._reserve(row, row["registers"])
            self.put_text(row, row.get("starts", "") + row.get("contains", ""))
        elif "register" in rule:
            row = rule["register"]
            first = row["is"][0]
            coding = Coding(row.get("type", "u16"))
            self._reserve(row, coding.size)
            self._store(row, pattern_words(_number(first), coding))

    def space(self, fn: int, unit_id: int | None = None) -> Space:
        """Return the registers that function ``fn`` reads on a unit id."""
        return self.spaces.setdefault((self.unit_id if unit_id is None else unit_id, fn), {})

    def _reserve(self, row: Row, count: int) -> None:
        space = self.space(row["fn"], row.get("unit_id"))
        for i in range(count):
            space.setdefault(_number(row["address"]) + i, 0)

    def _store(self, row: Row, words: list[int]) -> None:
        first = _number(row["address"])
        self.space(row["fn"], row.get("unit_id")).update(
            zip(range(first, first + len(words)), words, strict=True)
        )

    def put_text(self, row: Row, text: str) -> None:
        """Write a text into the registers of a row with fn, address and registers."""
        self._store(row, text_words(text, row["registers"], row.get("byte_swap", False)))

    def _bits(self, row: Row) -> int:
        first, coding = _number(row["address"]), coding_of(row, self.variant)
        space = self.space(row["fn"], row.get("unit_id"))
        return pattern([space[first + i] for i in range(coding.size)], coding)

    # ---- values by point name ----

    def put(self, name: str, value: float) -> None:
        """Show a value in the units of the catalog.

        Raises:
            KeyError: there is no such point.
            ValueError: it does not fit into the register, or the point has no register here.
        """
        row = self.rows[name]
        if "sign_by" in row:
            minus = row["sign_by"]["minus"]
            plus = next(code for code in range(len(minus) + 1) if code not in minus)
            self.put(row["sign_by"]["point"], minus[0] if value < 0.0 else plus)
            value = abs(value)
        self.put_raw(name, (value - row.get("add", 0.0)) / self.scale(name))

    def put_raw(self, name: str, raw: float) -> None:
        """Put a raw value into the registers; a masked one leaves the other bits alone."""
        row = self._served(name)
        if row["type"] == "bit":
            self._store(row, [int(bool(raw))])
            return
        coding = coding_of(row, self.variant)
        bits = raw_pattern(raw, coding)
        if "mask" in row or "shift" in row:
            mask = _number(row.get("mask", 2 ** (16 * coding.size) - 1))
            bits <<= row.get("shift", 0)
            if bits & ~mask:
                raise ValueError(f"{raw} does not fit into mask {mask:#x} of {name}")
            bits |= self._bits(row) & ~mask
        self._store(row, pattern_words(bits, coding))

    def put_missing(self, name: str, which: int = 0) -> None:
        """Show «not available»: one of the patterns that the file gives for it."""
        row = self._served(name)
        patterns = row["na"] if isinstance(row["na"], list) else [row["na"]]
        self._store(row, pattern_words(_number(patterns[which]), coding_of(row, self.variant)))

    def shown(self, name: str) -> float:
        """Return what the registers of a point say now, in the units of the catalog."""
        row = self._served(name)
        if row["type"] == "bit":
            return float(self._bits(row))
        bits = self._bits(row)
        if "mask" in row or "shift" in row:
            raw = float((bits & _number(row.get("mask", bits))) >> row.get("shift", 0))
        else:
            raw = raw_value(bits, coding_of(row, self.variant))
        value = raw * self.scale(name) + row.get("add", 0.0)
        by = row.get("sign_by")
        return -value if by and self.shown(by["point"]) in by["minus"] else float(value)

    def scale(self, name: str) -> float:
        """Return the units of one count, with what another point says about it."""
        row = self.rows[name]
        scale = row.get("scale", 1.0)
        factor = float(scale[self.variant] if isinstance(scale, Mapping) else scale)
        by = row.get("scale_by")
        if not by:
            return factor
        other = self.shown(by["point"])
        return factor * (10.0**other if by["how"] == "power_of_ten" else other)

    def _served(self, name: str) -> Row:
        row = self.rows[name]
        if name in self.unserved:
            raise ValueError(f"{name}: {self.unserved[name]}")
        if is_derived(row):
            raise ValueError(f"{name} is derived from other points")
        return row

    # ---- what comes over the line ----

    @property
    def unit_ids(self) -> set[int]:
        """Unit ids on which something answers."""
        return {self.unit_id} | {unit for unit, _ in self.spaces}

    def read(self, unit_id: int, fn: int, address: int, count: int) -> list[int]:
        """Return what a read brings.

        Gaps are answered with 0 as far as the file allows them to be read along, so that a driver that reads
        more than that is found out.

        Raises:
            Refusal: the device refuses it.
        """
        space = self.spaces.get((unit_id, fn))
        if space is None:
            raise Refusal(ILLEGAL_ADDRESS)
        if fn > 2 and count > self._max_registers:
            raise Refusal(ILLEGAL_VALUE)
        last = address + count - 1
        if any(fn == hole and first <= last and address <= end for hole, first, end in self._holes):
            raise Refusal(ILLEGAL_ADDRESS)
        gap = 0
        for at in range(address, last + 1):
            gap = 0 if at in space else gap + 1
            if gap > self._max_gap:
                raise Refusal(ILLEGAL_ADDRESS)
        return [space.get(at, 0) for at in range(address, last + 1)]

    def write(self, unit_id: int, fn: int, address: int, words: list[int]) -> None:
        """Take a write: keep it, and show it where it is read."""
        if fn not in WRITES:
            raise Refusal(ILLEGAL_FUNCTION)
        space = self.spaces.get((unit_id, WRITES[fn]), {})
        if any(at not in space for at in range(address, address + len(words))):
            raise Refusal(ILLEGAL_ADDRESS)
        self.written.append(Written(unit_id, fn, address, tuple(words)))
        space.update(zip(range(address, address + len(words)), words, strict=True))


def is_derived(row: Row) -> bool:
    """Whether the point is computed from others."""
    return any(key in row for key in DERIVED)


def coding_of(row: Row, variant: str) -> Coding:
    """Return how the registers of a row of the file are laid out."""
    order = row.get("word_order")
    order = order[variant] if isinstance(order, Mapping) else order
    return Coding(row.get("type", "u16"), order == "low_first", row.get("byte_swap", False))


def _unreachable(row: Row) -> str:
    return next((why for key, why in UNREACHABLE.items() if key in row), "")


def _written_rows(table: Mapping[str, Any]) -> list[Row]:
    write = table.get("write", {})
    heartbeat = [write["heartbeat"]] if "heartbeat" in write else []
    return [*write.get("set", []), *write.get("release", []), *heartbeat]


def _number(value: int | str) -> int:
    return int(value, 0) if isinstance(value, str) else value
