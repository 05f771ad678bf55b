"""The tables of a site file: which keys there are, and what each may be by itself.

Nothing is converted between types: "100" is no number, true is no 1.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo


def _product(value: object, info: ValidationInfo) -> object:
    """Make the path of a product file of the site absolute; a key of the catalog stays what it is."""
    if isinstance(value, str) and value.endswith(".toml"):
        return str(Path((info.context or {}).get("folder", ".")) / value)
    return value


def _resolve(value: object, info: ValidationInfo) -> object:
    """Make a path of the file absolute; what is no text is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    return Path((info.context or {}).get("folder", ".")) / value


Power = Annotated[float, Field(gt=0, le=100_000)]
Name = Annotated[str, Field(pattern=r"^\w[\w-]{0,31}$", max_length=32)]
SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", max_length=32)]
Efficiency = Annotated[float, Field(ge=0.5, le=1)]
Text = Annotated[str, Field(min_length=1, max_length=256)]
FilePath = Annotated[Path, BeforeValidator(_resolve, json_schema_input_type=str)]


class Table(BaseModel):
    """What all tables share: nothing unknown, no conversion between types, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SiteTable(Table):
    """``[site]``"""

    name: SiteName
    time_zone: Text
    state_dir: FilePath
    """History, outbox and plan; survives restarts."""
    run_dir: FilePath | None = None


class LimitsTable(Table):
    """``[limits]`` at the grid connection point; see :class:`models.site.SiteLimits`."""

    import_kw: Power
    export_kw: float = Field(ge=0, le=100_000)
    transformer_kva: Power
    ramp_kw_per_s: Power
    margin_kw: float = Field(ge=0, le=10_000)


class TariffTable(Table):
    """``[tariff]``"""

    file: FilePath


class ForecastTable(Table):
    """``[forecast]``"""

    load_csv: FilePath | None = None
    """Measured load of the past, to learn from before the site has a history of its own."""
    load_csv_zone: Text | None = None
    """Clock by which that plant worked; the site's own when left out."""


class BatteryTable(Table):
    """``[[battery]]``; see :class:`models.site.Battery`."""

    name: Name
    p_max_kw: Power
    p_min_kw: float = Field(lt=0, ge=-100_000)
    s_max_kva: Power
    capacity_kwh: float = Field(gt=0, le=1_000_000)
    soc_min: float = Field(ge=0, lt=1)
    soc_max: float = Field(gt=0, le=1)
    eff_charge: Efficiency
    eff_discharge: Efficiency
    wear_cny_per_kwh: float = Field(ge=0, le=5)
    """Cost of ageing per kWh discharged."""
    without_alarms: bool = False
    """Accepts that no device reports alarms of the battery, because an inverter itself guards it."""


class MeterTable(Table):
    """``[meter]``; see :class:`models.site.Meter`."""

    name: Name
    delay_s: float = Field(ge=0, le=10)


class PvTable(Table):
    """``[[pv]]``; see :class:`models.site.Pv`."""

    name: Name
    p_max_kw: Power


class DeviceTable(Table):
    """``[[device]]``: one communication endpoint."""

    name: Name
    unit: Text | Annotated[dict[str, Text], Field(min_length=1)]
    """The battery, meter or PV unit that it serves; for a product with parts: which part serves which."""
    product: Annotated[Text, BeforeValidator(_product)]
    """``vendor/product`` of the catalog, or the path of a product file of the site."""
    link: Text
    variant: str = ""
    """One of those of the product, when it has some."""
    unit_id: int | None = Field(default=None, ge=0, le=255)
    """Modbus unit id; left out it is that of the product in the catalog."""
    address: str = Field(default="", pattern=r"^(\d{12})?$")
    """Of a DL/T 645 meter, the 12 digits on its label."""
    ct_ratio: float = Field(default=1.0, gt=0, le=100_000)
    """Of a DL/T 645 meter behind transformers: 40.0 for 200 A / 5 A."""
    vt_ratio: float = Field(default=1.0, gt=0, le=100_000)
    security: Literal["none", "sign", "sign_and_encrypt"] = "none"
    """Of an OPC UA link; see :mod:`drivers.opcua_security`."""
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    server_cert_file: FilePath | None = None
    username: Text | None = None
    password_file: FilePath | None = None
    on_loss: Literal["device", "zero", "release"] | None = None
    """What it is told when the controller has nothing valid to say; see :mod:`drivers.modbus.writer`."""

    def station(self, usual: int) -> int:
        """Return the unit id, where ``usual`` is that of the product."""
        return usual if self.unit_id is None else self.unit_id

    def served_by(self, part: str) -> str | None:
        """Return the unit that a part of the product serves; a product without parts has the part ""."""
        return self.unit if isinstance(self.unit, str) else (self.unit or {}).get(part)

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units that it serves."""
        return (self.unit,) if isinstance(self.unit, str) else tuple((self.unit or {}).values())


class CycleTable(Table):
    """``[cycle]``"""

    period_ms: int = Field(default=100, ge=20, le=1000)
    fifo_priority: int | None = Field(default=None, ge=1, le=99)


class FleetTable(Table):
    """``[fleet]``; without it the site talks to nobody."""

    broker: Text
    tenant: SiteName
    site_key: FilePath
    """The site's own signing key."""
    fleet_keys: FilePath
    """Public keys whose commands are accepted."""
    username: Text | None = None
    password_file: FilePath | None = None
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None


class SiteFile(Table):
    """The whole file."""

    config_version: Literal[1]
    site: SiteTable
    limits: LimitsTable
    tariff: TariffTable
    meter: MeterTable
    forecast: ForecastTable = ForecastTable()
    battery: list[BatteryTable] = Field(min_length=1)
    pv: list[PvTable] = []
    device: list[DeviceTable] = Field(min_length=1)
    cycle: CycleTable = CycleTable()
    fleet: FleetTable | None = None


def _table_in(annotation: Any) -> type[Table] | None:
    """Return the table type inside ``X``, ``X | None`` or ``list[X]``."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next((found for part in get_args(annotation) if (found := _table_in(part))), None)


TABLES = {
    name: model for name, field in SiteFile.model_fields.items() if (model := _table_in(field.annotation))
}
"""Type of each table by its name."""
