"""Tell others about the running server: the runtime file in the data directory.

It is written by the server at every start, and read by whoever attaches (the CLI, LocalClient), by the supervisor, and by
the next server, which ends what a dead one has left. It may be stale: each process is named by its start time too.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil

from callboard.actors.processes import Ident

RUN_FOLDER: Final = "run"
RUNTIME_FILE: Final = "runtime.json"
KEY_FILE: Final = "key"
LOCK_FILE: Final = "lock"
RUNTIME_VERSION: Final = 1
PRIVATE_FOLDER: Final = 0o700


def run_folder(data_dir: Path) -> Path:
    """Return the folder for what lives no longer than the server: runtime file, key, tokens, journals."""
    return data_dir / RUN_FOLDER


def queue_folder(data_dir: Path, queue: str) -> Path:
    """Return the folder of the files that a queue's owner shares with its workers."""
    return run_folder(data_dir) / "queues" / queue


def make_private_folder(path: Path) -> None:
    """Make a folder (and its parents) that only its owner can enter; an existing one loses what others may do in it."""
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    # mkdir's mode is subject to the umask and says nothing about a folder that was there.
    if path.stat().st_mode & 0o077:
        path.chmod(PRIVATE_FOLDER)


def machine_boot_id() -> str:
    """Return a name for the time since this machine was started: what was written before a power cut bears another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        # Rounded, because the boot time is computed from the clock and moves with its corrections.
        return f"{sys.platform}-{round(psutil.boot_time() / 60)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Where the running server is, and which processes it consists of."""

    http: str  # the address for people and clients: http://127.0.0.1:4000
    admin_port: int  # the actor system's, on loopback
    key_path: str  # the file with the key that seals the actors' frames
    registry: str  # the Registry's address, "127.0.0.1:port"
    store_url: str = field(repr=False)  # it may hold a password
    data_dir: str
    pids: dict[str, Ident] = field(default_factory=dict)  # supervisor, undertaker, server, admin, registry, first logger
    boot_id: str = field(default_factory=machine_boot_id)
    version: int = RUNTIME_VERSION

    def write(self, path: Path | None = None) -> None:
        """Put this into the runtime file (or `path`) in one step, so that a reader sees the old one or this one, whole."""
        path = path or runtime_path(Path(self.data_dir))
        descriptor, name = tempfile.mkstemp(prefix=".runtime-", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=1)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, data_dir: Path) -> Self | None:
        """Return what the data directory's runtime file says, or None if there is none that this version can read."""
        try:
            raw: dict[str, Any] = json.loads(runtime_path(data_dir).read_text(encoding="utf-8"))
            if raw.pop("version") != RUNTIME_VERSION:
                return None
            pids = {name: Ident(int(pid), float(started)) for name, (pid, started) in raw.pop("pids").items()}
            return cls(pids=pids, **raw)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def runtime_path(data_dir: Path) -> Path:
    """Return where the runtime file of a data directory is."""
    return run_folder(data_dir) / RUNTIME_FILE
