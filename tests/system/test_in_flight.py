"""A submission that is stored while the one who should answer it dies."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.killing import kill, stopped
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

CONFIG = f"""
[queues.one]
worker = "{PATH}"
"""
TRIES = 5
ON_ITS_WAY_SECONDS = 0.2
"""So long a request is given to come from the client to the stopped Queue; if it takes longer, that try shows nothing."""


@pytest.mark.slow
def test_a_submission_whose_answer_is_lost_is_sent_again_and_not_doubled(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with Server(tmp_path, CONFIG) as server, server.client(60) as client, ThreadPoolExecutor(1) as thread:
        for number in range(TRIES):
            front = server.part("server")
            with stopped(server.owner("one")):
                sent = thread.submit(client.enqueue, "one", ledger.context(name=number))
                time.sleep(ON_ITS_WAY_SECONDS)
                os.kill(front.pid, signal.SIGSTOP)
            # From here on the Queue stores the task and answers, and nobody takes its answer.
            with suppress(AssertionError):
                eventually(partial(_all_ended, ledger, number + 1), within=2)
            if stored := _all_ended(ledger, number + 1):
                kill(front)
            else:
                os.kill(front.pid, signal.SIGCONT)
            accepted = sent.result()
            tasks = server.settle("one")
            assert [task["context"]["name"] for task in tasks] == list(range(number + 1))
            assert tasks[-1]["id"] == accepted.id
            if stored:
                return
    raise AssertionError(f"in {TRIES} tries no task was stored before its answer was lost")


def _all_ended(ledger: Ledger, count: int) -> bool:
    return ledger.ended() == count
