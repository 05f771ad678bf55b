"""Memory-mapped files that say what they hold: a magic, a JSON description, then what processes share."""

import json
import mmap
import os
from pathlib import Path
from typing import Any

from models.errors import StoreError

ALIGN = 64
HEAD = ALIGN
"""Magic and the length of the description; what else stands in it belongs to the kind of file."""
IMAGE = b"YUNCHU-IMAGE-1\n\0"
RING = b"YUNCHU-RING-1\n\0\0"
"""Magics, of MAGIC_SIZE bytes."""
MAGIC_SIZE = 16
COUNT_AT = 32
"""Where in the head of a ring the seqlock block with the number of records ever written stands."""


def aligned(size: int) -> int:
    """Return ``size`` rounded up to where a block may begin."""
    return -(-size // ALIGN) * ALIGN


def create(path: Path, magic: bytes, description: dict[str, Any], size: int) -> None:
    """Write a new file with ``size`` zero bytes behind its description.

    All its blocks are reserved: a hole in it would end the process when the disk is full.

    Raises:
        StoreError: there is no room for it.
    """
    text = json.dumps(description).encode()
    whole = aligned(HEAD + len(text)) + size
    try:
        with path.open("wb") as file:
            file.write(magic + len(text).to_bytes(8, "little"))
            file.seek(HEAD)
            file.write(text)
            file.flush()
            os.posix_fallocate(file.fileno(), 0, whole)
    except OSError as error:
        raise StoreError(f"no room for the {whole} bytes of {path} ({error}); free some space") from error


def attach(path: Path, magic: bytes, writable: bool) -> tuple[mmap.mmap, dict[str, Any], int]:
    """Map a file; return it, its description, and where the bytes behind that begin.

    Raises:
        StoreError: there is none, or it is not one of this kind.
    """
    try:
        with path.open("r+b" if writable else "rb") as file:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            memory = mmap.mmap(file.fileno(), 0, access=access)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot open {path} ({error}); does the controller run?") from error
    if memory[:MAGIC_SIZE] != magic:
        raise StoreError(f"{path} is not a file of this version; restart the controller")
    size = int.from_bytes(memory[MAGIC_SIZE : MAGIC_SIZE + 8], "little")
    try:
        description = json.loads(memory[HEAD : HEAD + size])
    except ValueError as error:
        raise damaged(path, error) from error
    return memory, description, aligned(HEAD + size)


def damaged(path: Path, error: Exception) -> StoreError:
    """Return what to raise for a file whose bytes do not fit its description."""
    return StoreError(f"{path} is damaged ({error}); remove it and restart the controller")
