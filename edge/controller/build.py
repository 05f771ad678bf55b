"""From configuration to objects: the one place that knows everything.

Pure up to ``Plant.open``: ``site_of`` needs no device and no file beside the catalog, so that a recorded
cycle can be run again anywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.catalog.loader import load_product, points_of
from drivers.catalog.product import Product
from drivers.driver import Driver, Nameplate
from drivers.modbus.build import open_devices
from drivers.modbus.spec import ModbusSpec
from edge.config import SiteConfig
from edge.config_tables import DeviceTable
from edge.controller.mail import HostedDriver
from edge.events import Events
from edge.image import DeviceInfo, SharedImage
from models.point import Point, Role
from models.site import Battery, Meter, Pv, Site, SiteLimits

PROTOCOLS = {
    "tcp": "modbus-tcp",
    "tls": "modbus-tls",
    "rtu": "modbus-rtu",
    "rtu+tcp": "modbus-rtu",
    "dlt645": "dlt645",
    "opc.tcp": "opcua",
}
"""By the scheme of the link."""
HOSTED = ("opcua",)
"""Protocols whose library is heavy: their devices live in a driver host."""
PCS_ROLES = (Role.P_KW, Role.Q_KVAR, Role.P_SET_KW, Role.STATE, Role.HEARTBEAT, Role.ALARM_LEVEL)
"""Roles for which only the PCS answers; for all others the BMS of the same battery knows better."""

Points = tuple[Point, ...]
Index = dict[Role, int]


def protocol_of(device: DeviceTable) -> str:
    """Return how the device is talked to."""
    return PROTOCOLS[device.link.split("://")[0]]


def product_of(device: DeviceTable) -> Product:
    """Return the product of the device, in its variant."""
    return load_product(device.product, device.variant)


def points_of_site(config: SiteConfig) -> Points:
    """Return all points, each device's together, in the order of the configuration."""
    return tuple(p for d in config.devices for p in points_of(product_of(d), d.name, d.unit))


def site_of(config: SiteConfig) -> Site:
    """Return the site as control sees it."""
    points = points_of_site(config)
    return Site(
        name=config.name,
        batteries=tuple(_battery(config, number, points) for number in range(len(config.batteries))),
        meter=Meter(config.meter.name, _roles(points, config.meter.name), config.meter.delay_s),
        pvs=tuple(Pv(pv.name, pv.p_max_kw, _roles(points, pv.name)) for pv in config.pvs),
        limits=SiteLimits(**config.limits.model_dump()),
        points=points,
        cycle_s=config.period_ms / 1000,
    )


def _battery(config: SiteConfig, number: int, points: Points) -> Battery:
    table = config.batteries[number]
    setter = setter_of(config, table.name).name
    pcs = _roles(points, table.name, lambda device: device == setter)
    own = _roles(points, table.name, lambda device: device != setter)
    return Battery(
        **table.model_dump(exclude={"wear_cny_per_kwh"}),
        points={**pcs, **{role: at for role, at in own.items() if role not in PCS_ROLES}},
        bms_points=own or pcs,
    )


def setter_of(config: SiteConfig, unit: str) -> DeviceTable:
    """Return the device that takes the setpoint of a unit; the configuration has made sure of one."""
    return next(device for device in config.devices if _takes(device) == unit)


def _takes(device: DeviceTable) -> str | None:
    """Return the unit whose setpoint the device takes."""
    write = product_of(device).write
    return device.served_by(write.part) if write else None


def _roles(points: Points, unit: str, chosen: Callable[[str], bool] = bool) -> Index:
    """Return where each role of a unit stands in the image, over the chosen devices."""
    return {
        point.role: at
        for at, point in enumerate(points)
        if point.unit == unit and point.role is not Role.OTHER and chosen(point.device)
    }


def device_infos(config: SiteConfig) -> tuple[DeviceInfo, ...]:
    """Return where each device's points stand in the image."""
    kinds = {b.name: "battery" for b in config.batteries} | {pv.name: "pv" for pv in config.pvs}
    infos, first = [], 0
    for device in config.devices:
        count = len(product_of(device).points)
        kind = next((kinds[name] for name in device.units if name in kinds), "meter")
        infos.append(DeviceInfo(device.name, protocol_of(device), first, count, kind))
        first += count
    return tuple(infos)


@dataclass(frozen=True, slots=True)
class Plant:
    """The site and how to reach its devices."""

    config: SiteConfig
    site: Site
    devices: tuple[DeviceInfo, ...]

    @property
    def hosted(self) -> list[str]:
        """Names of the devices that live in a driver host."""
        return [device.name for device in self.devices if device.protocol in HOSTED]

    def open(self, image: SharedImage, events: Events, run_dir: Path) -> list[Driver]:
        """Make the drivers of the controller; none of them talks before its start."""
        specs = [
            ModbusSpec(
                name=device.name,
                units=device.unit,
                product=device.product,
                url=device.link,
                unit_id=device.station(product_of(device).link.unit_id),
                nameplate=self._nameplate(device),
                sink=image.slice(device.name),
                variant=device.variant,
                on_loss=device.on_loss,
                address=device.address,
                ct_ratio=device.ct_ratio,
                vt_ratio=device.vt_ratio,
            )
            for device in self.config.devices
            if device.name not in self.hosted
        ]
        return [*open_devices(specs, events.emit), *self._posts(run_dir)]

    def _posts(self, run_dir: Path) -> list[Driver]:
        """Return the controller's end of the devices in driver hosts that take setpoints."""
        return [
            HostedDriver(device.name, points_of(product_of(device), device.name, device.unit), run_dir, unit)
            for device in self.config.devices
            if device.name in self.hosted and (unit := _takes(device))
        ]

    def takers(self, drivers: Sequence[Driver]) -> dict[str, Driver]:
        """Return the driver that takes the setpoint of each battery."""
        by_name = {driver.name: driver for driver in drivers}
        return {b.name: by_name[setter_of(self.config, b.name).name] for b in self.site.batteries}

    def _nameplate(self, device: DeviceTable) -> Nameplate | None:
        for battery in self.site.batteries:
            if setter_of(self.config, battery.name) is device:
                return Nameplate(battery.p_min_kw, battery.p_max_kw)
        return None


def build(config: SiteConfig) -> Plant:
    """Return the plant that the configuration describes."""
    return Plant(config, site_of(config), device_infos(config))
