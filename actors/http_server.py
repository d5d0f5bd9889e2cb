"""Run the HTTP application in uvicorn, on the supervisor's listening socket, and show the supervisor that it turns."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from callboard.actors.server_reports import Reporter

DRAIN_SECONDS: Final = 3
TICK_SECONDS: Final = 1.0


class _QuietServer(uvicorn.Server):
    """Uvicorn without its own signal handling, which raises the signal again at the end and so ends the process."""

    def __init__(self, config: uvicorn.Config, reporter: Reporter) -> None:
        super().__init__(config)
        self._reporter = reporter
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()
        # Streams go on until somebody ends them.
        getattr(self.config.app, "stopping", lambda: None)()

    async def main_loop(self) -> None:
        """Renew the Date header each second until told to stop; uvicorn's own ten ticks a second are a fifth of idle CPU."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):  # nobody has said stop: the next tick
                await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._reporter.tell(ready=True)


def answer_http(app: Any, listener: socket.socket, reporter: Reporter, beat_seconds: float) -> bool:
    """Answer requests until SIGTERM or SIGINT; then stop accepting and let those under way end, within a few seconds.

    Return whether the application had started; it says itself why not.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks for the client's address, and a header must not be able to set it
        ws="none",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _QuietServer(config, reporter)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        beating = asyncio.create_task(_beat(reporter, beat_seconds))
        try:
            await server.serve(sockets=[listener])
        finally:
            beating.cancel()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
    return server.started


async def _beat(reporter: Reporter, seconds: float) -> None:
    """Show the supervisor that the event loop turns."""
    while True:
        reporter.tell(beat=True)
        await asyncio.sleep(seconds)
