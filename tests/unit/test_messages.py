"""Every message finds somebody who handles it, and arrives as it was sent."""

import dataclasses
import pickle
import types
from collections.abc import Callable
from enum import EnumType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from callboard.actors import messages
from callboard.actors.dead_letter import DeadLetterActor
from callboard.actors.events import EventsActor
from callboard.actors.messages import Ping
from callboard.actors.queue_actor import QueueActor
from callboard.actors.registry import RegistryActor
from callboard.actors.task import TaskState
from callboard.actors.worker import WorkerActor
from callboard.conf.settings import QueueSettings
from callboard.conf.type_defaults import TypeDefaults

# isort: split
from thespian.actors import ActorAddress
from thespian.system.transport.TCPTransport import TCPTransport

ACTORS = (RegistryActor, QueueActor, WorkerActor, DeadLetterActor, EventsActor)
PARTS = (messages.QueueStatus, messages.WorkerStatus)
"""Dataclasses that travel within messages."""
REPLIES_TO_THE_EDGE = {
    messages.DeadPurged,
    messages.EventsFollow,
    messages.EventsFound,
    messages.QueueDeleted,
    messages.QueueDescribed,
    messages.QueueFound,
    messages.QueuePut,
    messages.QueuesListed,
    messages.Refused,
    messages.RegistryReady,
    messages.SettingsOutdated,
    messages.ShutDownDone,
    messages.TasksAccepted,
    messages.TasksChanged,
    messages.TasksExchanged,
}
"""No actor gets them: they answer the server and the clients."""
CLASSES: list[type[Any]] = [getattr(messages, name) for name in messages.__all__ if name[0].isupper()]
MESSAGES = [each for each in CLASSES if dataclasses.is_dataclass(each) and each not in PARTS]
SAMPLES: dict[Any, Callable[[], Any]] = {
    str: lambda: "é\n" * 3,
    int: lambda: 2**40,
    float: lambda: 1.5,
    bool: lambda: True,
    bytes: lambda: b"\x00\xff",
    Any: lambda: [None],
    types.NoneType: lambda: None,
    TaskState: lambda: TaskState.DEAD,
    QueueSettings: lambda: QueueSettings(worker="a:b", max_retries=7),
    TypeDefaults: lambda: TypeDefaults(name="work", max_retries=7),
    ActorAddress: lambda: TCPTransport.getAddressFromString("127.0.0.1:1"),
}


def handled() -> set[type]:
    return {Ping}.union(*(actor._handlers for actor in ACTORS))


def sample(kind: Any) -> Any:
    """Make a value of an annotation; of alternatives the first."""
    if kind in SAMPLES:
        return SAMPLES[kind]()
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return (sample(inner[0]), sample(inner[0]))  # all tuples in messages are of any length
    if origin is dict:
        return {sample(inner[0]): sample(inner[1])}
    if origin in {Union, types.UnionType}:
        return sample(inner[0])
    if isinstance(kind, EnumType):
        return next(iter(kind))
    hints = get_type_hints(kind)
    return kind(**{name: sample(hints[name]) for name in hints})


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_is_handled_by_an_actor_or_answers_the_edge(message: type) -> None:
    assert (message in handled()) != (message in REPLIES_TO_THE_EDGE)


def test_whatever_an_actor_handles_is_a_message() -> None:
    assert handled() <= set(MESSAGES)


@pytest.mark.parametrize("message", CLASSES)
def test_every_message_and_part_arrives_as_it_was_sent(message: type) -> None:
    sent = sample(message)
    arrived = pickle.loads(pickle.dumps(sent))
    assert type(arrived) is message
    assert arrived == sent


@pytest.mark.parametrize("message", [*MESSAGES, *PARTS])
def test_no_message_can_be_changed(message: type[Any]) -> None:
    sent = sample(message)
    first = dataclasses.fields(sent)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(sent, first, None)


@pytest.mark.parametrize("message", sorted(REPLIES_TO_THE_EDGE, key=str))
def test_every_reply_says_which_request_it_answers(message: type) -> None:
    assert dataclasses.fields(sample(message))[0].name == "request_id"
