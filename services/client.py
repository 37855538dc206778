"""Python clients of both services: `Client` blocks, `AsyncClient` has the same methods as coroutines.

Neither needs torch or a model. `services.calls` describes each call; the clients differ only in how they send it.
Every call raises

- ServiceDown if nothing answers at the URL; a client raises it at once for a URL that is none,
- RemoteProblem, with status, code and message, if the service answers with an error, or something else answers.
"""

import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import httpx
from httpx_aiohttp import AiohttpTransport

from services.calls import Call, Calls, ClassifyOptions
from services.web.access.keys import KEY
from services.web.errors import ServiceDown

__all__ = ["AsyncClient", "ClassifyOptions", "Client"]

R = TypeVar("R")
P = ParamSpec("P")


def _down(service: str, http: httpx.Client | httpx.AsyncClient, error: httpx.TransportError) -> ServiceDown:
    return ServiceDown(service, str(http.base_url), _why(error))


def _why(error: httpx.TransportError) -> str:
    """Return the reason in plain words, from the operating system's error number if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return "timed out" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__


def _base_url(service: str, url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServiceDown(service, url, f"this is no URL: {error}") from error


def _authorization(key: str) -> dict[str, str]:
    if key and not KEY.fullmatch(key):
        raise ValueError("this is no key of a Headwater service; such keys begin with hw_ and have 46 characters")
    return {"Authorization": f"Bearer {key}"} if key else {}


_Build: TypeAlias = Callable[Concatenate[Any, P], Call[R]]


def _blocking(build: _Build[P, R]) -> Callable[Concatenate["Client", P], R]:
    """Return the method of `Client` that sends the call and returns its result."""

    @wraps(build)
    def send(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._send(build(self, *args, **kwargs))

    return send


def _awaitable(build: _Build[P, R]) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, R]]:
    """Return the method of `AsyncClient` that sends the call and returns its result."""

    @wraps(build)
    async def send(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._send(build(self, *args, **kwargs))

    return send


_LOOPBACK: dict[str, None] = dict.fromkeys(["all://127.0.0.1", "all://localhost", "all://[::1]"])
"""Hosts for which httpx ignores the proxy that the environment names."""


class Client(AbstractContextManager["Client"]):
    """A client that blocks. Close it with `close`, or use it in a `with` block.

    A service on this machine is reached without the proxy that HTTP_PROXY names.

    Args:
        url: URL of the service whose methods are called.
        service: name of that service in messages.
        timeout: seconds to wait for an answer.
        key: key that is sent with each request; empty for a service without keys. ValueError if it is no key.
    """

    def __init__(self, url: str, *, service: str = "classification", timeout: float = 30.0, key: str = "") -> None:
        self._service, base_url = service, _base_url(service, url)
        self._http = httpx.Client(base_url=base_url, timeout=timeout, mounts=_LOOPBACK, headers=_authorization(key))

    embed = _blocking(Calls.embed)
    embed_texts = _blocking(Calls.embed_texts)
    classify = _blocking(Calls.classify)
    classify_ids = _blocking(Calls.classify_ids)
    heads = _blocking(Calls.heads)
    promote = _blocking(Calls.promote)
    search = _blocking(Calls.search)
    overview = _blocking(Calls.overview)
    rows = _blocking(Calls.rows)
    encoders = _blocking(Calls.encoders)
    load_encoder = _blocking(Calls.load_encoder)
    unload_encoder = _blocking(Calls.unload_encoder)
    ready = _blocking(Calls.ready)
    thumbnails = _blocking(Calls.thumbnails)
    asset = _blocking(Calls.asset)
    store_files = _blocking(Calls.store_files)
    labels = _blocking(Calls.labels)
    set_labels = _blocking(Calls.set_labels)
    remove_labels = _blocking(Calls.remove_labels)
    label_history = _blocking(Calls.label_history)
    undo = _blocking(Calls.undo)
    start_job = _blocking(Calls.start_job)
    jobs = _blocking(Calls.jobs)
    job = _blocking(Calls.job)
    cancel_job = _blocking(Calls.cancel_job)
    job_result = _blocking(Calls.job_result)

    def _send(self, call: Call[R]) -> R:
        try:
            return call.result(self._http.request(call.method, call.path, **call.arguments))
        except httpx.TransportError as error:
            raise _down(self._service, self._http, error) from error

    def close(self) -> None:
        self._http.close()

    def __exit__(self, *_: object) -> None:
        self.close()


_LIMITS = httpx.Limits(max_connections=1000, keepalive_expiry=2.0)
"""Enough connections for a full queue. Idle ones are closed before uvicorn closes them (after 5 s), because a request
that is sent while the other side closes its connection fails."""


class AsyncClient(AbstractAsyncContextManager["AsyncClient"]):
    """A client whose calls are coroutines. Close it with `aclose`, or use it in an `async with` block.

    It ignores the proxy that the environment names, because it is made for the way from one service to the other. The
    arguments are those of `Client`.
    """

    def __init__(self, url: str, *, service: str = "classification", timeout: float = 30.0, key: str = "") -> None:
        self._service, base_url = service, _base_url(service, url)
        self._transport = AiohttpTransport(limits=_LIMITS)
        self._http = httpx.AsyncClient(
            base_url=base_url, timeout=timeout, transport=self._transport, headers=_authorization(key)
        )
        self._url = lru_cache(maxsize=64)(self._absolute)  # httpx parses a URL for every request

    embed = _awaitable(Calls.embed)
    embed_texts = _awaitable(Calls.embed_texts)
    classify = _awaitable(Calls.classify)
    classify_ids = _awaitable(Calls.classify_ids)
    heads = _awaitable(Calls.heads)
    promote = _awaitable(Calls.promote)
    search = _awaitable(Calls.search)
    overview = _awaitable(Calls.overview)
    rows = _awaitable(Calls.rows)
    encoders = _awaitable(Calls.encoders)
    load_encoder = _awaitable(Calls.load_encoder)
    unload_encoder = _awaitable(Calls.unload_encoder)
    ready = _awaitable(Calls.ready)
    thumbnails = _awaitable(Calls.thumbnails)
    asset = _awaitable(Calls.asset)
    store_files = _awaitable(Calls.store_files)
    labels = _awaitable(Calls.labels)
    set_labels = _awaitable(Calls.set_labels)
    remove_labels = _awaitable(Calls.remove_labels)
    label_history = _awaitable(Calls.label_history)
    undo = _awaitable(Calls.undo)
    start_job = _awaitable(Calls.start_job)
    jobs = _awaitable(Calls.jobs)
    job = _awaitable(Calls.job)
    cancel_job = _awaitable(Calls.cancel_job)
    job_result = _awaitable(Calls.job_result)

    async def _send(self, call: Call[R]) -> R:
        try:
            return call.result(await self._response(call))
        except httpx.TransportError as error:
            raise _down(self._service, self._http, error) from error

    def _request(self, call: Call[R]) -> httpx.Request:
        return self._http.build_request(call.method, self._url(call.path), **call.arguments)

    def _absolute(self, path: str) -> httpx.URL:
        return self._http.build_request("GET", path).url

    async def _response(self, call: Call[R]) -> httpx.Response:
        """Return the whole response.

        The transport is asked directly: no service sends cookies, redirects or challenges, and httpx would look for
        them in every response, which takes a fifth of the time of a call.
        """
        request = self._request(call)
        response = await self._transport.handle_async_request(request)
        response.request = request
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
