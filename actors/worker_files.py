"""The files that a queue's workers share with its owner: tokens, journal, the trace of a crash and what was logged."""

import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from callboard.actors.attempt_logs import read_lines
from callboard.actors.hand_out import JournalReader, Record, Tokens, read_left_behind
from callboard.actors.shared_tokens import SharedTokens

MAX_TRACE_CHARACTERS = 8_000


@dataclass(frozen=True)
class WorkerFiles:
    """Where one worker's files are."""

    tokens: Path
    journal: Path
    trace: Path
    logs: Path

    @classmethod
    def of(cls, folder: Path, worker: str) -> "WorkerFiles":
        """Name the files of this worker."""
        return cls(*(folder / f"{worker}.{name}" for name in ("tokens", "journal", "trace", "logs")))

    def read_trace(self) -> str | None:
        """Return what faulthandler wrote when the worker crashed, None if nothing, or if it can't be read."""
        try:
            return self.trace.read_text(errors="replace")[:MAX_TRACE_CHARACTERS] or None
        except OSError:  # also of too many open files: a death is told once, and counts for more than its trace
            return None

    def remove(self) -> None:
        """Delete the files of a worker that is gone."""
        for path in (self.tokens, self.journal, self.trace, self.logs):
            path.unlink(missing_ok=True)


class OwnersEnds(NamedTuple):
    """What a queue's owner has open of one worker's files."""

    tokens: Tokens | SharedTokens
    journal: JournalReader

    def close(self) -> None:
        """Let go of both."""
        self.tokens.close()
        self.journal.close()


@dataclass(frozen=True)
class LeftBehind:
    """What was found in the journals of workers that are gone.

    workers: those whose journal can be believed. records: by batch number and index, in the order they were written.
    """

    workers: set[str] = field(default_factory=set)
    records: dict[tuple[int, int], list[Record]] = field(default_factory=dict)
    folder: Path | None = None

    def logs_of(self, worker: str, number: int) -> dict[int, list[str]]:
        """Return what the tasks of a batch had logged that had not ended, by index."""
        return {} if self.folder is None else read_lines(WorkerFiles.of(self.folder, worker).logs, number)


class QueueFolder:
    """The folder of one queue's workers, below the data directory's runtime folder."""

    def __init__(self, folder: Path, boot_id: str, incarnation: int) -> None:
        self._folder = folder
        self._boot_id = boot_id
        self._incarnation = incarnation

    def left_behind(self) -> "LeftBehind":
        """Return what earlier owners' workers wrote; all of them must be gone."""
        found = LeftBehind(folder=self._folder)
        for path in sorted(self._folder.glob("*.journal")):
            records = read_left_behind(path, self._boot_id)
            if records is None:
                continue
            found.workers.add(path.stem)
            for record in records:
                found.records.setdefault((record.number, record.token), []).append(record)
        return found

    def clear(self) -> None:
        """Begin with an empty folder: what was left behind has been stored."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)

    def files(self, worker: str) -> WorkerFiles:
        """Name the files of a worker."""
        return WorkerFiles.of(self._folder, worker)

    def create(self, worker: str, *, shared: bool = False) -> OwnersEnds:
        """Make a new worker's files and open the owner's ends; `shared`: it runs many tasks at once.

        Where that fails (the disk is full, too many files are open) nothing is left of it.
        """
        files = self.files(worker)
        with contextlib.ExitStack() as undo:
            undo.callback(files.remove)
            tokens = SharedTokens.create(files.tokens) if shared else Tokens.create(files.tokens)
            undo.callback(tokens.close)
            ends = OwnersEnds(tokens, JournalReader(files.journal, self._boot_id, self._incarnation))
            undo.pop_all()
        return ends
