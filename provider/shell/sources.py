"""Sources: each turns one port into events and puts them in the loop's inbox, for ever.

Blindness is not death: when a port cannot be read nothing is put in, so nothing changes; it is tried
again, and only a successful look says what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from provider.core.events import NodesRead, WorkloadsListed
from provider.core.markets import within
from provider.core.state import AgentState, holdings
from provider.core.wattage import with_watts
from provider.domain.errors import ProviderError
from provider.domain.gpu import GpuInventory
from provider.domain.ids import GpuUuid, MarketId, NodeName
from provider.domain.moment import MINUTE, SECOND, Span, after
from provider.domain.node import Node
from provider.ports import Clock, CoordinatorLink, GpuProbe, HostProbe, Runtime
from provider.shell.loop import Loop

log = structlog.get_logger()

LIST_EVERY = Span(10 * SECOND)
"""The repair bound without a hint from the engine: its list costs 3 ms. As often as usage is reported:
a report bills up to the last look."""
CAPABILITIES_EVERY = Span(5 * MINUTE)
"""An engine that was upgraded, a program that was installed, count from then at the latest."""
AWAY_RETRY = Span(2 * SECOND)
"""Between two tries while the engine is away."""


class Looked(Protocol):
    """Must not block, and may not fail."""

    def __call__(self, what: str, seconds: float, /, *, ok: bool) -> None: ...


def _unwatched(_what: str, _seconds: float, /, *, ok: bool) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is looked at on this machine."""

    name: NodeName
    gpus: GpuProbe
    host: HostProbe
    runtime: Runtime
    clock: Clock
    load_watts: Callable[[], Mapping[GpuUuid, int]] = dict
    """What cards draw while they work, as far as that was measured."""
    looked: Looked = _unwatched
    """Told of each look and how long it took, successful or not, by the name of what was looked at."""


async def listen(market: MarketId, link: CoordinatorLink, loop: Loop) -> None:
    """What the coordinator of ``market`` says."""
    async for delivery in link.inbound():
        await loop.put(within(delivery.event, market), delivery.committed)


async def watch_machine(machine: Machine, loop: Loop) -> None:
    """The inventory: once as soon as the engine answers, then whenever a GPU comes, goes or falls ill."""
    inventory = await machine.gpus.discover()
    await _until_it_answers(machine, "machine", partial(_read, machine, loop, inventory))
    async for changed in machine.gpus.changes():
        await _until_it_answers(machine, "machine", partial(_read, machine, loop, changed))


async def _read(machine: Machine, loop: Loop, inventory: GpuInventory) -> None:
    capabilities = await machine.runtime.capabilities()
    node = Node(
        name=machine.name,
        capacity=machine.host.capacity(),
        inventory=with_watts(inventory, machine.load_watts()),
        busy_ports=for_sale(machine.host.busy_ports(), loop.state),
    )
    await loop.put(NodesRead(nodes=(node,), runtime=capabilities))


async def watch_workloads(machine: Machine, loop: Loop) -> None:
    """What really runs: after each hint of the engine, and every ``LIST_EVERY`` without one."""
    async with asyncio.TaskGroup() as group:
        hinted = asyncio.Event()
        group.create_task(_collect(machine.runtime.hints(), hinted))
        group.create_task(_watch_capabilities(machine, loop))
        group.create_task(_watch_ports(machine, loop))
        while True:
            hinted.clear()
            await _until_it_answers(machine, "workloads", partial(list_workloads, machine, loop))
            async with asyncio.TaskGroup() as waits:
                due = after(machine.clock.now(), LIST_EVERY)
                either: list[asyncio.Task[object]] = [
                    waits.create_task(machine.clock.sleep_until(due)),
                    waits.create_task(hinted.wait()),
                ]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                for wait in either:
                    wait.cancel()


async def _watch_capabilities(machine: Machine, loop: Loop) -> None:
    while True:
        await machine.clock.sleep_until(after(machine.clock.now(), CAPABILITIES_EVERY))
        await _until_it_answers(machine, "capabilities", partial(_look_at_capabilities, machine, loop))


async def _look_at_capabilities(machine: Machine, loop: Loop) -> None:
    capabilities = await machine.runtime.capabilities()
    if loop.state.nodes and capabilities != loop.state.runtime:
        await loop.put(NodesRead(nodes=loop.state.nodes_as_read, runtime=capabilities))


async def list_workloads(machine: Machine, loop: Loop) -> None:
    """One look at the engine; returns when its consequences are committed."""
    as_of = machine.clock.now()
    workloads = await machine.runtime.list()
    await loop.submit(WorkloadsListed(workloads=workloads, as_of=as_of))


async def _watch_ports(machine: Machine, loop: Loop) -> None:
    """Not with each hint: the kernel's tables are long where many connections are."""
    while True:
        await machine.clock.sleep_until(after(machine.clock.now(), LIST_EVERY))
        began = asyncio.get_running_loop().time()
        await _look_at_ports(machine, loop)
        machine.looked("ports", asyncio.get_running_loop().time() - began, ok=True)


async def _look_at_ports(machine: Machine, loop: Loop) -> None:
    """A port that somebody else took meanwhile must not be sold; one that became free may be."""
    state = loop.state
    busy = for_sale(machine.host.busy_ports(), state)
    if state.runtime is None or all(node.busy_ports == busy for node in state.nodes_as_read):
        return
    nodes = tuple(replace(node, busy_ports=busy) for node in state.nodes_as_read)
    await loop.put(NodesRead(nodes=nodes, runtime=state.runtime))


async def look_at_watts(machine: Machine, loop: Loop) -> None:
    """A card that draws more or less than was thought costs more or less."""
    state, watts = loop.state, machine.load_watts()
    nodes = tuple(replace(node, inventory=with_watts(node.inventory, watts)) for node in state.nodes_as_read)
    if state.runtime is not None and nodes != state.nodes_as_read:
        await loop.put(NodesRead(nodes=nodes, runtime=state.runtime))


def for_sale(ports: frozenset[int], state: AgentState) -> frozenset[int]:
    """Those of ``ports`` that are in the operator's range and not held by a lease or a bid of ours."""
    first, last = state.policy.port_range
    held = 0
    for node in holdings(state).values():
        held |= node.bids.ports | node.leases.ports
    return frozenset(port for port in ports if first <= port <= last and not held >> port & 1)


async def _collect(hints: AsyncIterator[None], hinted: asyncio.Event) -> None:
    async for _ in hints:
        hinted.set()


async def _until_it_answers(machine: Machine, what: str, look: Callable[[], Awaitable[None]]) -> None:
    """Try ``look`` at ``what`` until it succeeds; what it changes is only what it saw."""
    said = False
    time = asyncio.get_running_loop().time
    while True:
        began = time()
        try:
            await look()
        except ProviderError as failure:
            machine.looked(what, time() - began, ok=False)
            if not said:
                log.warning("engine_unreachable", problem=failure.what, remedy=failure.remedy)
                said = True
            await machine.clock.sleep_until(after(machine.clock.now(), AWAY_RETRY))
        else:
            machine.looked(what, time() - began, ok=True)
            return
