"""Bring a request to its handler by the shortest way, and its answer back."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class PathEndpoint:
    """What a path's route leads to: one handler a method. The route has refused all other methods before."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self.methods: Final = tuple(handlers)
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]

    def takes(self, method: str) -> bool:
        """Tell whether it has a handler for this method."""
        return method in self._handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive, send)
        response = await self._handlers[scope["method"]](request)
        await response(scope, receive, send)


class KnownPaths:
    """Looks up a path without parameters; everything else, wrong methods too, goes through the router as ever."""

    def __init__(self, router: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._router = router
        self._endpoints = {
            route.path: route.endpoint
            for route in routes
            if isinstance(route, Route) and isinstance(route.endpoint, PathEndpoint) and not route.param_convertors
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on to the path's endpoint, or else to the router."""
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is not None and endpoint.takes(scope["method"]):
            await endpoint(scope, receive, send)
        else:
            await self._router(scope, receive, send)


class Application(Starlette):
    """Starlette without its two layers for errors: `NeverATraceback`, the outermost one here, answers all of them."""

    def stopping(self) -> None:
        """End what would never end by itself: the server is about to wait for the requests that are under way."""
        if (edge := getattr(self.state, "edge", None)) is not None:
            edge.events.end()

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers that were asked for, around the paths."""
        app: ASGIApp = KnownPaths(self.router, self.routes)
        for layer, args, kwargs in reversed(self.user_middleware):
            app = layer(app, *args, **kwargs)
        return app
