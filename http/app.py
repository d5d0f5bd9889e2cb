"""Make the HTTP application."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from threading import Event
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from thespian.actors import ActorAddress, ActorSystem

from callboard.actors.caller import Directory, QueueCaller
from callboard.actors.event_reader import EventReader
from callboard.actors.messages import EventsFound, FindEvents
from callboard.actors.processes import Ident
from callboard.actors.store import Store
from callboard.actors.store.opening import open_store
from callboard.conf.settings import Settings
from callboard.http.auth import Door
from callboard.http.bell import Bell
from callboard.http.dispatch import Application, Handler, PathEndpoint
from callboard.http.edge import Edge
from callboard.http.endpoints import ENDPOINTS, Endpoint
from callboard.http.event_feed import LEASE_SECONDS
from callboard.http.event_tap import EventTap
from callboard.http.gateway import ActorGateway, Gateway
from callboard.http.openapi import document
from callboard.http.problems import NeverATraceback
from callboard.http.waiting import Watcher

READER_THREADS: Final = 4


def create_app(
    settings: Settings,
    asys: ActorSystem,
    registry: ActorAddress,
    store_url: str,
    registry_process: Ident | None = None,
) -> Starlette:
    """Return the application over a running actor system; it opens the store and starts its threads when it is started."""

    @asynccontextmanager
    async def open_edge() -> AsyncIterator[Edge]:
        # Not before now: nothing here may be carried across a fork.
        store = await asyncio.to_thread(open_store, store_url)
        directory = Directory()

        def existing(ids: Sequence[str]) -> set[str]:
            return {task.id for task in store.get_many(ids)}

        def make_caller(stop: Event) -> QueueCaller:
            return QueueCaller(
                asys.private,
                registry,
                directory=directory,
                existing=existing,
                registry_process=registry_process,
                stop=stop,
            )

        def make_reader(position: tuple[str, int], stop: Event) -> EventReader:
            caller = make_caller(stop)
            return EventReader(
                lambda: caller.ask_registry(FindEvents, EventsFound),
                asys.private,
                position=position,
                lease_seconds=LEASE_SECONDS,
                stop=stop,
            )

        gateway = ActorGateway(make_caller, directory)
        async with running_edge(settings, gateway, store, EventTap(make_reader)) as edge:
            yield edge

    return build_app(settings, open_edge)


@asynccontextmanager
async def running_edge(
    settings: Settings, gateway: Gateway, store: Store, events: EventTap | None = None
) -> AsyncIterator[Edge]:
    """Give what the routes work with, and end all of it afterwards. Without `events` those are never any."""
    readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="callboard-read")
    watcher, bell = Watcher(store), Bell(store)
    tap = events or EventTap(None)
    try:
        yield Edge(settings, gateway, store, watcher, bell, readers, tap)
    finally:
        await tap.close()
        await watcher.close()
        await bell.close()
        await gateway.close()
        await asyncio.to_thread(readers.shutdown, cancel_futures=True)
        await asyncio.to_thread(store.close)


def build_app(settings: Settings, open_edge: Callable[[], AbstractAsyncContextManager[Edge]]) -> Starlette:
    """Return the application over any edge (tests bring their own)."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_edge() as edge:
            app.state.edge = edge
            yield

    app = Application(
        routes=routes(ENDPOINTS),
        middleware=[Middleware(NeverATraceback), Middleware(Door, token=settings.http.token)],
        lifespan=lifespan,
    )
    app.state.openapi = openapi
    return app


@cache
def openapi() -> str:
    """Return the OpenAPI document. It takes 40 ms to make: too long for a start, since a killed server is waited for."""
    return document(ENDPOINTS)


def routes(endpoints: Iterable[Endpoint]) -> list[Route]:
    """Return one route a path, so that a wrong method is answered with all that the path has."""
    methods: dict[str, dict[str, Handler]] = {}
    for endpoint in endpoints:
        methods.setdefault(endpoint.path, {})[endpoint.method] = endpoint.handler
    return [Route(path, PathEndpoint(handlers), methods=list(handlers)) for path, handlers in methods.items()]
