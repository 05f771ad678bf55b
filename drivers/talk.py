"""Conversations with a device: generators that yield requests and get the data of each reply, or the error.

The same conversation runs in the thread of a link (``drivers.guest``), on a line that is opened for it alone
(``talk``), through a socket, or in a test without any line.
"""

from collections.abc import Callable, Generator
from typing import TypeVar

from drivers.modbus.frames import Request
from drivers.modbus.line import LineLost
from drivers.modbus.link import Link, Station
from models.errors import DriverError, NoReply

T = TypeVar("T")
Talk = Generator[Request, bytes | DriverError, T]
Ask = Callable[[Request], bytes]
"""Asks once and returns the data of the reply, or raises DriverError."""


def hold(work: Talk[T], ask: Ask) -> T:
    """Hold a conversation through ``ask``; what the conversation itself raises is raised.

    Raises:
        LineLost: the line is gone; the conversation ends there.
    """
    try:
        request = next(work)
        while True:
            try:
                answer: bytes | DriverError = ask(request)
            except LineLost:
                work.close()
                raise
            except DriverError as error:
                answer = error
            request = work.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


class Direct:
    """Asks on a line that was opened for this alone; opens it again when the device closes it."""

    def __init__(self, link: Link, timeout_min_s: float = 0.1, timeout_max_s: float = 0.5) -> None:
        self.link = link
        self._bounds = timeout_min_s, timeout_max_s

    def __call__(self, request: Request) -> bytes:
        """See Ask; LineLost when it cannot be opened."""
        self.link.stations.setdefault(request.unit, Station(*self._bounds))
        if not self.link.line.is_open:
            self.link.open()
        try:
            return self.link.ask(request)
        except LineLost as error:
            self.link.close()  # many devices hang up on what they do not know
            self.link.open()
            raise NoReply(str(error)) from error
