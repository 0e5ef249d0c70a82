"""The connection to one Docker engine: the SDK in threads of its own, streams over asyncio.

Owns the API version, the thread pool and the mapping of every failure. Does not own what is asked.

Invariant: nothing here fails because the engine is away when it is made. It connects at the first
call, and again with fresh facts after the engine was away: it may have come back as another version.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TypeVar, cast

import docker
import docker.errors

from provider.adapters.runtime import wire
from provider.adapters.runtime.asked import Asked, hook, operation, unanswered, unmeasured
from provider.adapters.runtime.errors import RAISED, engine_error, refused
from provider.adapters.runtime.settings import DockerSettings
from provider.domain.errors import Permanent, ProviderError, Temporary

T = TypeVar("T")

API_NEWEST = (1, 45)
"""Of Docker 26, the newest that was tested; a newer engine is spoken to as if it were that one."""
API_OLDEST = (1, 40)
"""Of Docker 19.03, the first with device requests."""
CANCEL_WAIT_S = 5
"""How long a cancelled caller waits for a call that is on its way to the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the engine says of itself (``GET /version``)."""

    version: str
    api: str
    """Agreed on, ``1.41``."""
    architecture: str
    """As images name it, ``amd64``."""
    components: Mapping[str, str]
    """Versions by name: ``Engine``, ``containerd``, ``runc``; newer engines may tell more, old ones less."""


@dataclass(slots=True, kw_only=True)
class _Link:
    facts: Facts
    client: docker.APIClient
    info: Mapping[str, object] | None = None


class Engine:
    """Calls and streams to one engine. ``close`` when done; calls after that fail."""

    def __init__(self, settings: DockerSettings, asked: Asked = unmeasured) -> None:
        self.settings = settings
        self._asked = asked
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="docker")
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        self._forget()
        # Not waited for: a thread may sit in a call to an engine that hangs; it ends with its timeout.
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def facts(self) -> Facts:
        """``Temporary`` when the engine is away."""
        return (await self._connected()).facts

    async def info(self, *, fresh: bool = False) -> Mapping[str, object]:
        """``GET /info``, asked once a connection unless a ``fresh`` one is wanted."""
        link = await self._connected()
        if fresh or link.info is None:
            told: dict[str, object] = await self.call("asking the engine", lambda api: api.info())
            link.info = told
        return link.info

    async def call(self, doing: str, function: Callable[[docker.APIClient], T]) -> T:
        """``function(client)`` in a thread. ``doing`` opens the message of a failure.

        A caller that is cancelled waits a little for the call to end: what is on its way to the engine
        cannot be taken back, and whoever tidies up next should find it done.
        """
        link = await self._connected()
        began = perf_counter()
        future = asyncio.get_running_loop().run_in_executor(self._threads, function, link.client)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(_seen)
            await asyncio.wait({future}, timeout=CANCEL_WAIT_S)
            raise
        except docker.errors.APIError as error:
            raise engine_error(error, doing) from error
        except RAISED as error:
            self._asked(unanswered(error), perf_counter() - began, ok=False)
            self._forget()
            raise engine_error(error, doing) from error

    @asynccontextmanager
    async def stream(
        self, doing: str, request: wire.Request, head_timeout_s: float | None = None
    ) -> AsyncIterator[wire.Answer]:
        """The engine's answer to ``request``, whose path is without version; see ``accepted``.

        ``head_timeout_s`` bounds the time until the body begins, ``call_timeout_s`` by default.
        """
        facts = await self.facts()
        versioned = replace(request, path=f"/v{facts.api}{request.path}")
        began = perf_counter()
        try:
            patience_s = head_timeout_s or self.settings.call_timeout_s
            async with wire.ask(self.settings.socket_path, versioned, patience_s) as answer:
                if request.upload is None:  # else its time is whose sends it
                    op = operation(request.method, request.path)
                    self._asked(op, perf_counter() - began, ok=answer.status < 500)
                yield answer
        except RAISED as error:
            self._forget()
            raise engine_error(error, doing) from error

    async def _connected(self) -> _Link:
        async with self._connecting:
            if self._link is None:
                self._link = await self._connect()
            return self._link

    async def _connect(self) -> _Link:
        doing = f"connecting to the engine at {self.settings.socket}"
        try:
            request = wire.Request(method="GET", path="/version")
            async with wire.ask(self.settings.socket_path, request, self.settings.call_timeout_s) as answer:
                text = await answer.text()
            if answer.status != 200:
                raise refused(answer.status, text, doing)
            told = cast("dict[str, str]", json.loads(text))
            facts = Facts(
                version=told["Version"],
                api=_agree(told),
                architecture=told["Arch"],
                components=_components(told),
            )
        except RAISED as error:
            raise engine_error(error, doing) from error
        except (ValueError, KeyError) as error:
            raise Temporary(f"{doing}: what answers is no engine", remedy="docker info") from error
        client = docker.APIClient(
            base_url=self.settings.socket,
            version=facts.api,
            timeout=self.settings.call_timeout_s,
            max_pool_size=self.settings.threads,
        )
        client.hooks["response"].append(hook(self._asked))
        return _Link(facts=facts, client=client)

    def _forget(self) -> None:
        if self._link is not None:
            self._link.client.close()
            self._link = None


def _components(told: Mapping[str, object]) -> dict[str, str]:
    listed = told.get("Components")
    return {
        str(each.get("Name")): str(each.get("Version"))
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict)
    }


def _agree(told: dict[str, str]) -> str:
    newest, oldest = _pair(told["ApiVersion"]), _pair(told.get("MinAPIVersion", "1.0"))
    if newest < API_OLDEST:
        raise Temporary(
            f"the engine {told['Version']} is too old", remedy="install Docker 20.10 or newer and restart"
        )
    chosen = max(min(newest, API_NEWEST), oldest)
    return f"{chosen[0]}.{chosen[1]}"


def _pair(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


async def accepted(answer: wire.Answer, doing: str) -> None:
    """Raise what the engine's refusal means; ``Permanent`` where it does not know what is asked for."""
    if answer.status >= 400:
        text = await answer.text()
        raise Permanent(f"{doing}: {text}") if answer.status == 404 else refused(answer.status, text, doing)


async def together(*tasks: Coroutine[object, object, object]) -> None:
    """Run all at once; when one fails cancel the others and raise the gravest failure, not a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except BaseExceptionGroup as failures:
        known, unknown = failures.split(ProviderError)
        if unknown is not None or known is None:
            raise
        raise min(_leaves(known), key=lambda error: isinstance(error, Temporary)) from None


def _leaves(group: BaseExceptionGroup[ProviderError]) -> list[ProviderError]:
    leaves: list[ProviderError] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _seen(future: asyncio.Future[T]) -> None:
    """Nobody waits for this call's outcome any more: without a look at it asyncio would complain."""
    if not future.cancelled():
        future.exception()
