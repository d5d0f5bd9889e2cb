"""What the Registry refuses to do with queues, typed to a real server."""

from collections.abc import Iterator
from functools import partial

import pytest

from callboard.actors.errors import RequestRefused
from callboard.actors.local_client import LocalClient
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings
from tests.support.serving import Server

WORKER = ("--worker", "callboard.actors.samples:Sleep")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "var") as running:
        yield running


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["delete", "dead_letter"], "dead_letter is always there"),
        (["delete", "dead_letter", "--force"], "dead_letter is always there"),
        (["pause", "dead_letter"], "dead_letter is always there and can't be paused"),
        (["resume", "dead_letter"], "dead_letter is always there and can't be resumed"),
        (["drain", "dead_letter"], "dead_letter is always there and can't be drained"),
        (["scale", "dead_letter", "3"], "dead_letter is always there and can't be scaled"),
        (["delete", "defualt"], "unknown queue 'defualt': did you mean default?"),
        (["scale", "defualt", "3"], "unknown queue 'defualt': did you mean default?"),
    ],
)
def test_what_can_not_be_done_with_a_queue_is_said(server: Server, arguments: list[str], said: str) -> None:
    refused = server.type("queue", *arguments)
    assert (refused.code, refused.out) == (1, "")
    assert said in refused.err
    assert {"dead_letter", "default"} <= {queue["name"] for queue in server.type("queues", "--json").json}


def test_a_deleted_queue_is_told_to_programs_too(server: Server) -> None:
    assert server.type("queue", "create", "short", *WORKER, "--json").json["created"]
    assert server.type("queue", "delete", "short", "--json").json == {"name": "short", "tasks": 0}
    assert "short" not in {queue["name"] for queue in server.type("queues", "--json").json}


def test_a_queue_that_is_only_pulled_from_needs_no_options(server: Server) -> None:
    created = server.type("queue", "create", "photos")
    assert (created.code, created.out, created.err) == (0, "queue photos created\n", "")
    assert server.type("enqueue", "photos").code == 0
    with LocalClient(server.data_dir) as client:
        assert [task.queue for task in client.dequeue("photos", wait=10)] == ["photos"]


def test_the_dead_letter_queue_takes_no_settings(server: Server) -> None:
    typed = server.type("queue", "create", "dead_letter", *WORKER, "--replace")
    assert (typed.code, typed.out) == (2, "")
    assert "'dead_letter': dead_letter is always there" in typed.err
    # Nor from a program that has not looked at the name itself.
    with LocalClient(server.data_dir) as client, pytest.raises(RequestRefused, match="dead_letter is always there"):
        client.control.put("dead_letter", QueueSettings())
    assert server.queue("dead_letter")["settings"]["concurrency"] == 0


def test_jqs_21_the_dead_letter_stays_as_it_is_and_takes_tasks_that_nobody_gets(server: Server) -> None:
    with LocalClient(server.data_dir) as client:
        for command in (client.control.pause, client.control.drain, partial(client.control.scale, concurrency=2)):
            with pytest.raises(RequestRefused, match="dead_letter is always there"):
                command("dead_letter")
        task = client.enqueue("dead_letter")
        with pytest.raises(RequestRefused, match="dead_letter is always there and can't be fetched from"):
            client.dequeue("dead_letter")
        assert client.get(task.id).state == TaskState.AVAILABLE
    letter = server.queue("dead_letter")
    assert (letter["state"], letter["settings"]["concurrency"]) == ("running", 0)
