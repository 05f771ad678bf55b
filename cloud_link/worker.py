"""A thread with a queue: everything that one half of the link does happens in one place, in order."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, Full, Queue
from typing import Any

from models.errors import LinkError, StoreError

QUEUE_MAX = 10_000
JOIN_S = 10.0

log = logging.getLogger(__name__)


class Worker:
    """Handles what is put in, by its kind, and takes a turn after each and at least every ``turn_s``.

    Args:
        name: of the thread.
        turn_s: longest time between two turns.
        handlers: what to do with each kind.
        turn: regular work; it gets the monotonic time in seconds.
        on_problem: told in words what went wrong; the thread goes on.
    """

    def __init__(
        self,
        name: str,
        turn_s: float,
        handlers: Mapping[str, Callable[[Any], None]],
        turn: Callable[[float], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self._turn_s, self._handlers, self._turn, self._on_problem = turn_s, handlers, turn, on_problem
        self._queue: Queue[tuple[str, Any]] = Queue(maxsize=QUEUE_MAX)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being done and end; what is still in the queue is not handled."""
        self._stop.set()
        self._thread.join(JOIN_S)

    def put(self, kind: str, content: Any) -> bool:
        """Hand something over from any thread; False when the queue is full and it is dropped."""
        try:
            self._queue.put_nowait((kind, content))
        except Full:
            log.error("the queue of %s is full: %s dropped", self._thread.name, kind)
            return False
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                kind, content = self._queue.get(timeout=self._turn_s)
            except Empty:
                kind, content = "", None
            try:
                if kind:
                    self._handlers[kind](content)
                self._turn(time.monotonic())
            except (LinkError, StoreError) as error:
                self._on_problem(str(error))
                log.warning("%s", error)
            except Exception as error:  # top of the link thread: it must go on whatever a message held
                self._on_problem(repr(error))
                log.exception("%s", self._thread.name)
