"""What a catalog file says about a product, after checking; no TOML and no protocol code here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.point import Role


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
    """Modbus function code of the read, 1 to 4; 0 for OPC UA."""
    address: int = 0
    """Modbus address as on the wire, from 0."""
    type: str = "u16"
    scale: float = 1.0
    """Sign conversion is part of the scale."""
    add: float = 0.0
    low_word_first: bool = False
    byte_swap: bool = False
    mask: int = 0xFFFF_FFFF_FFFF_FFFF
    shift: int = 0
    na: int = -1
    """Bit pattern that means "not available"; -1 for none."""
    lo: float = float("-inf")
    hi: float = float("inf")
    map: Mapping[int, float] = field(default_factory=dict)
    """Vendor code to RunState, AlarmLevel or number; a code that is not in it is BAD. Empty: no mapping."""
    node: tuple[str, ...] = ()
    """OPC UA browse path below Objects, without namespace index."""


@dataclass(frozen=True, slots=True)
class Register:
    """One Modbus register (or pair) that is written."""

    fn: int
    """6 (one register) or 16."""
    address: int
    type: str = "u16"
    scale: float = 1.0
    low_word_first: bool = False
    byte_swap: bool = False


@dataclass(frozen=True, slots=True)
class WriteSpec:
    """How a product takes its power setpoint."""

    p_set: Register
    """kW, discharge +, by its scale."""
    refresh_s: float
    """The setpoint and the heartbeat are sent again this often while the setpoint lives."""
    heartbeat: Register | None = None


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


@dataclass(frozen=True, slots=True)
class Product:
    """One device type."""

    key: str
    """``vendor/product`` as in the catalog, for instance ``yunchu/pcs100``."""
    vendor: str
    product: str
    protocol: str
    """``modbus`` or ``opcua``."""
    source: str
    tested_on: str
    link: LinkSpec
    points: tuple[PointSpec, ...]
    write: WriteSpec | None = None
    prepare: tuple[Step, ...] = field(default=())
