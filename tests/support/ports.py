"""Find ports that stay free while nobody listens on them, for servers that come back on the port that they had."""

import os
import random
import socket

FIRST, EACH, SHARES = 10_000, 1_000, 20
"""Below those that the system gives away by itself; each process that runs tests has its share."""


def free_port() -> int:
    """Return a port on which nobody listens, which no test beside this one takes either."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", f"gw{SHARES - 1}")
    first = FIRST + EACH * (int(worker.removeprefix("gw")) % SHARES)
    while True:
        port = random.randrange(first, first + EACH)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
