"""What a catalog file says about a product, after checking; no TOML and no protocol code here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.point import AlarmLevel, Role

ALL_BITS = 0xFFFF_FFFF_FFFF_FFFF
Derivation = Literal["", "sum", "product", "ratio", "worst"]
Value = Literal["constant", "by_sign", "p_kw", "charge_kw", "discharge_kw", "magnitude_kw"]


@dataclass(frozen=True, slots=True)
class By:
    """How another point changes a value."""

    point: str
    how: Literal["power_of_ten", "factor", "sign"]
    minus: tuple[int, ...] = ()
    """Values of the other point at which the value is negative (``sign``)."""


@dataclass(frozen=True, slots=True)
class PointSpec:
    """One point of a product: where it lies, how it is coded, what it means."""

    name: str
    role: Role
    symbol: str
    period_s: float
    """How often it is asked for."""
    max_age_s: float
    """Older than this is STALE."""
    fn: int = 0
    """Modbus function code of the read, 1 to 4; 0 when it is not a register."""
    address: int = 0
    """Modbus address as on the wire, from 0."""
    type: str = "u16"
    scale: float = 1.0
    """Sign conversion is part of the scale."""
    add: float = 0.0
    low_word_first: bool = False
    byte_swap: bool = False
    mask: int = ALL_BITS
    shift: int = 0
    na: tuple[int, ...] = ()
    """Bit patterns that mean "not available"."""
    lo: float = float("-inf")
    hi: float = float("inf")
    map: Mapping[int, float] = field(default_factory=dict)
    """Vendor code to RunState, AlarmLevel or number; a code that is not in it is BAD. Empty: no mapping."""
    node: tuple[str, ...] = ()
    """OPC UA browse path below Objects, without namespace index; or one ``nsu=URI;s=…``."""
    part: str = ""
    """Which part of the product it belongs to; empty for a product that serves one unit."""
    unit_id: int | None = None
    """Modbus unit id on which it answers; None is the device's own."""
    sunspec: tuple[str, ...] = ()
    """SunSpec references, the first that exists counts."""
    instance: int = 1
    """Which of several models of the same number, from 1."""
    di: str = ""
    """DL/T 645 data identifier, 8 hexadecimal digits."""
    by: tuple[By, ...] = ()
    """What other points do to the value, in this order."""
    derivation: Derivation = ""
    of: tuple[str, ...] = ()
    """From which points it is derived."""
    alarm_levels: Mapping[int, AlarmLevel] = field(default_factory=dict)
    """Level of each bit or code; what is not in it counts as STOP."""
    alarm_texts: Mapping[int, str] = field(default_factory=dict)
    alarm_by_bit: bool = False


@dataclass(frozen=True, slots=True)
class Register:
    """Where a value is written."""

    fn: int = 0
    """6 (one register) or 16; 0 when it is not a register of a fixed address."""
    address: int = 0
    type: str = "u16"
    scale: float = 1.0
    low_word_first: bool = False
    byte_swap: bool = False
    unit_id: int | None = None
    sunspec: tuple[str, ...] = ()
    instance: int = 1
    node: tuple[str, ...] = ()
    power_of_ten: str = ""
    """Point that holds the decimal exponent of the scale."""


@dataclass(frozen=True, slots=True)
class SetRow:
    """One register that is written for a setpoint, and with what."""

    register: Register
    value: Value
    constant: float = 0.0
    by_sign: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """For charge, zero, discharge."""
    per: str = ""
    """Point by which the power is divided, for devices that want a ratio."""


@dataclass(frozen=True, slots=True)
class WriteSpec:
    """How a product takes its power setpoint."""

    rows: tuple[SetRow, ...]
    """Written in this order for each setpoint; kW, discharge +, by their scales."""
    refresh_s: float
    """The setpoint and the heartbeat are sent again this often while the setpoint lives."""
    part: str = ""
    expires_s: float | None = None
    """After this the device itself drops a setpoint that is not refreshed."""
    heartbeat: Register | None = None
    readback: str = ""
    """Point that must show what was written."""
    clamp_charge: str = ""
    """Point that says how much may be charged at most, kW."""
    clamp_discharge: str = ""
    dead_band_kw: float = 0.0
    max_writes_per_day: int = 0
    """Wear limit of the setpoint's registers; 0 is none."""
    release: tuple[SetRow, ...] = ()
    """Constants that hand control back to the device."""


@dataclass(frozen=True, slots=True)
class Step:
    """One write that makes the device ready for setpoints; written while its condition holds."""

    name: str
    write: Register
    value: float
    point: str
    """Name of the point on which it depends."""
    among: frozenset[float]
    """It is due when the point has one of these values …"""
    negate: bool
    """… or, when set, when it has none of them."""
    again_s: float
    """Not repeated before this has passed."""


@dataclass(frozen=True, slots=True)
class TextSpec:
    """A text that the device can tell: serial number, model, version."""

    name: str
    fn: int = 0
    address: int = 0
    registers: int = 0
    byte_swap: bool = False
    unit_id: int | None = None
    sunspec: str = ""
    node: tuple[str, ...] = ()
    di: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing by which a product is recognised."""

    how: Literal["text", "register", "sunspec", "device_id"]
    fn: int = 0
    address: int = 0
    registers: int = 0
    type: str = "u16"
    unit_id: int | None = None
    starts: str = ""
    """Beginning of the text, or of the SunSpec manufacturer."""
    contains: str = ""
    """Part of the text, or of the vendor name of function 43/14."""
    model: str = ""
    """Beginning of the SunSpec model, or part of the product name of function 43/14."""
    among: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """How the device wants to be talked to."""

    timeout_min_s: float = 0.1
    timeout_max_s: float = 0.5
    """Bounds of the learnt reply time; the time on the wire is extra."""
    max_gap: int = 8
    """Registers that nobody wants, read along so that two reads become one."""
    max_registers: int = 125
    namespace: str = ""
    """OPC UA namespace URI of the nodes."""
    gap_s: float = 0.0
    """Silence that the device wants before a request, beyond the 3.5 characters."""
    holes: tuple[tuple[int, int, int], ...] = ()
    """Function, first and last register of what must never be read."""
    transports: tuple[str, ...] = ()
    port: int = 502
    unit_id: int = 1
    baud: int = 9600
    parity: str = "N"
    stop: int = 1


@dataclass(frozen=True, slots=True)
class Product:
    """One device type."""

    key: str
    """``vendor/product`` as in the catalog, for instance ``yunchu/pcs100``."""
    vendor: str
    product: str
    kind: str
    protocol: str
    """``modbus``, ``sunspec``, ``dlt645`` or ``opcua``."""
    source: tuple[str, ...]
    tested_on: str
    note: str
    variants: tuple[str, ...]
    link: LinkSpec
    points: tuple[PointSpec, ...]
    texts: tuple[TextSpec, ...] = ()
    identity: tuple[Rule, ...] = ()
    write: WriteSpec | None = None
    prepare: tuple[Step, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order of the points; empty for a product that serves one unit."""
        return tuple(dict.fromkeys(point.part for point in self.points if point.part))
