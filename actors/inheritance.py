"""What a forked actor must not keep of its parent's open files."""

import os
from pathlib import Path


def close_inherited(data_dir: Path) -> None:
    """Close the descriptors of the data directory's files that the fork has copied, before any is opened here.

    The data directory's lock stays open on purpose: a second server can't start beside survivors. Without `/proc`
    nothing is closed; the copies are then merely useless.
    """
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return
    keep = os.path.realpath(data_dir / "lock")
    inside = os.path.realpath(data_dir) + os.sep
    for descriptor in list(folder.iterdir()):
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith(inside) and target != keep:
            os.close(int(descriptor.name))
