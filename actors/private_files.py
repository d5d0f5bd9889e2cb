"""Write files that only the server's own user may read, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callboard.actors.runtime import make_private_folder


@contextmanager
def private_file(path: Path) -> Iterator[Path]:
    """Yield an empty file (mode 0600, its folder 0700) to write to, which takes this name at the end of the block.

    After an error there is none. What a writer that was killed has left, and its result, are replaced by the next one's.
    """
    make_private_folder(path.parent)
    unfinished = path.with_name(f".{path.name}.part")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
