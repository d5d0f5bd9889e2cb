"""Tell whether the server is well, and what it can do."""

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from callboard.actors.errors import CallboardError
from callboard.actors.messages import Ping, Pong
from callboard.http.docs_page import docs_page
from callboard.http.edge import Edge, edge_of
from callboard.http.problems import Problem
from callboard.http.responses import data_response

READY_SECONDS: Final = 2.0


async def healthz(_: Request) -> Response:
    """Tell that the HTTP server answers."""
    return data_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Tell whether the store and the Registry answer."""
    edge = edge_of(request)
    store, registry = await asyncio.gather(_store_state(edge), _registry_state(edge))
    parts = {"store": store, "registry": registry}
    wrong = {name: why for name, why in parts.items() if why != "ok"}
    if wrong:
        detail = "; ".join(f"{name}: {why}" for name, why in wrong.items())
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"Not ready: {detail}", kind="not-ready", extra=parts)
    return data_response({"status": "ready", **parts})


async def openapi(request: Request) -> Response:
    """Answer the OpenAPI document."""
    return Response(request.app.state.openapi(), media_type="application/json")


async def docs(request: Request) -> Response:
    """Answer a page for people, made of the OpenAPI document; needs no network."""
    return HTMLResponse(docs_page(request.app.state.openapi()))


async def _store_state(edge: Edge) -> str:
    try:
        async with asyncio.timeout(READY_SECONDS):
            await edge.read(edge.store.check)
    except CallboardError as error:
        return str(error)
    except TimeoutError:
        return f"no answer in {READY_SECONDS:g} s"
    return "ok"


async def _registry_state(edge: Edge) -> str:
    try:
        await edge.gateway.ask_registry(Ping, Pong, READY_SECONDS)
    except CallboardError as error:
        return str(error)
    return "ok"
