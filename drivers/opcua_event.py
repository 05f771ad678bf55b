"""What an OPC UA device tells besides readings; a code appears when something changes."""

from collections.abc import Callable
from enum import StrEnum

Tell = Callable[[str, str], None]
"""``tell(code, what)``; must return soon and must not raise."""


class EventCode(StrEnum):
    """Stable codes; those that a Modbus device knows too have the same meaning there."""

    ONLINE = "DRV-001"
    OFFLINE = "DRV-002"
    READ_REFUSED = "DRV-003"
    """The server does not have a node, or does not let us watch it."""
    WRITE_FAILED = "DRV-006"
    """A write was refused or not confirmed; it is tried again."""
    WRITE_BACK = "DRV-007"
    """Writes are confirmed again."""
    DOOR_REFUSED = "DRV-008"
    """A setpoint outside the nameplate (or for a device that takes none) was asked for; nothing was sent."""
    NOT_TAKEN = "DRV-011"
    """What was written does not read back: the device has not taken it, or somebody else writes it too."""
    TAKEN = "DRV-012"
    """What is written reads back again."""
    RELEASED = "DRV-013"
    """No setpoint lives any more: the device was told to do without."""
    INSECURE = "DRV-020"
    """The link cannot be made as securely as asked; it is not made at all."""
    CERTIFICATE = "DRV-021"
    """A certificate expires soon, or does not name the host that we call."""
    SLOWER = "DRV-022"
    """The server does not notify as often as needed; its values are read instead."""
