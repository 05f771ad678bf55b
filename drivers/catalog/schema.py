"""The keys of a catalog file, and what each may be by itself; README.md in this folder says what they mean.

Nothing is converted between types, nothing unknown is taken. ``schema.json`` is made from these tables.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from models.point import Role


def _whole(value: object) -> object:
    """Read "0x8000" as the integer that it is; what cannot be read is left for pydantic to refuse."""
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            return value
    return value


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


Code = Annotated[int, BeforeValidator(_whole, json_schema_input_type=int | str)]
Pattern = Annotated[Code, Field(ge=0, le=0xFFFF_FFFF_FFFF_FFFF)]
Patterns = Annotated[list[Pattern], BeforeValidator(_listed)]
Texts = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Address = Annotated[Code, Field(ge=0, le=65_535)]
UnitId = Annotated[int, Field(ge=0, le=255)]
Factor = Annotated[float, Field(ge=-1e12, le=1e12)]
Seconds = Annotated[float, Field(ge=0.01, le=864_000)]
Type = Literal["bit", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]
WordOrder = Literal["high_first", "low_first"]
Level = Literal["NONE", "INFO", "WARN", "DERATE", "STOP", "TRIP"]
Alarm = Annotated[tuple[Level, str], Field(strict=False)]
"""Level and the vendor's own word."""
Range = Annotated[tuple[float, float], Field(strict=False)]
Node = Annotated[list[str], Field(min_length=1)]
"""OPC UA browse path below Objects, or one ``nsu=URI;s=…``."""


