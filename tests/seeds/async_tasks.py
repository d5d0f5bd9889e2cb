"""Handlers with models of their own, as a team would write them for the fifth seed's routes."""

from pydantic import BaseModel

from callboard.actors.handlers import TaskContext, Worker, task


class Order(BaseModel):
    """What the handlers here take."""

    number: int
    items: list[str]


class Pack(Worker):
    """A class that declares its contexts."""

    Context = Order

    def perform(self, task: TaskContext) -> int:
        """Count the items."""
        return len(task.payload.items)


@task
def ship(order: Order) -> int:
    """Return the number: a function that declares its context by annotating it."""
    return order.number
