"""What a cycle is given besides the image and the state: the time, and what others ask for."""

import math
from dataclasses import dataclass

from models.proposal import Request, Source


@dataclass(frozen=True, slots=True)
class Now:
    """The time of one cycle; the cycle knows no other clock."""

    mono_ns: int
    """CLOCK_MONOTONIC."""
    utc_ms: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """Requests that were accepted at the door; at most one for each source, further ones do not count."""

    requests: tuple[Request, ...] = ()

    def of(self, source: Source) -> Request | None:
        """Return the request of ``source``, in force or not."""
        for request in self.requests:
            if request.source == source:
                return request
        return None

    def in_force(self, source: Source, now: Now) -> Request | None:
        """Return the request of ``source`` unless it is absent, has expired or asks for no finite power."""
        request = self.of(source)
        if request is None or request.expires_ns <= now.mono_ns or not math.isfinite(request.p_kw):
            return None
        return request
