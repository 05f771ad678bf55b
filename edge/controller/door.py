"""The door for field engineers: what is behind it is loaded when the first one knocks."""

from collections.abc import Callable, Sequence
from typing import Any

from drivers.driver import Driver
from edge.mailbox import Door


class FieldDoor:
    """Passes on to :class:`edge.controller.field.FieldDesk`, which most controllers never need."""

    def __init__(
        self, site: str, drivers: Sequence[Driver], on_event: Callable[[str, str, str], None]
    ) -> None:
        self._open = site, drivers, on_event
        self._desk: Door | None = None

    def accept(self, message: dict[str, Any], now_ns: int, utc_ms: int) -> dict[str, Any]:
        """Answer one message; used by one thread."""
        if self._desk is None:
            from edge.controller.field import FieldDesk

            self._desk = FieldDesk(*self._open)
        return self._desk.accept(message, now_ns, utc_ms)
