"""Where a site keeps what lives only while it runs."""

import os
import stat
from pathlib import Path

from models.errors import StoreError


def run_dir(site: str, configured: Path | str | None = None) -> Path:
    """Return the run folder of a site; it is not created.

    Order: $YUNCHU_RUN_DIR, ``configured`` (the site file), $XDG_RUNTIME_DIR/yunchu/<site>,
    /tmp/yunchu-<uid>/<site>.
    """
    if chosen := os.environ.get("YUNCHU_RUN_DIR") or configured:
        return Path(chosen)
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "yunchu" / site
    return Path(f"/tmp/yunchu-{os.getuid()}") / site


def make_run_dir(folder: Path) -> None:
    """Make a run folder for this user alone, with what is missing above it; keep one that is there and ours.

    Its name may be known to everybody (/tmp/yunchu-<uid>), and who owns the folder could give orders to the
    controller.

    Raises:
        StoreError: it cannot be made, or somebody else owns it or its place in a folder open to all.
    """
    folder = folder.absolute()
    try:
        for each in (*reversed(folder.parents), folder):
            if not each.is_dir():
                each.mkdir(0o700, exist_ok=True)
        for each in (folder, *folder.parents):
            _refuse_foreign(each, own=each == folder)
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o022:
            folder.chmod(mode & ~0o022)  # nobody but us may put files there
    except OSError as error:
        raise StoreError(
            f"cannot make the run folder {folder} ({error}); choose another: --run-dir"
        ) from error


def _refuse_foreign(path: Path, *, own: bool) -> None:
    """Raise when another user made it and it is the run folder, or lies where everybody may make one."""
    if not own and not path.parent.stat().st_mode & stat.S_IWOTH:
        return
    owners = {path.lstat().st_uid, path.stat().st_uid} if own else {path.lstat().st_uid}
    if foreign := owners - {os.getuid()} - (set() if own else {0}):
        what = f"{path} belongs to the user with number {min(foreign)}, not to {os.getuid()}"
        raise StoreError(f"{what}; remove it, run as its owner, or choose another folder: --run-dir")
