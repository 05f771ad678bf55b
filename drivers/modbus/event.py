"""What a Modbus device tells besides readings; a code appears when something changes, not at every poll."""

from collections.abc import Callable
from enum import StrEnum

OnEvent = Callable[[str, str, str], None]
"""``on_event(code, device, what)``; called in the link thread, must return soon and must not raise."""


class EventCode(StrEnum):
    """Stable codes."""

    ONLINE = "DRV-001"
    OFFLINE = "DRV-002"
    READ_REFUSED = "DRV-003"
    """A block read is answered with an exception; its points are BAD."""
    READ_BAD = "DRV-004"
    """Replies to a block read do not prove that they answer it; its points are BAD."""
    READ_BACK = "DRV-005"
    """A block that was refused or bad is usable again."""
    WRITE_FAILED = "DRV-006"
    """A write was refused or not confirmed; the next one is the next refresh."""
    WRITE_BACK = "DRV-007"
    """Writes are confirmed again."""
    DOOR_REFUSED = "DRV-008"
    """A setpoint outside the nameplate (or for a device that takes none) was asked for; nothing was sent."""
    PREPARED = "DRV-009"
    """A step that makes the device ready for setpoints was written."""
    FAULT = "DRV-010"
    """A fault of our own while the device was served; it counts as offline until it is read again."""
    NOT_TAKEN = "DRV-011"
    """The device shows another setpoint than the one that it was told; it is told again."""
    TAKEN = "DRV-012"
    """The device shows the setpoint again."""
    RELEASED = "DRV-013"
    """The setpoint has expired and the device was told what is configured for the loss."""
    RESOLVED = "DRV-014"
    """The points of a device that describes itself (SunSpec) were found."""
