"""What the devices of a site file ask of their lines, and whether that fits; nothing is opened."""

from collections.abc import Sequence
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

    def oldest(self, device: str) -> tuple[str, float]:
        """Return the point of a device that becomes oldest for its limit, and how old [s]."""
        ages = {point: age_s for (name, point), age_s in self.load.worst_age_s.items() if name == device}
        point = max(ages, key=lambda name: ages[name], default="")
        return point, ages.get(point, 0.0)


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
    return [
        LinePlan(endpoint, tuple(d.name for d in planned), tuple(unplanned), load_of(planned, endpoint))
        for endpoint, (planned, unplanned) in lines.items()
    ]


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
