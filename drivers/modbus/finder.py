"""Looking for what a device that describes itself has, question by question.

It is looked for when the device is new and when it was away: then nothing is polled before that is known.
Units behind it that were silent then are looked for again beside the polling.
"""

from collections.abc import Callable, Generator
from typing import Protocol

from drivers.catalog.product import PointSpec, Product
from drivers.modbus.frames import Request
from drivers.modbus.job import NEVER_NS
from drivers.modbus.line import LineLost
from models.errors import DriverError

AGAIN_NS = 60_000_000_000
"""Parts of a device that did not answer are looked for again after this."""
SPACE_NS = 5_000_000_000
"""Beside the polling the next question waits so long after one that nobody answered, which has cost time."""


class Found(Protocol):
    """What a device that describes itself has."""

    @property
    def product(self) -> Product:
        """With the registers of this device; its points in the same order."""

    @property
    def hidden(self) -> tuple[PointSpec, ...]:
        """Further points that are needed to understand them."""

    @property
    def lost(self) -> tuple[int, ...]:
        """Units that did not answer; their points may be there later."""

    @property
    def trouble(self) -> tuple[str, ...]:
        """What the device does not have, for people."""


Going = Generator[Request, bytes | DriverError, Found]
Search = Callable[[], Going]
"""Begins to look for what a device has."""


class Finder:
    """Asks the questions of a search; used by the link thread alone."""

    def __init__(self, search: Search | None) -> None:
        """Args: the search, None for a device that is as the catalog says."""
        self._search = search
        self._going: Going | None = None
        self.asked: Request | None = None
        """The next question; None while nothing is looked for."""
        self.aside = False
        """Whether it is asked beside the polling, so that it must do no harm."""
        self.ask_ns = 0
        """The question is not asked before this."""
        self.again_ns = NEVER_NS
        """When to look again for parts that were silent."""
        self._lost: frozenset[int] = frozenset()

    def begin(self, aside: bool = False) -> None:
        """Look from the first question on."""
        if self._search is not None:
            self.aside, self.again_ns, self.ask_ns = aside, NEVER_NS, 0
            self._going = self._search()
            self.asked = next(self._going)

    def ready(self, now_ns: int) -> Request | None:
        """Return the question that may be asked now, if any."""
        return self.asked if now_ns >= self.ask_ns else None

    def answer(self, answer: bytes | DriverError, now_ns: int) -> Found | None:
        """Go on with what became of the question; return what was found when that was the last one.

        Beside the polling a search that fails or finds less than before is forgotten: None.

        Raises:
            DriverError: the device has nothing, or nobody is there.
        """
        assert self._going is not None
        self.asked, self.again_ns = None, now_ns + AGAIN_NS
        try:
            if isinstance(answer, LineLost):
                raise answer
            self.asked, self.again_ns = self._going.send(answer), NEVER_NS
            self.ask_ns = now_ns + SPACE_NS * isinstance(answer, DriverError)
        except StopIteration as done:
            found: Found = done.value
            return found if not self.aside or self._lost.issuperset(found.lost) else None
        except DriverError:
            if not self.aside:
                raise
        return None

    def keep(self, found: Found, now_ns: int) -> None:
        """Note what is missing of what was found, to look for it again."""
        self._lost = frozenset(found.lost)
        self.again_ns = now_ns + AGAIN_NS if found.lost else NEVER_NS
