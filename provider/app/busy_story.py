"""Half an hour of a busy simulated provider, in which everything that is counted happens.

Orders are won, lost and refused; leases run, die and are repaired; the engine, the link and the disk have
their bad minutes; in the end leases run, a bid is open and one card is ill. Read ``busy_host`` first.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

from provider.app.busy_host import PROVIDER, BusyHost
from provider.core.effects import ConfirmLease, PlaceBid
from provider.core.events import DrainSet, GpuFaultSeen, ManifestArrived, PolicyChanged
from provider.core.idling import job_of
from provider.core.lease import Phase
from provider.domain.errors import Temporary
from provider.domain.gpu import GpuFault, GpuHealth
from provider.domain.ids import LeaseId, OrderId, Owner
from provider.domain.manifest import Manifest, ManifestGroup, Service
from provider.domain.market import Award, CloseReason, GroupSpec, Order
from provider.domain.moment import SECOND, Instant, Span
from provider.domain.money import Denom, Rate
from provider.domain.resources import GIB, GpuAlternative, GpuAsk, Resources, ResourceUnit, Volume
from provider.sim import vtime
from provider.sim.engine import ImageScript

_HASH = "ab" * 32
_WEB, _SLOW = "web", "slow"
"""Images: one that is here at once, one whose registry is away at first."""
_LEASES = (("h100", 2), ("h100", 1), ("h100", 1), ("l40s", 1), ("", 0))
"""Model and count of each lease that goes on running."""


def exposition() -> bytes:
    """What a scrape of the busy host gives in the end."""

    async def body() -> bytes:
        host = BusyHost()
        async with host.alive():
            await happen(host)
            return host.exposition()

    return vtime.run(body())


async def happen(host: BusyHost) -> None:
    """All of it; the host is left busy."""
    host.engine.images = {
        _WEB: ImageScript(takes=Span(4 * SECOND), size_bytes=2 * GIB),
        _SLOW: ImageScript(
            takes=Span(90 * SECOND), size_bytes=9 * GIB, failure=Temporary("no registry"), failures=1
        ),
    }
    await host.until(lambda: host.loop.state.nodes and host.loop.state.connected)
    leases = [await rent(host, number, *wanted) for number, wanted in enumerate(_LEASES, start=1)]
    for number, gpu in enumerate(host.probe.readings()):
        host.probe.load(gpu.uuid, 0.97 if number < 3 else 0.4)
    _compute(host, leases)
    await _orders_that_come_to_nothing(host)
    ended = await rent(host, 20, "h100", 1, image=_SLOW)
    host.market.end_lease(ended, CloseReason.TENANT_CLOSED)
    await host.until(lambda: ended not in host.loop.state.leases)
    await _bad_minutes(host, leases)
    await _driver_errors(host)
    await _idle(host)
    await bid(host, order_of(30, "rtx4090", 1))
    last = host.loop.state.nodes[0].gpus[5]
    host.probe.judge(last.uuid, GpuHealth.DEGRADED, "an uncorrectable memory error")
    await asyncio.sleep(60)


def _compute(host: BusyHost, leases: list[LeaseId]) -> None:
    """Each lease has a process on each of its cards, and somebody else has one on the last card."""
    for lease in leases:
        pids = [each.described(host.clock.now()).pid for each in host.engine.leases[lease].values()]
        for uuid in host.loop.state.leases[lease].placement.gpus:
            host.probe.runs(uuid, *(pid for pid in pids if pid is not None))
    host.probe.runs(host.loop.state.nodes[0].gpus[-1].uuid, 4_000_000)


async def _orders_that_come_to_nothing(host: BusyHost) -> None:
    lost = await bid(host, order_of(10, "h100", 1))
    host.market.close_order(lost.order)
    await host.until(lambda: lost not in host.loop.state.bids)
    taken_back = await bid(host, order_of(13, "rtx4090", 1))
    await host.loop.submit(DrainSet(is_draining=True))
    await host.until(lambda: taken_back not in host.loop.state.bids)
    await host.loop.submit(DrainSet(is_draining=False))
    host.market.open_order(order_of(11, "b200", 1))
    host.market.open_order(order_of(12, "h100", 1, price="0.001"))
    await host.until(lambda: len(host.loop.state.orders) == 2)


async def _bad_minutes(host: BusyHost, leases: list[LeaseId]) -> None:
    await host.engine.kill(leases[1], "app", oom=True)
    await runs(host, leases[1])
    await host.engine.kill(leases[2], "app")
    await runs(host, leases[2])
    host.engine.is_away = True
    await asyncio.sleep(30)
    host.engine.is_away = False
    host.link.cut()
    await host.until(lambda: not host.loop.state.connected)
    host.link.restore()
    await host.until(lambda: host.loop.state.connected)
    host.store.refusals = 2
    await asyncio.sleep(900)


async def _driver_errors(host: BusyHost) -> None:
    """One that a tenant's program made, and one that is the card's."""
    first, second = (gpu.uuid for gpu in host.loop.state.nodes[0].gpus[:2])
    for uuid, xid in ((first, 31), (first, 31), (second, 94)):
        fault = GpuFault(uuid=uuid, xid=xid, at=host.clock.now())
        await host.loop.submit(GpuFaultSeen(fault=fault))


async def _idle(host: BusyHost) -> None:
    """The operator has a job for cards of one model that nobody rents."""
    gpu = GpuAsk(units=1, alternatives=(GpuAlternative(vendor="nvidia", model="rtx4090"),))
    resources = Resources(id=1, cpu_millis=1_000, memory_bytes=4 * GIB, gpu=gpu)
    job = job_of(Service(name="batch", image=_WEB, resources=resources), grace_s=10)
    await host.loop.submit(PolicyChanged(policy=replace(host.loop.state.policy, idle=job)))


async def rent(host: BusyHost, number: int, model: str, gpus: int, *, image: str = _WEB) -> LeaseId:
    """From the order to a running lease."""
    order = order_of(number, model, gpus)
    lease = await bid(host, order)
    rate = host.loop.state.bids[lease].bid.rate
    host.market.award(
        Award(id=lease, rate=rate, manifest_hash=_HASH, confirm_by=Instant(host.clock.now() + 10 * SECOND))
    )
    await host.until(lambda: _was_told(host, ConfirmLease, lease))
    await host.loop.submit(
        ManifestArrived(lease=lease, manifest=_manifest(order.group, image), manifest_hash=_HASH)
    )
    await runs(host, lease)
    return lease


async def bid(host: BusyHost, order: Order) -> LeaseId:
    """Open ``order``, and wait for the bid on it."""
    host.market.open_order(order)
    lease = order.id.lease(PROVIDER)
    await host.until(lambda: _was_told(host, PlaceBid, lease) and lease in host.loop.state.bids)
    return lease


async def runs(host: BusyHost, lease: LeaseId) -> None:
    """Until it does again."""
    await asyncio.sleep(1)
    await host.until(lambda: host.loop.state.leases[lease].phase is Phase.RUNNING)


def _was_told(host: BusyHost, kind: type[PlaceBid | ConfirmLease], lease: LeaseId) -> bool:
    told = (each for each in host.market.told.values() if isinstance(each, kind))
    return any((each.bid.id if isinstance(each, PlaceBid) else each.lease) == lease for each in told)


def order_of(number: int, model: str, gpus: int, *, price: str = "50000") -> Order:
    """For ``gpus`` cards of ``model``, at most for ``price`` a block."""
    ask = GpuAsk(units=gpus, alternatives=(GpuAlternative(vendor="nvidia", model=model),) if gpus else ())
    resources = Resources(
        id=1,
        cpu_millis=2_000,
        memory_bytes=16 * GIB,
        gpu=ask,
        storage=(Volume(name="default", size_bytes=20 * GIB),),
    )
    unit = ResourceUnit(resources=resources, count=1, price=Rate(amount=Decimal(price), denom=Denom.UACT))
    return Order(
        id=OrderId(owner=Owner("alice"), dseq=number, gseq=1, oseq=1),
        group=GroupSpec(name="west", units=(unit,)),
        manifest_hash=_HASH,
    )


def _manifest(group: GroupSpec, image: str) -> Manifest:
    service = Service(name="app", image=image, resources=replace(group.units[0].resources))
    return Manifest(groups=(ManifestGroup(name=group.name, services=(service,)),))
