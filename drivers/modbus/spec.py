"""What a device on a Modbus line is, and how it is reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from drivers.catalog.product import Product
from drivers.driver import Nameplate, Sink

OnLoss = Literal["device", "zero", "release"]
"""What a device is told when its setpoint has expired: nothing (its own timer acts), zero power, or the
catalog's hand-over to its own automatic mode."""


@dataclass(frozen=True, slots=True)
class ModbusSpec:
    """One device to be opened."""

    name: str
    units: str | Mapping[str, str]
    """The unit of the site that it serves, or the unit of each part."""
    product: str
    """Key in the catalog, for instance ``yunchu/pcs100``."""
    url: str
    """``tcp://127.0.0.1:5020`` or ``rtu:///dev/ttyUSB0?baud=19200&parity=N&stop=1``."""
    unit_id: int
    nameplate: Nameplate | None
    """None: it is never written."""
    sink: Sink
    """Its slice of the image, in the order of ``points_of(product, name, units)``."""
    variant: str = ""
    on_loss: OnLoss | None = None
    """None: the device's own timer when it has one, else its release, else zero power."""
    address: str = ""
    """Of a DL/T 645 meter on the line: the 12 digits on its label."""
    ct_ratio: float = 1.0
    """Primary by secondary current of the transformers before such a meter: 40.0 for 200 A / 5 A."""
    vt_ratio: float = 1.0
    """Primary by secondary voltage."""


def on_loss_of(product: Product) -> OnLoss:
    """Return what a device is told when its setpoint has expired, if the site says nothing about it."""
    if product.write is None or product.write.expires_s is not None:
        return "device"
    return "release" if product.write.release else "zero"
