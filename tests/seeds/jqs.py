"""The first seed's configuration, its curl line, and what its tests have in common."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from callboard.actors import Client
from tests.seeds.jqs_tasks import PLAY
from tests.support.ledger import Ledger
from tests.support.polling import eventually

SEED_PORT = 4000
# As it stands in the seed's document.
CURL = """
curl --location 'http://localhost:4000/api/tasks' \\
--header 'Content-Type: application/json' \\
--header 'Accept: application/json' \\
--data '{
    "queue": "sleep",
    "context": {
        "timeout": 5000
    },
    "options": {
        "max_retries": 2,
        "backoff_ms": 2000,
        "priority": "high"
    }
} '
"""
SLEEP = '[queues.sleep]\nworker = "callboard.actors.samples:Sleep"\nconcurrency = 5\n'
CONFIG = f"""
{SLEEP}
[queues.one]
worker = "{PLAY}"
concurrency = 1
[queues.three]
worker = "{PLAY}"
[queues.killed]
worker = "{PLAY}"
backoff = {{ base = "50ms" }}
[queues.none]
worker = "{PLAY}"
concurrency = 0
[queues.echo]
worker = "tests.seeds.jqs_tasks:echo"
[queues.strict]
worker = "tests.seeds.jqs_tasks:give"
strict = true
[queues.shout]
worker = "tests.seeds.jqs_tasks:Shout"
"""


def run_curl(line: str) -> Any:
    """Run a command line of curl and return the data of its answer, which must be a 201."""
    command = [*shlex.split(line.replace("\\\n", "")), "--silent", "--show-error", "--write-out", "\n%{http_code}"]
    answer, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    assert status == "201", answer
    return json.loads(answer)["data"]


@contextmanager
def busy(client: Client, ledger: Ledger, queue: str = "one") -> Iterator[str]:
    """Keep a worker of a queue busy, with the task whose id this gives, until the block ends."""
    end = ledger.path.with_suffix(".end")
    before = len(ledger.running())
    task = client.enqueue(queue, ledger.context(until=str(end)))
    eventually(lambda: len(ledger.running()) > before)
    try:
        yield task.id
    finally:
        end.touch()
    client.wait(task.id)
    end.unlink()


def played(ledger: Ledger, names: dict[str, str]) -> list[str]:
    """Return the names of these tasks in the order of their runs."""
    return [names[run.task] for run in ledger.runs() if run.task in names]