class Table(BaseModel):
    """What all tables share: nothing unknown, no conversion between types, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Hole(Table):
    """Registers that must never be read."""

    fn: int = Field(ge=1, le=4)
    first: Address
    last: Address


class Link(Table):
    """``[link]``: how the device wants to be talked to."""

    transports: list[Literal["tcp", "rtu", "rtu+tcp", "tls"]] = []
    port: int = Field(default=502, ge=1, le=65_535)
    unit_id: UnitId = 1
    baud: int = Field(default=9600, ge=1200, le=230_400)
    parity: Literal["N", "E", "O"] = "N"
    stop: Literal[1, 2] = 1
    timeout_min_s: float = Field(default=0.1, ge=0.001, le=60)
    timeout_max_s: float = Field(default=0.5, ge=0.001, le=60)
    gap_s: float = Field(default=0.0, ge=0, le=10)
    max_gap: int = Field(default=8, ge=0, le=125)
    max_registers: int = Field(default=125, ge=4, le=125)
    holes: list[Hole] = []
    namespace: str = ""


class Poll(Table):
    """One period class."""

    period_s: Seconds
    max_age_s: Seconds


class Polls(Table):
    """``[poll]``: the period classes."""

    fast: Poll = Poll(period_s=0.2, max_age_s=1.0)
    normal: Poll = Poll(period_s=1.0, max_age_s=5.0)
    slow: Poll = Poll(period_s=10.0, max_age_s=60.0)
    rare: Poll = Poll(period_s=300.0, max_age_s=1800.0)


class ScaleBy(Table):
    """The value is multiplied by another point, or by ten to the power of it."""

    point: Name
    how: Literal["power_of_ten", "factor"]


class SignBy(Table):
    """The value is negative while another point has one of these values."""

    point: Name
    minus: list[int] = Field(min_length=1)


class Place(Table):
    """Where a value lies and how it is coded; a written one too."""

    fn: int | None = None
    address: Address | None = None
    type: Type | None = None
    word_order: WordOrder | dict[str, WordOrder] = "high_first"
    byte_swap: bool = False
    unit_id: UnitId | None = None
    sunspec: Annotated[Texts, Field(default=[])]
    instance: int = Field(default=1, ge=1, le=32)
    node: Annotated[Node, Field(default=[])]
    scale: Factor | dict[str, Factor] = 1.0
    scale_by: ScaleBy | None = None


class PointRow(Place):
    """One point."""

    name: Name
    part: Name | None = None
    role: Literal[tuple(map(str, Role))] = "other"  # type: ignore[valid-type]
    symbol: str = Field(default="", max_length=12)
    poll: Literal["fast", "normal", "slow", "rare"] = "normal"
    di: str = Field(default="", pattern=r"^([0-9A-F]{8})?$")
    add: Factor = 0.0
    range: Range | None = None
    map: dict[Code, str | float] = {}
    mask: Pattern | None = None
    shift: int = Field(default=0, ge=0, le=63)
    na: Annotated[Patterns, Field(default=[])]
    sign_by: SignBy | None = None
    alarm_bits: dict[Code, Alarm] = {}
    alarm_codes: dict[Code, Alarm] = {}
    sum: list[Name] = []
    product: list[Name] = []
    ratio: list[Name] = []
    worst: list[Name] = []


class TextRow(Table):
    """A text for people and for recognition; never part of the image."""

    name: Name
    fn: Literal[3, 4] | None = None
    address: Address | None = None
    registers: int = Field(default=1, ge=1, le=125)
    byte_swap: bool = False
    unit_id: UnitId | None = None
    sunspec: str = ""
    node: Annotated[Node, Field(default=[])]
    di: str = ""


class TextRule(Table):
    """The text there begins with, or contains."""

    fn: Literal[3, 4]
    address: Address
    registers: int = Field(ge=1, le=125)
    unit_id: UnitId | None = None
    starts: str = ""
    contains: str = ""


class RegisterRule(Table):
    """The register there has one of these values."""

    fn: Literal[3, 4]
    address: Address
    type: Literal["u16", "u32"] = "u16"
    unit_id: UnitId | None = None
    among: list[Code] = Field(alias="is", min_length=1)


class SunspecRule(Table):
    """Model 1 begins so."""

    manufacturer: str
    model: str = ""


class DeviceIdRule(Table):
    """The answer to function 43/14 contains this."""

    vendor: str
    product: str = ""


class IdentityRow(Table):
    """One thing by which the product is recognised; exactly one key."""

    text: TextRule | None = None
    register_: RegisterRule | None = Field(default=None, alias="register")
    sunspec: SunspecRule | None = None
    device_id: DeviceIdRule | None = None


class BySign(Table):
    """A value for each direction of the setpoint."""

    charge: Code
    discharge: Code
    zero: Code


class SetRow(Place):
    """One register that is written for a setpoint."""

    value: Literal["p_kw", "charge_kw", "discharge_kw", "magnitude_kw"] | float | BySign
    per: Name | None = None


class Clamp(Table):
    """Points that say how much may be asked for."""

    charge: Name | None = None
    discharge: Name | None = None


class Write(Table):
    """``[write]``: how a power setpoint is given."""

    part: Name | None = None
    rows: list[SetRow] = Field(alias="set", min_length=1)
    refresh_s: float = Field(ge=0.05, le=3600)
    expires_s: float | None = Field(default=None, ge=0.1, le=86_400)
    heartbeat: Place | None = None
    readback: Name | None = None
    clamp: Clamp = Clamp()
    dead_band_kw: float = Field(default=0.0, ge=0, le=1000)
    max_writes_per_day: int | None = Field(default=None, ge=24, le=10_000_000)
    release: list[SetRow] = []


class When(Table):
    """Condition of a step."""

    point: Name
    among: list[str | float] = Field(default=[], alias="is")
    none_of: list[str | float] = Field(default=[], alias="not")


class Step(Table):
    """``[[prepare]]``: one write that makes the device ready for setpoints."""

    name: str
    write: Place
    value: Factor
    when: When
    again_s: float = Field(default=2.0, ge=0.5, le=3600)


class ProductFile(Table):
    """The whole file."""

    vendor: str = Field(min_length=1)
    product: str = Field(min_length=1)
    kind: Literal["meter", "pcs", "bms", "battery", "pv", "hybrid_inverter", "gateway"]
    protocol: Literal["modbus", "sunspec", "dlt645", "opcua"]
    source: Texts
    tested_on: str = Field(min_length=1)
    note: str = ""
    variants: list[Name] = []
    link: Link = Link()
    poll: Polls = Polls()
    identity: list[IdentityRow] = []
    points: list[PointRow] = Field(min_length=1)
    texts: list[TextRow] = []
    write: Write | None = None
    prepare: list[Step] = []
