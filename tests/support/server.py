"""Run `callboard serve` as a user would, know every process of it, and see that nothing of it is left."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from callboard.actors import Client, processes
from callboard.actors.processes import Ident
from callboard.actors.runtime import Runtime
from tests.support import plain_http
from tests.support.killing import carrying
from tests.support.polling import eventually
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
CALLBOARD = Path(sysconfig.get_path("scripts")) / "callboard"
MARK = "TEST_SERVER_MARK"
"""An environment variable that every process of a server's tree has inherited: none can hide from `processes`."""
SHARED_MEMORY = Path("/dev/shm")


class Server:
    """One server on a free port, with everything it leaves below `folder`.

    config: the TOML text; its workers may be in `tests`. It may be started again, on the same data and the same port, after
    it was stopped or killed. When the `with` block ends without an error it is stopped, and nothing of it may be left:
    no process, no open port, no file in the temporary folders.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        data_dir: Path | None = None,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir or folder / "data"
        self.config = folder / "callboard.toml"
        self.config.write_text(config)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = arguments
        self._temporary = folder / "tmp"
        self._temporary.mkdir(exist_ok=True)
        self._output, self._errors = folder / "output", folder / "errors"
        self._mark = uuid.uuid4().hex
        self._shared_memory = _files_in(SHARED_MEMORY)
        self._environment = {
            **os.environ,
            **(environment or {}),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
            "TMPDIR": str(self._temporary),
            MARK: self._mark,
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None and self.runs():
                assert self.stop() == 0, self.log()
        finally:
            left = self.end()
            if error is not None:
                sys.stderr.write(self.log())
        if error is None:
            assert left == set(), self.log()
            assert not self.accepts()
            assert _files_in(self._temporary) == set()
            shared = _files_in(SHARED_MEMORY) - self._shared_memory  # what is made from now on is somebody else's
            eventually(lambda: not shared & _files_in(SHARED_MEMORY))

    # ------------------------------------------------------------ life

    def launch(self) -> None:
        """Run the command and do not wait for it."""
        assert not self.runs()
        self.port = self.port or free_port()
        options = ["--config", str(self.config), "--data-dir", str(self.data_dir), "--port", str(self.port)]
        # Files, because a pipe that nobody reads would stop the server when it is full.
        with self._output.open("wb") as output, self._errors.open("ab") as errors:
            command = [str(CALLBOARD), "serve", *options, *self._arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=output, stderr=errors)

    def start(self) -> None:
        """Run the command and wait for its ready line; fail with what it said if there is none."""
        self.launch()
        eventually(lambda: self.ready_line() or not self.runs(), within=30)
        assert self.ready_line(), self.log()

    def runs(self) -> bool:
        """Return whether the supervisor does."""
        return self.process is not None and self.process.poll() is None

    def stop(self, number: int = signal.SIGTERM, within: float = 40) -> int:
        """Send the supervisor a signal and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(within)

    def end(self) -> set[Ident]:
        """SIGKILL whatever is left of the tree; return what was left though its supervisor had ended."""
        left: set[Ident] = set()
        if self.runs():
            processes.end_tree(self.processes())
        else:
            with contextlib.suppress(AssertionError):  # who is left is looked for, and named, below
                eventually(lambda: not self.processes(), within=5)
            left = self.processes()
            processes.end_tree(left)
        if self.process is not None:
            self.process.wait(5)
        return left

    # ------------------------------------------------------------ what it says

    def ready_line(self) -> str:
        """Return the line that `serve` prints when it is ready, "" before."""
        text = self._output.read_text()
        return text if text.endswith("\n") else ""

    def log(self) -> str:
        """Return all that it has printed and logged."""
        return "".join(file.read_text(errors="replace") for file in (self._output, self._errors))  # tasks print anything

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def accepts(self) -> bool:
        """Return whether anybody listens on its port."""
        with socket.socket() as probe:
            return self.port != 0 and probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, timeout: float = 30) -> Client:
        """Return a client, to be used in a `with` block."""
        return Client(self.url, timeout=timeout)

    def get(self, path: str, **params: str | int) -> Any:
        """Return the answer's JSON; it may come from a server that has just been started anew."""

        def answer() -> httpx2.Response | None:
            try:
                response = plain_http.get(f"{self.url}{path}", params=params, timeout=30)
            except httpx2.TransportError:  # it died while it answered
                return None
            return None if response.status_code == 503 else response

        response = eventually(answer, within=30)
        assert response is not None
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any = None) -> Any:
        """Send a JSON body once and return the answer's."""
        response = plain_http.post(f"{self.url}{path}", json={} if body is None else body, timeout=30)
        assert response.status_code in {200, 201}, response.text
        return response.json()

    def queue(self, name: str) -> dict[str, Any]:
        """Return a queue as the server shows it."""
        shown: dict[str, Any] = self.get(f"/api/queues/{name}")["data"]
        return shown

    def tasks(self, queue: str) -> list[dict[str, Any]]:
        """Return all tasks of a queue, oldest first."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get("/api/tasks", queue=queue, limit=1000, **cursor)
            found += page["data"]
            if page["next_cursor"] is None:
                return found[::-1]
            cursor = {"cursor": page["next_cursor"]}

    def settle(self, queue: str) -> list[dict[str, Any]]:
        """Wait until all tasks of a queue are completed, and return them."""

        def settled() -> bool:
            counts: dict[str, int] = self.queue(queue)["counts"]
            return sum(counts.values()) == counts["completed"]

        eventually(settled, within=30)
        return self.tasks(queue)

    # ------------------------------------------------------------ its processes

    def processes(self) -> set[Ident]:
        """Return all processes of the tree that live, wherever they have been moved to."""
        return carrying(MARK, self._mark)

    def part(self, role: str) -> Ident:
        """Return the supervisor, server, admin, registry or logger of a server that is up, waiting for that."""

        def parts() -> dict[str, Ident]:
            runtime = Runtime.read(self.data_dir)
            if runtime is None or not all(processes.is_alive(i) for name, i in runtime.pids.items() if name != "logger"):
                return {}
            return runtime.pids

        return eventually(parts)[role]

    def owner(self, queue: str) -> Ident:
        """Return the process that owns a queue, waiting until there is one."""
        return _alive(lambda: [self.queue(queue)["pid"]], 1)[0]

    def workers(self, queue: str, count: int) -> list[Ident]:
        """Return a queue's workers, waiting until so many of them are ready."""

        def ready() -> list[int | None]:
            workers = self.get("/api/workers")["data"]
            return [w["pid"] for w in workers if w["queue"] == queue and w["state"] in {"idle", "busy"}]

        return _alive(ready, count)


def _alive(pids: Callable[[], list[int | None]], count: int) -> list[Ident]:
    def look() -> list[Ident]:
        found = [processes.identify(pid) for pid in pids() if pid is not None]
        alive = [ident for ident in found if ident is not None and processes.is_alive(ident)]
        return alive if len(alive) == count else []

    # Less than a worker's start_timeout: one whose death nobody has noticed must not be found by that alone.
    return eventually(look, within=20)


def _files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
