"""Put what a conversation sends into the words of httpx2, and what came of it back into those of the conversation."""

import ipaddress
from typing import Final, TypedDict

import httpx2

from callboard.actors.conversation import Answer, Lost, Send
from callboard.actors.resending import Loss

CONNECT_SECONDS: Final = 5.0


class ConnectionOptions(TypedDict):
    """What `httpx2.Client` and `httpx2.AsyncClient` are made with."""

    base_url: str
    headers: dict[str, str]
    trust_env: bool
    verify: bool


class RequestOptions(TypedDict):
    """What their `request` takes after method and path."""

    params: dict[str, str]
    content: bytes | None
    headers: dict[str, str]
    timeout: httpx2.Timeout


def connection_options(url: str, token: str | None) -> ConnectionOptions:
    """Return how to reach the server at this url."""
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    address = httpx2.URL(url)
    # The environment's proxy is not asked for what is on this machine.
    is_here = _is_loopback(address.host)
    # Redirects are not followed, so nothing is encrypted: to read the certificates of all authorities would take 20 ms.
    is_plain = is_here and address.scheme == "http"
    return {"base_url": url, "headers": headers, "trust_env": not is_here, "verify": not is_plain}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def request_options(step: Send) -> RequestOptions:
    """Return what a step of a conversation sends."""
    headers = {} if step.body is None else {"Content-Type": "application/json"}
    if step.key:
        headers["Idempotency-Key"] = step.key
    timeout = httpx2.Timeout(step.timeout, connect=min(step.timeout, CONNECT_SECONDS))
    return {"params": dict(step.params), "content": step.body, "headers": headers, "timeout": timeout}


def answer_of(response: httpx2.Response) -> Answer:
    """Return what of the response a conversation goes by."""
    return Answer(response.status_code, response.content, response.headers.get("Retry-After"))


def loss_of(error: httpx2.HTTPError) -> Lost:
    """Tell what was never sent from what may have been done."""
    never = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    return Lost(Loss.NOT_SENT if never else Loss.ANSWER_LOST, str(error) or type(error).__name__)
