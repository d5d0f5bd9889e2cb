"""The server that is measured: a real `callboard serve` in a folder of its own, with all its defaults.

Run as a program, this is that server, but for one thing: it ends with whoever measures.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

import httpx2

from callboard.actors import processes
from callboard.actors.bench.load import BenchFailed
from callboard.actors.processes import Ident
from callboard.actors.runtime import Runtime
from callboard.actors.store import Store
from callboard.actors.store.opening import open_store

HOST: Final = "127.0.0.1"
PORTS: Final = range(30_000, 32_768)
"""None of those that the system gives away by itself: one stays free while its server is down."""
STOP_SECONDS: Final = 60.0
FALL_SECONDS: Final = 5.0
ASK_SECONDS: Final = 10.0
WORKERS: Final = 2


class Served(NamedTuple):
    """A queue of the server: its name, and what runs its tasks (an attribute of `callboard.actors.bench.tasks`).

    Without a handler it is only pulled from.
    """

    queue: str
    handler: str = ""


def _free_port() -> int:
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):  # taken: try another
            return port


class ServerUnderTest:
    """A server that can be started, killed and started again on the same data; leaving the block ends all of it.

    database: a PostgreSQL database, in which it gets a schema of its own; "": SQLite, in the folder.
    """

    def __init__(self, folder: Path, served: Iterable[Served], database: str = "") -> None:
        self.data_dir = folder / "data"
        self._database = database
        self._store_url = ""
        self._schema = ExitStack()
        self._log_path = folder / "server.log"
        self._config = folder / "callboard.toml"
        self._config.write_text(_config_text(served), encoding="utf-8")
        # One port for all starts: clients are to find the successor where the dead one was.
        self.port = _free_port()
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self._seen: set[Ident] = set()
        self._store: Store | None = None
        self._http = httpx2.Client(base_url=self.url, timeout=ASK_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        if self._database:
            from callboard.actors.store.postgres_schema import new_schema  # noqa: PLC0415 - its driver is an extra

            self._store_url = self._schema.enter_context(new_schema(self._database, "callboard_bench"))
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()
        if self._store is not None:
            self._store.close()
        if self._process is not None:
            self.members()
            self._process.kill()
            self._process.wait()
            processes.end_tree(self._seen)
        self._forget_process()
        self._schema.close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def store(self) -> Store:
        """Its store, for looking at it past the actors; there from the first start on."""
        assert self._store is not None
        return self._store

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        command = [sys.executable, "-m", __name__, "serve", "--config", str(self._config)]
        command += ["--data-dir", str(self.data_dir), "--port", str(self.port)]
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
        if self._store_url:
            surroundings["CALLBOARD_STORE__URL"] = self._store_url  # the command line can be read by everybody
        self._log = self._log_path.open("a", encoding="utf-8")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True, env=surroundings)
        assert self._process.stdout is not None
        if "ready" not in self._process.stdout.readline():
            raise BenchFailed(f"the server does not start: {self._last_words()}")
        if self._store is None:
            self._store = open_store(self.runtime().store_url)

    def stop(self) -> None:
        """End it as an operator would."""
        assert self._process is not None
        self.members()
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchFailed("the server does not stop") from None
        if code:
            raise BenchFailed(f"the server stopped with exit code {code}: {self._last_words()}")
        self._forget_process()

    def kill(self) -> float:
        """SIGKILL the supervisor, wait until nothing of its tree is left, and return when it was (`time.monotonic`)."""
        assert self._process is not None
        self.members()
        at = time.monotonic()
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + FALL_SECONDS
        while survivors := [ident for ident in self._seen if processes.is_alive(ident)]:
            if time.monotonic() > deadline:
                raise BenchFailed(f"these processes outlived their supervisor: {[ident.pid for ident in survivors]}")
            time.sleep(0.001)
        self._forget_process()
        return at

    def runtime(self) -> Runtime:
        """Return what the runtime file says. Raises `BenchFailed` while there is none."""
        runtime = Runtime.read(self.data_dir)
        if runtime is None:
            raise BenchFailed(f"the server is gone: {self._last_words()}")
        return runtime

    def members(self) -> set[Ident]:
        """Return all its processes; they are remembered, so that none is left in the end."""
        assert self._process is not None
        me = processes.identify(self._process.pid)
        found = set() if me is None else {me, *processes.descendants(me)}
        self._seen |= found
        return found

    def queue(self, name: str) -> dict[str, Any]:
        """Return a queue as the server shows it."""
        shown: dict[str, Any] = self.ask("GET", f"/api/queues/{name}")
        return shown

    def command(self, queue: str, verb: str) -> None:
        """Have a queue paused or resumed."""
        self.ask("POST", f"/api/queues/{queue}/{verb}")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the `data` of an answer. Raises `BenchFailed` when it is an error."""
        content = None if body is None else json.dumps(body)
        try:
            answer = self._http.request(method, path, content=content, headers={"Content-Type": "application/json"})
        except httpx2.HTTPError as error:
            raise BenchFailed(f"{method} {path} was not answered: {error}") from error
        if not answer.is_success:
            raise BenchFailed(f"{method} {path} was answered by {answer.status_code}: {answer.text[:500]}")
        return answer.json()["data"]

    def _forget_process(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        if self._log is not None:
            self._log.close()
        self._process = self._log = None

    def _last_words(self) -> str:
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it has not said why"


def _config_text(served: Iterable[Served]) -> str:
    lines: list[str] = []
    for queue, handler in served:
        lines += [f"[queues.{queue}]", f"concurrency = {WORKERS}"]
        lines += [f'worker = "callboard.actors.bench.tasks:{handler}"'] if handler else []
    return "\n".join(lines) + "\n"


def main() -> None:
    """Be the server."""
    if sys.platform == "linux":  # elsewhere this takes a thread, which the supervisor must not have
        processes.die_with_parent()
    from callboard.actors.cli import main as command_line  # noqa: PLC0415 - only the server itself needs it

    command_line()


if __name__ == "__main__":
    main()
