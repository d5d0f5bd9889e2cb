"""Every message that crosses a process, one frozen dataclass each.

A command is named for its intent, a reply for the fact. Every request carries a `request_id` that its reply repeats:
a late reply to an earlier request can arrive at the same endpoint and must be told from this one. Every message to a
Queue names the queue and the incarnation that the sender believes in; a wrong addressee refuses it.
"""

from callboard.actors.messages.controls import (
    DescribeQueue,
    DrainQueue,
    PauseQueue,
    QueueDescribed,
    QueueStatus,
    ResumeQueue,
    ScaleQueue,
    WorkerStatus,
)
from callboard.actors.messages.dead_letter import DeadTask, DeathsListed, DeathsNoted, RecentDeaths, TasksDied
from callboard.actors.messages.directory import (
    DeleteQueue,
    FindQueue,
    ListQueues,
    MakeQueue,
    PutQueue,
    QueueDeleted,
    QueueFound,
    QueuePut,
    QueuesListed,
)
from callboard.actors.messages.liveness import Ping, Pong, RefusalReason, Refused
from callboard.actors.messages.queue_life import (
    ApplySettings,
    DeadLetterAt,
    QueueAsleep,
    QueueNotReady,
    QueueReady,
    QueueStopped,
    SettingsChanged,
    StartQueue,
    StopQueue,
    TaskMoved,
)
from callboard.actors.messages.registry_life import RegistryReady, ShutDown, ShutDownDone, StartRegistry
from callboard.actors.messages.submitting import Outcome, Submission, SubmitTasks, TasksAccepted, Verdict
from callboard.actors.messages.tasks import CancelTasks, DeadPurged, EditTask, PurgeDead, RetryTasks, TasksChanged
from callboard.actors.messages.worker import Report, Run, RunTask, StartWorker, WorkerFailed, WorkerReady

__all__ = [
    "ApplySettings",
    "CancelTasks",
    "DeadLetterAt",
    "DeadPurged",
    "DeadTask",
    "DeathsListed",
    "DeathsNoted",
    "DeleteQueue",
    "DescribeQueue",
    "DrainQueue",
    "EditTask",
    "FindQueue",
    "ListQueues",
    "MakeQueue",
    "Outcome",
    "PauseQueue",
    "Ping",
    "Pong",
    "PurgeDead",
    "PutQueue",
    "QueueAsleep",
    "QueueDeleted",
    "QueueDescribed",
    "QueueFound",
    "QueueNotReady",
    "QueuePut",
    "QueueReady",
    "QueueStatus",
    "QueueStopped",
    "QueuesListed",
    "RecentDeaths",
    "RefusalReason",
    "Refused",
    "RegistryReady",
    "Report",
    "ResumeQueue",
    "RetryTasks",
    "Run",
    "RunTask",
    "ScaleQueue",
    "SettingsChanged",
    "ShutDown",
    "ShutDownDone",
    "StartQueue",
    "StartRegistry",
    "StartWorker",
    "StopQueue",
    "Submission",
    "SubmitTasks",
    "TaskMoved",
    "TasksAccepted",
    "TasksChanged",
    "TasksDied",
    "Verdict",
    "WorkerFailed",
    "WorkerReady",
    "WorkerStatus",
]
