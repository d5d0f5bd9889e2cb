"""A consumer as somebody elsewhere might write it, with nothing but an HTTP library. Run as a program it works a queue.

    python -m tests.support.consumer URL QUEUE NAME NOTES STOP

It writes down when it asked for a task, when it had done its work, and what became of its ack; it ends when STOP exists.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

LEASE_MS = 1_500
WORK_SECONDS = 0.02
AT_ONCE = 5


def patiently(ask: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Ask until there is an answer that is not for a moment only."""
    while True:
        try:
            answer = ask()
        except httpx2.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code not in {429, 503}:
            return answer
        time.sleep(0.05)


def work(url: str, queue: str, name: str, notes: int, stop: Path) -> None:
    """Fetch tasks, take some time for each, acknowledge each."""

    def note(what: str, task: dict[str, Any], at: int) -> None:
        os.write(notes, f"{what} {name} {task['id']} {task['attempt']} {at}\n".encode())

    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:
        wanted = {"max": AT_ONCE, "lease_ms": LEASE_MS, "wait_ms": 300, "consumer": name}
        while not stop.exists():
            asked = time.monotonic_ns()
            answer = patiently(lambda: http.post(f"/api/queues/{queue}/dequeue", json=wanted))
            answer.raise_for_status()
            tasks = answer.json()["data"]
            for task in tasks:
                note("got", task, asked)
            for task in tasks:
                time.sleep(WORK_SECONDS)
                note("did", task, time.monotonic_ns())
                body = {"claim": task["claim"], "result": {"by": name}}
                acked = patiently(lambda t=task, b=body: http.post(f"/api/tasks/{t['id']}/ack", json=b))  # type: ignore[misc]
                note(str(acked.status_code), task, time.monotonic_ns())


if __name__ == "__main__":
    url, queue, name, notes, stop = sys.argv[1:]
    work(url, queue, name, os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), Path(stop))
