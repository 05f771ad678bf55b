"""What the devices of a site file ask of their lines, and whether that fits; nothing is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.catalog.loader import load_product
from drivers.modbus.busload import BusLoad, LineDevice, line_device, load_of
from drivers.modbus.line import Endpoint, parse_url
from edge.config import SiteConfig
from models.errors import Problem
from models.language import tr

LATE_SHOWN = 3
FULL = 1.0


@dataclass(frozen=True, slots=True)
class LinePlan:
    """One line and what becomes of it."""

    endpoint: Endpoint
    devices: tuple[str, ...]
    unplanned: tuple[str, ...]
    """Devices whose points are only found in the device itself, or that speak no Modbus."""
    load: BusLoad
    max_age_s: Mapping[tuple[str, str], float]
    """When each point is too old, by device and point."""

    def oldest(self, device: str) -> tuple[str, float]:
        """Return the point of a device that comes nearest to its largest age, and how old it becomes [s]."""
        ages = {key: age_s for key, age_s in self.load.worst_age_s.items() if key[0] == device}
        key = max(ages, key=lambda one: ages[one] / self.max_age_s[one], default=("", ""))
        return key[1], ages.get(key, 0.0)


def plans_of(site: SiteConfig) -> list[LinePlan]:
    """Return the plan of each Modbus or serial line of a site, in the order of the file."""
    lines: dict[Endpoint, tuple[list[LineDevice], list[str]]] = {}
    for device in site.devices:
        product = load_product(device.product, device.variant)
        if product.protocol == "opcua":
            continue
        endpoint = parse_url(device.link)
        planned, unplanned = lines.setdefault(endpoint, ([], []))
        if product.protocol == "modbus":
            planned.append(line_device(device.name, product, endpoint))
        else:
            unplanned.append(device.name)
    return [_plan(endpoint, planned, unplanned) for endpoint, (planned, unplanned) in lines.items()]


def _plan(endpoint: Endpoint, planned: Sequence[LineDevice], unplanned: Sequence[str]) -> LinePlan:
    ages = {(device.name, point.name): point.max_age_s for device in planned for point in device.points}
    names = tuple(device.name for device in planned)
    return LinePlan(endpoint, names, tuple(unplanned), load_of(planned, endpoint), ages)


def warnings_of(plans: Sequence[LinePlan], where: str, language: str) -> list[Problem]:
    """Return a warning for each line that does not fit."""
    return [
        _warning(plan, where, language) for plan in plans if plan.load.late or plan.load.utilisation > FULL
    ]


def _warning(plan: LinePlan, where: str, language: str) -> Problem:
    name, share = plan.endpoint.name, f"{plan.load.utilisation:.0%}"
    late = ", ".join(f"{device}/{point}" for device, point in plan.load.late[:LATE_SHOWN])
    more = f" +{len(plan.load.late) - LATE_SHOWN}" if len(plan.load.late) > LATE_SHOWN else ""
    what = tr(
        language,
        f"{name} would be busy {share}; too old now and then: {late or 'nothing'}{more}",
        f"{name} 的占用率将达 {share};会过期的点:{late or '无'}{more}",
    )
    do = tr(
        language,
        "Raise the baud rate, move devices to another line, or poll less; `edge bus --plan` shows it.",
        "请提高波特率、将设备移到其他线路或降低轮询频率;详见 `edge bus --plan`。",
    )
    return Problem("BUS-010", where, what, do, "warning")
