"""kill -9 in the middle of everything: what was acknowledged is there, once; the rest can be asked again."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provider.coordinator.record import verify
from provider.coordinator.settings import BOOK, SOCKET
from provider.coordinator.store import BookStore
from provider.domain.errors import ProviderError
from provider.domain.ids import LeaseId, OrderId
from provider.rpc.identity import Identity
from provider.rpc.member import Role
from tests.coordinators import PATIENCE_S, Agent, Tenant, fund, join, key, run
from tests.market import check

DAEMON = """
import asyncio, json, sys
from pathlib import Path
from provider.adapters.clock import SystemClock
from provider.coordinator.server import serve
from provider.coordinator.settings import CoordinatorSettings
settings = CoordinatorSettings(
    state=Path(sys.argv[1]), market="test", listen="127.0.0.1:0", enrolment_listen="127.0.0.1:0"
)
asyncio.run(serve(settings, SystemClock(), lambda it: print(json.dumps(it.address), flush=True)))
"""
LIVES_S = (0.02, 0.24, 0.05, 0.11, 0.17, 0.08)
DEPOSIT = 500_000


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[tuple[Process, str]]:
    """A coordinator in a process of its own, and its address; killed at the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", DAEMON, str(folder), stdout=PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            address = json.loads(await process.stdout.readline())
        yield process, address
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


@dataclass
class Known:
    """What the members were told."""

    asked: list[str] = field(default_factory=list)
    deployed: dict[str, OrderId] = field(default_factory=dict)
    bids: set[LeaseId] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)
    funded: int = 0


async def deploy_until_cut(tenant: Tenant, agent: Agent, known: Known) -> None:
    """One member's work, as fast as it goes: deploy, bid, every third one closed again."""
    while True:
        name = key()
        known.asked.append(name)
        try:
            order = await tenant.deploy(deposit=DEPOSIT, again=name)
            known.deployed[name] = order
            known.bids.add(await agent.bid(order))
            if order.dseq % 3 == 0:
                await tenant.close(order.dseq)
                known.closed.add(order.dseq)
        except ProviderError:
            return


async def one_life(folder: Path, who: tuple[Identity, Identity], known: Known, lives_s: float) -> None:
    async with daemon(folder) as (process, address):
        alice, north = who
        known.funded += 1
        await fund(folder / SOCKET, "alice", 400 * DEPOSIT, again=f"fund-{known.funded}")
        async with Tenant(alice, address) as tenant, Agent(north, address) as agent:
            await confirm_known(tenant, known)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(4):
                    tasks.create_task(deploy_until_cut(tenant, agent, known))
                asyncio.get_running_loop().call_later(lives_s, process.send_signal, signal.SIGKILL)


async def confirm_known(tenant: Tenant, known: Known) -> None:
    """All that was acknowledged in earlier lives is there, and a repeat finds it."""
    for name in known.asked:
        order = await tenant.deploy(deposit=DEPOSIT, again=name)
        assert known.deployed.setdefault(name, order) == order
    orders = set(known.deployed.values())
    assert len(orders) == len(known.asked), "no two keys made the same deployment"
    for order in orders:
        view = await tenant.until(order.dseq, lambda _: True)
        is_closed = order.dseq in known.closed
        if is_closed:
            assert view.refunded.amount_micros == DEPOSIT
        elif view.refunded.amount_micros == 0:
            bids = {LeaseId.parse(f"{order}/{bid.id.provider}") for bid in view.orders[0].bids}
            assert bids >= {bid for bid in known.bids if bid.order == order}


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    async def body() -> None:
        known = Known()
        async with daemon(tmp_path):
            socket = tmp_path / SOCKET
            who = await join(socket, Role.TENANT, "alice"), await join(socket, Role.PROVIDER, "north")
        for lives_s in LIVES_S:
            await one_life(tmp_path, who, known, lives_s)
        assert len(known.deployed) > 30, "the lives were too short to prove anything"
        store = BookStore.open(tmp_path / BOOK)
        book = store.load("test", b"")
        check(book, book, book.at)
        assert sum(row.deposit.amount for row in book.deployments.values()) == DEPOSIT * len(book.deployments)
        assert set(known.deployed.values()) <= set(book.orders)
        assert len(book.deployments) <= len(known.asked)
        assert verify(store.record(1, 1000)) is None
        store.close()

    run(body)
