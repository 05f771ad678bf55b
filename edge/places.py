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
            each.mkdir(0o700, exist_ok=True)
        for each in (folder.resolve(), folder, *folder.parents):
            inside = each in (folder.resolve(), folder)
            if inside or each.parent.stat().st_mode & stat.S_IWOTH:
                _refuse_foreign(each, {os.getuid()} if inside else {os.getuid(), 0})
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~0o022)  # nobody but us may put files there
    except OSError as error:
        raise StoreError(
            f"cannot make the run folder {folder} ({error}); choose another: --run-dir"
        ) from error


def _refuse_foreign(path: Path, trusted: set[int]) -> None:
    if (owner := path.lstat().st_uid) not in trusted:
        raise StoreError(f"{path} belongs to user {owner}, not {os.getuid()}; remove it or choose: --run-dir")
