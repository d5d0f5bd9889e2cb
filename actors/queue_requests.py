"""What a Queue actor answers about tasks: submitted, fetched and settled by consumers, cancelled, retried, purged."""

from thespian.actors import ActorAddress

from callboard.actors.always_there import FETCHED_FROM
from callboard.actors.base import handles
from callboard.actors.commands import Commands
from callboard.actors.crew import Moment
from callboard.actors.editing import edit
from callboard.actors.messages import (
    CancelTasks,
    EditTask,
    ExchangeTasks,
    PurgeDead,
    RefusalReason,
    RetryTasks,
    SettingsOutdated,
    SubmitTasks,
    TasksAccepted,
    TasksExchanged,
)
from callboard.actors.queue_controls import QueueControls, read_clocks


class QueueRequests(QueueControls):
    """The part of a Queue actor that deals with requests about its tasks; `QueueActor` is the whole."""

    commands: Commands

    @handles(SubmitTasks)
    def submit(self, message: SubmitTasks, sender: ActorAddress) -> None:
        """Store new tasks and answer when they are on disk."""
        owner = self.addressed(message, sender)
        if owner is None:
            return
        if message.settings_version != owner.settings_version:
            detail, settings = "the queue's settings have changed", owner.settings
            outdated = SettingsOutdated(
                message.request_id, RefusalReason.STALE, detail, settings=settings, settings_version=owner.settings_version
            )
            self.send(sender, outdated)
            return
        now = read_clocks()
        verdicts = owner.submit(message.submissions, now)
        self.send(sender, TasksAccepted(message.request_id, verdicts))
        self.perform(now)

    @handles(CancelTasks)
    def cancel(self, message: CancelTasks, sender: ActorAddress) -> None:
        """Cancel tasks; answered once the last of those that run is gone."""
        if (owner := self.addressed(message, sender)) is not None:
            now = read_clocks()
            self.commands.cancel(message.request_id, message.ids, sender, now)
            owner.turn(now)
            self.perform(now)

    @handles(RetryTasks)
    def retry(self, message: RetryTasks, sender: ActorAddress) -> None:
        """Put ended tasks back with a fresh budget."""
        if self.addressed(message, sender) is not None:
            now = read_clocks()
            reply = self.commands.retry(message.request_id, message.ids, now, keep_attempts=message.keep_attempts)
            self.send(sender, reply)
            self.go_on(now)

    @handles(EditTask)
    def edit(self, message: EditTask, sender: ActorAddress) -> None:
        """Change a task that waits."""
        if (owner := self.addressed(message, sender)) is not None:
            now = read_clocks()
            self.commands.reclaim(message.task_id, now)
            self.send(sender, edit(owner, message, self.registry, now))
            self.go_on(now)

    @handles(PurgeDead)
    def purge(self, message: PurgeDead, sender: ActorAddress) -> None:
        """Delete dead tasks."""
        if self.addressed(message, sender) is not None:
            self.send(sender, self.commands.purge(message.request_id, message.ids, read_clocks()))

    @handles(ExchangeTasks)
    def exchange(self, message: ExchangeTasks, sender: ActorAddress) -> None:
        """Settle what consumers have, lease them more, and answer when that is on disk."""
        owner = self.commanded(message, sender, FETCHED_FROM) if message.wants else self.addressed(message, sender)
        if owner is not None:
            now = read_clocks()
            exchange = owner.exchange(message.settlements, message.wants, now)
            self.send(sender, TasksExchanged(message.request_id, tuple(exchange.settled), tuple(exchange.given)))
            self.perform(now)

    def perform(self, now: Moment) -> None:
        """Do what the owner has decided."""
        raise NotImplementedError
