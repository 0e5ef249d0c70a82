"""The ingress as one part: answers, the proxy that asks, and what may have changed at the engine.

Entering starts all of it; ``ConfigError`` where a port is taken or the proxy is not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from provider.adapters.ingress.addresses import Addresses, Containers
from provider.adapters.ingress.caddy_config import caddy_config
from provider.adapters.ingress.lookup import Lookup
from provider.adapters.ingress.process import CaddyProcess
from provider.adapters.ingress.server import QuestionServer
from provider.adapters.ingress.settings import IngressSettings
from provider.core.state import AgentState
from provider.domain.errors import ConfigError
from provider.ports import Clock


class Ingress:
    """Serves the names of ``state``'s leases, wherever ``there`` are their containers."""

    def __init__(
        self, settings: IngressSettings, state: Callable[[], AgentState], there: Containers, clock: Clock
    ) -> None:
        self._settings = settings
        self._addresses = Addresses(there, clock)
        self._server = QuestionServer(Lookup(state, self._addresses).answer)
        self._held = AsyncExitStack()
        self.process = CaddyProcess(settings, self._configuration)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as held:
            tasks = asyncio.TaskGroup()
            await tasks.__aenter__()
            held.push_async_callback(tasks.__aexit__, None, None, None)  # so that it wraps nobody's failure
            listening = tasks.create_task(self._addresses.watch())
            held.callback(listening.cancel)
            await held.enter_async_context(self._server)
            await held.enter_async_context(self.process)
            self._held = held.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._held.aclose()

    def _configuration(self, folder: str) -> Mapping[str, object]:
        return caddy_config(self._settings, self._server.address, folder, read_pem(self._settings))


def read_pem(settings: IngressSettings) -> tuple[str, str] | None:
    """The operator's own chain and key, where there is one. ``ConfigError`` when they cannot be read."""
    if settings.certificate is None:
        return None
    if settings.key is None:
        raise ConfigError("ingress.certificate has no ingress.key", remedy="set both, or none")
    return _text(settings.certificate), _text(settings.key)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy="PEM, readable by the daemon") from error
