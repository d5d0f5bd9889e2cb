"""What the Registry answers to the edge: where queues are, and changes of their definitions."""

import shutil
import time
from pathlib import Path

from thespian.actors import ActorAddress

from callboard.actors.base import handles
from callboard.actors.clearing_up import ClearingUp, being_deleted
from callboard.actors.dead_letter import NAME as DEAD_LETTER
from callboard.actors.errors import OwnedElsewhere, QueueBeingDeleted, QueueNotEmpty, StoreUnavailable
from callboard.actors.messages import (
    ApplySettings,
    DeleteQueue,
    ListQueues,
    MakeQueue,
    PutQueue,
    QueueDeleted,
    QueuePut,
    QueuesListed,
    RefusalReason,
    Refused,
    SettingsChanged,
)
from callboard.actors.roll import Entry, taught
from callboard.actors.runtime import queue_folder
from callboard.actors.store.moving import is_empty
from callboard.actors.store.opening import microseconds


class Directory(ClearingUp):
    """The half of the Registry that looks up and defines queues; `RegistryActor` is the whole.

    It holds no connection to the store while it forks: an SQLite connection must not be carried into a child, not even
    unused, for the library's own book of locks would be copied with it.
    """

    @handles(ListQueues)
    def list_queues(self, message: ListQueues, sender: ActorAddress) -> None:
        """Answer the names of all queues."""
        # One that is being woken is shown as it was: it is well, and will be up in a moment.
        asleep = tuple(entry.name for entry in self.roll if entry.sleep is not None or (entry.waking and not entry.ready))
        missing = (entry for entry in self.roll if entry.ready is None and entry.sleep is None and not entry.waking)
        down = {entry.name: entry.why_not for entry in missing}
        names = tuple(sorted(entry.name for entry in self.roll))
        standby = tuple(entry.name for entry in self.roll if entry.standby)
        self.send(sender, QueuesListed(message.request_id, names, down, standby, asleep))

    @handles(PutQueue)
    def put_queue(self, message: PutQueue, sender: ActorAddress) -> None:
        """Create a queue, or give it new settings."""
        if message.queue == DEAD_LETTER:
            detail = "dead_letter is always there and takes no settings"
            self.send(sender, Refused(message.request_id, RefusalReason.INVALID, detail))
            return
        entry = self.roll.get(message.queue)
        if why := self._made_elsewhere(message.queue) if entry is None else self.elsewhere(entry):
            self.send(sender, Refused(message.request_id, RefusalReason.STANDBY, why))
            return
        with self.opened_store() as store:
            before = next((row for row in store.queues() if row.name == message.queue), None)
            if entry is None and before is not None:
                self.roll.add(message.queue)
                detail = f"another server has made queue {message.queue!r} meanwhile: look at it again"
                self.send(sender, Refused(message.request_id, RefusalReason.STANDBY, detail))
                self.go_on()
                return
            settings, configured = message.settings, ""
            if before is not None:
                settings, configured = taught(settings, before), before.configured
            try:
                row = store.put_queue(message.queue, settings.model_dump_json(), configured, microseconds())
            except QueueBeingDeleted as error:
                self.send(sender, being_deleted(message.request_id, error))
                return
        if entry is None:
            self.roll.add(message.queue)
        elif entry.ready is not None:
            self.send(entry.address, ApplySettings(entry.name, settings, row.settings_version))
            entry.have_settings(settings, row.settings_version)
        else:
            entry.put = (settings, row.settings_version)
            # With these there may be something to do.
            entry.wake()
        self.send(sender, QueuePut(message.request_id, message.queue, entry is None))
        self.go_on()

    @handles(MakeQueue)
    def make_queue(self, message: MakeQueue, sender: ActorAddress) -> None:
        """Create a queue from a template unless it is there: of many who ask at once, the first has it made."""
        new = self.roll.get(message.queue) is None
        if new and (why := self._made_elsewhere(message.queue)):
            self.send(sender, Refused(message.request_id, RefusalReason.STANDBY, why))
            return
        if new:
            template = message.settings.model_dump_json()
            with self.opened_store() as store:
                # Another server may have made it meanwhile.
                new = all(row.name != message.queue for row in store.queues())
                try:
                    if new:
                        store.put_queue(message.queue, template, template, microseconds())
                except QueueBeingDeleted as error:
                    self.send(sender, being_deleted(message.request_id, error))
                    return
            self.roll.add(message.queue).staffed = False
        self.send(sender, QueuePut(message.request_id, message.queue, new))
        self.go_on()

    @handles(DeleteQueue)
    def delete_queue(self, message: DeleteQueue, sender: ActorAddress) -> None:
        """End the queue's owner; when it is gone, delete the queue if it is still empty (or forced)."""
        entry = self.roll.get(message.queue)
        if entry is None:
            self.send(sender, self.unknown(message.request_id, message.queue))
            return
        if message.queue == DEAD_LETTER:
            detail = "dead_letter is always there"
            self.send(sender, Refused(message.request_id, RefusalReason.INVALID, detail))
            return
        if why := self.elsewhere(entry):
            self.send(sender, Refused(message.request_id, RefusalReason.STANDBY, why))
            return
        if entry.deletion is not None:
            entry.deletions_after.append((sender, message))
            return
        with self.opened_store() as store:
            empty = is_empty(store.counts().get(message.queue, {}))
        if not empty and not message.force:
            self.send(sender, self._not_empty(message))
            return
        entry.deletion = (sender, message)
        if entry.child is not None:
            self.kill_child(entry.child)
        else:
            self.delete(entry)

    @handles(SettingsChanged)
    def settings_changed(self, message: SettingsChanged, _sender: ActorAddress) -> None:
        """Take note of settings that a Queue has changed itself."""
        entry = self.roll.get(message.queue)
        if entry is not None:
            entry.have_settings(message.settings, message.settings_version)

    def delete(self, entry: Entry) -> None:
        """Delete the queue, whose owner is gone, if it is still empty (or forced); then see to who asked for it, too."""
        self._delete_once(entry)
        later, entry.deletions_after = entry.deletions_after, []
        for sender, message in later:
            self.receiveMessage(message, sender)

    def _delete_once(self, entry: Entry) -> None:
        assert entry.deletion is not None
        sender, message = entry.deletion
        entry.deletion = None
        try:
            with self.opened_store() as store:
                tasks = store.delete_queue(entry.name, only_empty=not message.force)
        except QueueNotEmpty:
            self.send(sender, self._not_empty(message))
            return
        except KeyError:
            # Another server has deleted it meanwhile.
            self.roll.remove(entry.name)
            self.answer_waiting(entry)
            self.send(sender, self.unknown(message.request_id, message.queue))
            return
        except (StoreUnavailable, OwnedElsewhere) as error:
            self.send(sender, Refused(message.request_id, RefusalReason.STORE_UNAVAILABLE, str(error)))
            return
        self.roll.remove(entry.name)
        self.remove_files(entry.name)
        self.answer_waiting(entry)
        # Few tasks are gone before the answer, and the name is free again.
        self.next_clearing = 0.0
        self.clear_deleted(time.monotonic())
        self.send(sender, QueueDeleted(message.request_id, message.queue, tasks))

    def remove_files(self, queue: str) -> None:
        """Remove what the workers of a deleted queue have left; none of its processes may be left."""
        shutil.rmtree(queue_folder(Path(self.start_message.data_dir), queue), ignore_errors=True)

    def _made_elsewhere(self, queue: str) -> str:
        """Say why another server is to make a queue: the one that would wake it; "" if it is this one."""
        return f"there is no queue {queue!r} yet, and another server makes queues ({self.deputy})" if self.deputy else ""

    def _not_empty(self, message: DeleteQueue) -> Refused:
        detail = f"queue {message.queue!r} has unfinished or dead tasks; force deletes them too"
        return Refused(message.request_id, RefusalReason.NOT_EMPTY, detail)

    def go_on(self) -> None:
        """Start what is to be started and ping what is alive."""
        raise NotImplementedError
