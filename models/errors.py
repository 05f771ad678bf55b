"""Every error the product raises on purpose.

YunchuError
├── ConfigError      at start only: a file does not say what it must; carries every problem found
├── DriverError      never leaves drivers/: it becomes Quality, a counter and an event
│   ├── NoReply      nothing came back in time
│   ├── BadReply     something came back that does not prove that it answers the open request
│   ├── Refused      the device answered with an exception code
│   └── DoorRefused  a setpoint outside nameplate limits was asked for
├── LinkError        never leaves cloud_link/
├── StoreError       a store on disk cannot be used
└── BusyError        somebody else holds what must have one holder
Plant trouble inside ``control`` and ``models`` is a value (Quality, an empty Interval), never one of these.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    code: str
    """Stable code, for instance CFG-012."""
    where: str
    """``file:line`` where it is known, else the key path."""
    what: str
    do: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.where}  {self.code}  {self.what}. {self.do}"


class YunchuError(Exception):
    """Base of all errors of the product."""


class ConfigError(YunchuError):
    """A configuration cannot be used; ``problems`` lists everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class DriverError(YunchuError):
    """A device or its line did not do what was asked."""


class NoReply(DriverError):
    """Nothing came back in time."""


class BadReply(DriverError):
    """What came back does not prove that it answers the open request."""


class Refused(DriverError):
    """The device answered with an exception code."""

    def __init__(self, what: str = "", code: int = 0) -> None:
        super().__init__(what)
        self.code = code


class DoorRefused(DriverError):
    """A setpoint outside the nameplate limits was asked for; nothing was sent."""


class LinkError(YunchuError):
    """The link to the fleet cannot carry a message."""


class StoreError(YunchuError):
    """A store on disk cannot be used."""


class BusyError(YunchuError):
    """Somebody else holds what must have one holder."""
