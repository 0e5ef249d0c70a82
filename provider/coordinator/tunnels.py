"""Tunnels between tenants and providers that cannot be dialled: who has one open, and the splicing itself.

Owns names, limits, what ends a tunnel, and the two flows. Does not own the streams
(``servicers/tunnel.py``), nor whether a tenant may have one (``market/permission.py``).

**Invariants:** a name is good once, for the one provider that it was made for. A flow takes the next piece
only after the other side has taken the last, so that a slow end slows the other and a tunnel holds at
most one piece each way. Bytes are never looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from grpc import StatusCode

from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import DeploymentId, LeaseId, ProviderId
from provider.domain.moment import SECOND
from provider.rpc.settings import TUNNELS_MOST
from provider.rpc.status import Denied

NAME_BYTES = 16
"""Of chance in a tunnel's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelLimits:
    """A stalled tunnel holds a stream's window each way besides its two pieces (``rpc.settings``)."""

    open_most: int = 512
    per_tenant: int = 16
    per_provider: int = TUNNELS_MOST
    answer_s: float = 10.0
    """For the provider to take it up."""
    idle_s: float = 300.0
    """Without a byte either way. A living gRPC connection pings every 30 s."""


TUNNEL_LIMITS = TunnelLimits()


class End(Protocol):
    """One side's stream of bytes."""

    async def read(self) -> bytes | None:
        """The next piece; None once nothing more comes this way. ``Temporary`` when that side is gone."""

    async def write(self, data: bytes | None) -> None:
        """Returns once there is room for more; None closes this way. ``Temporary`` as above."""


class Tunnel:
    """One connection, from its name to its end."""

    def __init__(self, name: str, lease: LeaseId) -> None:
        self.name = name
        self.lease = lease
        self.to_provider_bytes = 0
        self.to_tenant_bytes = 0
        self.held_bytes = 0
        """Read from one side and not yet taken by the other."""
        self._provider: End | None = None
        self._is_decided = asyncio.Event()
        """The provider is there, or never will be."""
        self._over = asyncio.Event()
        self._why: ProviderError | None = None
        self._moved_at = 0.0

    def taken_up(self, provider: End) -> None:
        """The provider's side is there."""
        self._provider = provider
        self._is_decided.set()

    def end(self, why: ProviderError | None) -> None:
        """The first reason counts; None for both sides being done."""
        if self._over.is_set():
            return
        self._why = why
        self._over.set()
        self._is_decided.set()

    async def over(self) -> None:
        """Until it has ended; raises why, unless both sides were done."""
        await self._over.wait()
        if self._why is not None:
            raise self._why

    async def answered(self, patience_s: float) -> None:
        """Until the provider is there. ``TimeoutError`` after ``patience_s``; raises what ends it before."""
        async with asyncio.timeout(patience_s):
            await self._is_decided.wait()
        if self._over.is_set():
            await self.over()

    async def carry(self, tenant: End, idle_s: float) -> None:
        """Both flows, until both are done. Raises what ended it before; the other side hears the same."""
        provider = self._provider
        assert provider is not None, "answered before"
        self._moved_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as tasks:
                up = tasks.create_task(self._flow(tenant, provider, is_up=True))
                down = tasks.create_task(self._flow(provider, tenant, is_up=False))
                watching = tasks.create_task(self._watch(idle_s))
                await asyncio.wait({up, down})
                watching.cancel()
        except BaseExceptionGroup as group:
            found, rest = group.split(ProviderError)
            if found is None or rest is not None:
                raise
            first = _first(found)
            self.end(first)
            raise first from None
        self.end(None)

    async def _flow(self, source: End, sink: End, *, is_up: bool) -> None:
        while (data := await source.read()) is not None:
            self._moved_at = asyncio.get_running_loop().time()
            self.held_bytes += len(data)
            try:
                await sink.write(data)
            finally:
                self.held_bytes -= len(data)
            if is_up:
                self.to_provider_bytes += len(data)
            else:
                self.to_tenant_bytes += len(data)
        await sink.write(None)

    async def _watch(self, idle_s: float) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._moved_at + idle_s - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self.over()
                    return
            except TimeoutError:
                continue
        raise Temporary(f"nothing has passed through the tunnel for {idle_s:g} s")


class Tunnels:
    """All of one market's."""

    def __init__(self, limits: TunnelLimits, new_name: Callable[[], str]) -> None:
        self.limits = limits
        self._new_name = new_name
        self._open: set[Tunnel] = set()
        self._unanswered: dict[str, Tunnel] = {}
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """Of all tunnels, between one side and the other."""
        return sum(tunnel.held_bytes for tunnel in self._open)

    @contextmanager
    def dial(self, lease: LeaseId) -> Iterator[Tunnel]:
        """A tunnel to the provider of ``lease`` for the length of the block. ``Temporary`` at a limit."""
        self._admit(lease)
        tunnel = Tunnel(self._new_name(), lease)
        self._open.add(tunnel)
        self._unanswered[tunnel.name] = tunnel
        try:
            yield tunnel
        finally:
            self._open.discard(tunnel)
            self._unanswered.pop(tunnel.name, None)
            tunnel.end(Temporary("the tenant has hung up"))

    def answer(self, provider: ProviderId, name: str, end: End) -> Tunnel:
        """The tunnel of that name, now taken up by ``provider``. ``Denied`` where it is not there to take."""
        tunnel = self._unanswered.get(name)
        if tunnel is None or tunnel.lease.provider != provider:
            raise Denied(
                StatusCode.NOT_FOUND,
                "TUNNEL_UNKNOWN",
                "no such tunnel: it is taken up, given up or not yours",
            )
        del self._unanswered[name]
        tunnel.taken_up(end)
        return tunnel

    def review(self, touched: Collection[DeploymentId], is_live: Callable[[LeaseId], bool]) -> None:
        """End the tunnels of leases that are over."""
        for tunnel in tuple(self._open):
            if tunnel.lease.deployment in touched and not is_live(tunnel.lease):
                tunnel.end(Temporary(f"the lease {tunnel.lease} has ended"))

    def stop(self) -> None:
        """End all, and open none any more."""
        self._is_stopping = True
        for tunnel in tuple(self._open):
            tunnel.end(_stopping())

    def _admit(self, lease: LeaseId) -> None:
        if self._is_stopping:
            raise _stopping()
        limits, tunnels = self.limits, self._open
        counts = (
            (sum(each.lease.owner == lease.owner for each in tunnels), limits.per_tenant, lease.owner),
            (
                sum(each.lease.provider == lease.provider for each in tunnels),
                limits.per_provider,
                f"the provider {lease.provider}",
            ),
            (len(tunnels), limits.open_most, "this market"),
        )
        for count, most, whose in counts:
            if count >= most:
                raise Temporary(
                    f"{whose} has {count} tunnels open, and may have {most}",
                    remedy="end other logs and shells, or try again later",
                )


def _first(group: BaseExceptionGroup[ProviderError]) -> ProviderError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _stopping() -> Temporary:
    return Temporary("the coordinator is stopping", retry_after=SECOND)
