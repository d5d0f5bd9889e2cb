"""Say on standard error what is being measured: a bar on a terminal, a line a step elsewhere."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Teller:
    """Tells which step is under way; with a total, how far it is."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._step: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, text: str, total: int | None = None) -> None:
        """Begin a step; without a total it only shows that it goes on."""
        if self._bar is None:
            print(f"{text} ...", file=sys.stderr, flush=True)  # noqa: T201 - what a log of the run shows
            return
        if self._step is not None:
            self._bar.remove_task(self._step)
        self._step = self._bar.add_task(text, total=total)

    def advance(self, count: int) -> None:
        """Move on by so much of the total."""
        if self._bar is not None and self._step is not None:
            self._bar.advance(self._step, count)
