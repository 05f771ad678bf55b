"""Which numbers of a site's outbox are here. Pure.

A report stands for a range of numbers (``first`` to ``number``): a site that was alone for very long merges
old reports, and skips numbers after a power cut. Ranges that touch are kept as one, so a site costs a few
integers, however many reports it sent.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

NUMBER_MAX = 2**53


@dataclass(slots=True)
class Numbers:
    """The numbers of one site."""

    epoch: int = 0
    """Which outbox they belong to; 0 = the site has named none."""
    contiguous: int = 0
    """Every number up to this one is here."""
    above: list[tuple[int, int]] = field(default_factory=list)
    """Ranges (first, last) beyond a hole, in order, never touching each other."""
    received: int = 0
    """Distinct reports, over all epochs."""
    duplicates: int = 0

    @property
    def missing(self) -> int:
        """How many numbers below the highest one are still to come."""
        covered = sum(last - first + 1 for first, last in self.above)
        return self.above[-1][1] - self.contiguous - covered if self.above else 0

    def has(self, number: int) -> bool:
        """Whether a number is here."""
        at = bisect_left(self.above, (number + 1, 0)) - 1
        return number <= self.contiguous or (at >= 0 and number <= self.above[at][1])

    def add(self, first: int, number: int) -> bool:
        """Note a report that stands for ``first`` to ``number``; return whether it fills anything new."""
        known, before = self.has(number), (self.contiguous, list(self.above))
        self._cover(max(1, first), number)
        if known:
            self.duplicates += 1
            return before != (self.contiguous, self.above)
        self.received += 1
        return True

    def begin(self, epoch: int, confirmed: int) -> None:
        """A birth names the outbox, and the number up to which it keeps nothing any more."""
        if epoch != self.epoch:
            self.epoch, self.contiguous = epoch, 0
            self.above.clear()
        if confirmed > self.contiguous:
            self._cover(1, confirmed)

    def restore(self, ranges: list[tuple[int, int]]) -> None:
        """Cover ranges again that were stored before a restart."""
        for first, number in ranges:
            self._cover(first, number)

    def _cover(self, first: int, last: int) -> None:
        apart = [one for one in self.above if one[1] + 1 < first or one[0] - 1 > last]
        touching = [one for one in self.above if not (one[1] + 1 < first or one[0] - 1 > last)]
        first = min([first, *(one[0] for one in touching)])
        last = max([last, *(one[1] for one in touching)])
        if first <= self.contiguous + 1:
            self.contiguous = max(self.contiguous, last)
            self.above = [one for one in apart if one[1] > self.contiguous]
        else:
            self.above = sorted([*apart, (first, last)])
