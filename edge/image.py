"""The process image in shared memory: one file, one slice and one writer per device, any number of readers.

The controller creates it; drivers write their own slice; services and the CLI only look. A reader never
makes a writer wait. The file starts with its own description, so that a reader needs no configuration.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cython_ext import seqlock
from drivers.driver import Counters
from edge import mapped
from edge.mapped import aligned
from models.point import Image, Point, Role

COUNTER_NAMES = tuple(field.name for field in fields(Counters))
COUNTERS = len(COUNTER_NAMES)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device and where its points stand in the image."""

    name: str
    protocol: str
    first: int
    count: int
    kind: str = ""
    """Kind of the unit that it serves: battery, meter or pv."""


def _payload_dtype(count: int) -> np.dtype[np.void]:
    """Return the layout of one slice of ``count`` points."""
    return np.dtype(
        [
            ("value", "<f8", (count,)),
            ("t_ns", "<i8", (count,)),
            ("counters", "<f8", (COUNTERS,)),
            ("quality", "u1", (count,)),
        ]
    )


class ImageSlice:
    """The part of the image that one device writes; implements ``drivers.driver.Sink``."""

    def __init__(self, block: NDArray[np.uint8], count: int) -> None:
        """Start from what stands in the block, so that a restarted writer does not blank its readings."""
        self._block = block
        self._bytes = np.zeros(len(block) - 8, np.uint8)
        seqlock.read(block, self._bytes)
        row = self._bytes.view(_payload_dtype(count))[0]
        self._value, self._quality, self._t_ns = row["value"], row["quality"], row["t_ns"]
        self._counters = row["counters"]

    def put(
        self, index: NDArray[np.intp], value: NDArray[np.float64], quality: NDArray[np.uint8], t_ns: int
    ) -> None:
        """Store readings at ``index`` (within the device) and publish the slice."""
        self._value[index] = value
        self._quality[index] = quality
        self._t_ns[index] = t_ns
        seqlock.write(self._block, self._bytes)

    def count(self, counters: Counters) -> None:
        """Publish the counters."""
        self._counters[:] = astuple(counters)
        seqlock.write(self._block, self._bytes)


class SharedImage:
    """The whole image; ``create`` it once, ``open`` it anywhere."""

    def __init__(self, memory: mmap.mmap, meta: dict[str, Any], body: int) -> None:
        """Use ``create`` or ``open``."""
        self._memory = memory
        self.site: str = meta["site"]
        self.epoch_ms: int = meta["epoch_ms"]
        """UTC at which the controller that made this image started."""
        self.pid: int = meta["pid"]
        self.points = tuple(Point(**{**p, "role": Role(p["role"])}) for p in meta["points"])
        self.devices = tuple(DeviceInfo(**device) for device in meta["devices"])
        self._last: dict[str, np.void] = {}
        whole = np.frombuffer(memory, np.uint8)
        self._blocks: dict[str, NDArray[np.uint8]] = {}
        for device in self.devices:
            size = 8 + _payload_dtype(device.count).itemsize
            self._blocks[device.name] = whole[body : body + size]
            body += aligned(size)

    @classmethod
    def create(
        cls,
        path: Path,
        site: str,
        points: Sequence[Point],
        devices: Sequence[DeviceInfo],
        epoch_ms: int,
        state_dir: Path = Path(),
    ) -> "SharedImage":
        """Write a new image beside ``path`` and move it there, so that no reader sees half of it.

        Args:
            path: of the file.
            site: name of the site.
            points: of all devices, each device's together, in the order of ``devices``.
            devices: what has a slice.
            epoch_ms: UTC of the start.
            state_dir: where the site's services keep their files, for readers without a configuration.

        Raises:
            StoreError: there is no room for it.
        """
        meta = {
            "site": site,
            "epoch_ms": epoch_ms,
            "state_dir": str(state_dir),
            "pid": os.getpid(),
            "points": [asdict(point) for point in points],
            "devices": [asdict(device) for device in devices],
        }
        fresh = path.with_suffix(".new")
        size = sum(aligned(8 + _payload_dtype(d.count).itemsize) for d in devices)
        mapped.create(fresh, mapped.IMAGE, meta, size)
        image = cls.open(fresh, writable=True)
        for device in devices:
            empty = Image.empty(device.count)
            image.slice(device.name).put(
                np.arange(device.count, dtype=np.intp), empty.value, empty.quality, 0
            )
        fresh.replace(path)
        return image

    @classmethod
    def open(cls, path: Path, writable: bool = False) -> "SharedImage":
        """Map an existing image.

        Raises:
            StoreError: there is none, or it is not one of ours.
        """
        memory, meta, body = mapped.attach(path, mapped.IMAGE, writable)
        try:
            return cls(memory, meta, body)
        except (ValueError, KeyError, TypeError) as error:
            raise mapped.damaged(path, error) from error

    def slice(self, device: str) -> ImageSlice:
        """Return the writer of one device's slice."""
        count = next(d.count for d in self.devices if d.name == device)
        return ImageSlice(self._blocks[device], count)

    def snapshot(self) -> Image:
        """Return a copy of all readings.

        A slice whose writer is interrupted in the middle of a write (or died there) reads as it was before,
        with the times of then, so that it ages; BAD when this reader has never seen it whole.
        """
        image = Image.empty(len(self.points))
        for device in self.devices:
            row = self._row(device)
            if row is None:
                continue
            part = slice(device.first, device.first + device.count)
            image.value[part] = row["value"]
            image.quality[part] = row["quality"]
            image.t_ns[part] = row["t_ns"]
        return image

    def counters(self, device: str) -> Counters:
        """Return what the device's driver has counted."""
        row = self._row(next(d for d in self.devices if d.name == device))
        if row is None:
            return Counters()
        numbers = dict(zip(COUNTER_NAMES, map(int, row["counters"].tolist()), strict=True))
        online = bool(numbers.pop("online"))
        return Counters(**numbers, online=online)

    def _row(self, device: DeviceInfo) -> np.void | None:
        dtype = _payload_dtype(device.count)
        out = np.empty(dtype.itemsize, np.uint8)
        if not seqlock.read(self._blocks[device.name], out):
            return self._last.get(device.name)
        row: np.void = out.view(dtype)[0]
        self._last[device.name] = row
        return row
