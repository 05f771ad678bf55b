"""Which numbers of a site's outbox are here. Pure.

A report stands for a range of numbers, see :mod:`cloud_link.protocol.report`. Ranges that touch are kept as
one, so a site costs a few integers, however many reports it sent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloud_link.protocol.report import add_range, contiguous

NUMBER_MAX = 2**53


@dataclass(slots=True)
class Numbers:
    """The numbers of one site."""

    epoch: int = 0
    """Which outbox they belong to; 0 = the site has named none."""
    known: list[tuple[int, int]] = field(default_factory=list)
    """Ranges (first, last) that are here, in order, never touching each other."""
    received: int = 0
    """Distinct reports, over all epochs."""
    duplicates: int = 0

    @property
    def contiguous(self) -> int:
        """Every number up to this one is here."""
        return contiguous(self.known)

    @property
    def missing(self) -> int:
        """How many numbers below the highest one are still to come."""
        return self.known[-1][1] - sum(last - first + 1 for first, last in self.known) if self.known else 0

    def add(self, first: int, number: int) -> bool:
        """Note a report that stands for ``first`` to ``number``; return whether it fills anything new."""
        again = any(low <= number <= high for low, high in self.known)
        before = self.known
        self.known = add_range(before, max(1, first), number)
        self.received += not again
        self.duplicates += again
        return self.known != before

    def begin(self, epoch: int, first: int) -> None:
        """A birth names the outbox, and the number below which nothing will ever come (again)."""
        if epoch != self.epoch:
            self.epoch, self.known = epoch, []
        if first > 1:
            self.known = add_range(self.known, 1, first - 1)

    def restore(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Know again what was stored before a restart."""
        for first, last in ranges:
            if last > 0:
                self.known = add_range(self.known, first, last)
