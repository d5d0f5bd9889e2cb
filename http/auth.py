"""Let in who may come in: the bearer token, and no exposure without one."""

import hmac
import ipaddress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from callboard.actors.errors import SettingsError
from callboard.conf.settings import Settings
from callboard.http.problems import Problem

FREE_PATHS: Final = frozenset({"/healthz"})
"""What a load balancer asks without a token."""


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond this machine without a token. Raises `SettingsError`."""
    if settings.http.token or is_loopback(settings.http.host):
        return
    raise SettingsError(
        f"[http] host = {settings.http.host!r} can be reached from other machines: set [http] token"
        " (or CALLBOARD_HTTP__TOKEN), or listen on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    """Tell whether this host name or address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Door:
    """Answers 401 to a request without the token, and 403 to a foreign web page's where no token is asked for.

    The last host that was found to be this machine is remembered: nearly all requests name the same one.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else b""
        self._last_host = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        if scope["type"] == "http" and scope["path"] not in FREE_PATHS and (problem := self._objection(scope)) is not None:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _objection(self, scope: Scope) -> Problem | None:
        headers = dict[bytes, bytes](scope["headers"])
        if self._expected:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            # The scheme's case does not matter; the token is compared in constant time.
            if hmac.compare_digest(scheme.title() + b" " + token.strip(), self._expected):
                return None
            return Problem(
                HTTPStatus.UNAUTHORIZED,
                "This server asks for a token: Authorization: Bearer …",
                headers={"WWW-Authenticate": "Bearer"},
            )
        host = headers.get(b"host", b"").decode("latin-1")
        # A page whose own name its owner lets point to this machine (DNS rebinding) counts as of the same origin.
        if host and host != self._last_host:
            if not is_loopback(urlsplit(f"//{host}").hostname or ""):
                return Problem(
                    HTTPStatus.FORBIDDEN, f"Without a token this server is only known as localhost, not {host!r}."
                )
            self._last_host = host
        origin = headers.get(b"origin")
        # A browser sends a page's form or text/plain request anywhere without asking; it names the page's origin, though.
        if origin is not None and urlsplit(origin.decode("latin-1")).netloc != host:
            return Problem(HTTPStatus.FORBIDDEN, "Requests from other web pages are only taken with a token.")
        return None
