"""One controller per site: a lock that the kernel drops when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from models.errors import BusyError


class SiteLock:
    """Holds ``<folder>/controller.lock`` for as long as the process lives."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            BusyError: another controller holds it.
        """
        path = folder / "controller.lock"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._fd, 32).decode(errors="replace").strip()
            os.close(self._fd)
            raise BusyError(f"controller {holder or '?'} already runs this site ({path})") from error
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give it back."""
        os.close(self._fd)
