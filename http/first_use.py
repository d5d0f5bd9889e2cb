"""Make a queue from its template when it is first used: once, however many ask for it at the same time."""

import asyncio

from callboard.actors.errors import RequestRefused
from callboard.actors.messages import MakeQueue, QueuePut, RefusalReason
from callboard.conf.templates import QueueTemplate
from callboard.http.gateway import Gateway


class FirstUse:
    """Makes queues; belongs to the event loop. The Registry makes each only once too, whoever asks."""

    def __init__(self) -> None:
        self._making: dict[str, asyncio.Task[None]] = {}

    async def ensure(self, gateway: Gateway, queue: str, template: QueueTemplate) -> None:
        """See to it that this queue exists. Raises `RequestRefused` or `RequestTimedOut`."""
        try:
            await gateway.find(queue)
        except RequestRefused as refusal:
            if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
                raise
        else:
            return
        making = self._making.get(queue)
        if making is None:
            making = asyncio.get_running_loop().create_task(_make(gateway, queue, template))
            self._making[queue] = making
            making.add_done_callback(lambda _: self._making.pop(queue, None))
        # Shielded: whoever goes away must not end it for the others.
        await asyncio.shield(making)


async def _make(gateway: Gateway, queue: str, template: QueueTemplate) -> None:
    settings = template.queue_settings()
    await gateway.ask_registry(lambda request_id: MakeQueue(request_id, queue, settings), QueuePut)
