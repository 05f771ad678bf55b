"""What a link asks: one request and the proof of its reply, whatever the protocol on the serial line is.

:class:`drivers.modbus.frames.Request` is one; DL/T 645 has its own. So devices of both share one line.
"""

from collections.abc import Hashable
from typing import Protocol


class Exchange(Protocol):
    """One request and what its reply must look like; immutable."""

    @property
    def unit(self) -> int | str:
        """Key of the station on the line: a Modbus unit number or a DL/T 645 address."""

    @property
    def shape(self) -> Hashable:
        """What tells replies apart on a serial line: two replies of one shape could be mistaken."""

    @property
    def largest(self) -> int:
        """Most bytes that a reply on the serial line can have; sets the time that it may take."""

    def serial_frame(self) -> bytes:
        """Return the request as it goes on the serial line."""

    def missing(self, frame: bytes) -> int:
        """Return how many bytes the reply still lacks, as far as its beginning ``frame`` shows.

        At least 1 while that is unknown, and never more than will come; 0 when the frame is complete;
        negative when it has too many bytes or cannot be a reply.
        """

    def serial_payload(self, frame: bytes) -> bytes:
        """Return the data of a complete reply, or raise because it does not answer.

        Raises:
            Refused, NoReply, BadReply: see :mod:`models.errors`.
        """
