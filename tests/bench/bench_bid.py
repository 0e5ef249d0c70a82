"""Order opened -> bid received, against a bare grpc.aio bidi stream of the same bytes, in one run.

Ours: a provider's process with the daemon's own wiring (mutual TLS, link, decision, durable commit, bid) on a
machine that is simulated, so that it has room for a thousand leases. The market's end is the wire's fake, so
that only the agent is measured: from the moment the session writes the order to the moment that the bid's
handler has read the bid. Baseline: the same machine, the same TLS, a client process that echoes; as many
bytes out as the order has, as many back as the bid.

One at a time each begins once the agent has acknowledged all that came before, and after the same silence:
neither is measured while the other works, nor straight after it. What comes out of a silence finds cold
caches, and what follows on something else does not: an echo that came straight after another took half as
long (measured), and so did not compare. Which of them comes first is drawn each time. At once they take
turns.

Between the two stand the least that an agent can be, the echo that commits two rows of a bid's size to disk
before it answers, by SQLite with the store's settings; and the core without a daemon around it, which
decodes, decides, commits and encodes. What a bid takes beyond that is the daemon's own work (decision 0017).

The figures that must stay flat have the agent itself as baseline, as it was at the beginning.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from provider import sdl
from provider.adapters.clock import SystemClock
from provider.app.demo.stage import free_port
from provider.core.effects import ConfirmLease, Effect, PlaceBid
from provider.core.events import LeaseAwarded, OrderClosed, OrderOpened
from provider.domain.ids import LeaseId, OrderId, Owner
from provider.domain.market import Award, Bid, GroupSpec, Order
from provider.domain.moment import HOUR, Instant
from provider.domain.resources import GpuAsk
from provider.rpc import identity
from provider.rpc.codec_market import bid_to_pb
from provider.rpc.identity import Identity
from provider.rpc.member import Role
from provider.rpc.v1.market_pb2 import MessageRefused, PlaceBidsRequest, SessionResponse
from provider.sim.authority import ThrowawayAuthority
from provider.sim.market import MarketEvent, SimulatedMarket
from provider.sim.waiting import until
from provider.sim.wire import WireMarket, news_to_pb
from tests.agents import HASH, group, resources, unit
from tests.bench.echo import Echo, echoing
from tests.bench.echo_client import Before
from tests.e2e.world import ROOT

ROUNDS = 300
WARM_UP = 50
AT_ONCE = 2_000
LEASES = 1_000
ORDERS_SEEN = 100_000
PATIENCE_S = 300
QUIET_S = 0.02
"""Before each that is measured alone. From 8 ms on it makes no difference how long (measured)."""
CLOCK = SystemClock()


class TimedMarket(SimulatedMarket):
    """Notes when each bid came in. Keeps changes in a row, so that telling one costs the same always."""

    def __init__(self) -> None:
        super().__init__()
        self.is_idle: Callable[[], bool] = lambda: True
        """Whether the agent has acknowledged all."""
        self.encoded: dict[int, dict[str, Any]] = {}
        """Messages, by version, that are made already."""
        self.sent_s = 0.0
        """When the last message with an order was about to be written."""
        self.read_s = 0.0
        """When the last message with bids was read, before anybody looked into it."""
        self.came: dict[LeaseId, tuple[float, Bid]] = {}
        self.confirmed = 0
        self._row: list[MarketEvent] = []
        self._news = asyncio.Event()

    def since(self, version: int) -> tuple[MarketEvent, ...]:
        return tuple(self._row[version:])

    def change(self, *events: MarketEvent) -> None:
        """All of them at once; their versions are made here."""
        for event in events:
            self._row.append(replace(event, version=len(self._row) + 1))
        self._changed(len(self._row))

    def take(self, effect: Effect) -> None:
        if isinstance(effect, PlaceBid):
            self.came[effect.bid.id] = self.read_s, effect.bid
        elif isinstance(effect, ConfirmLease):
            self.confirmed += 1
        self._news.set()

    async def until(self, bids: int = 0, confirmed: int = 0) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.came) < bids or self.confirmed < confirmed:
                self._news.clear()
                await self._news.wait()

    async def round(self, order: Order) -> tuple[float, Bid]:
        """Open ``order`` after a silence; milliseconds until its bid came, and the bid."""
        await self.quiet()
        self.came.clear()
        version = len(self._row) + 1
        opened = OrderOpened(order=order, version=version)
        self.encoded[version] = {"version": version, **news_to_pb(opened)}
        self.change(opened)
        await self.until(bids=1)
        ((came, bid),) = self.came.values()
        self.change(OrderClosed(order=order.id, version=0))
        return (came - self.sent_s) * 1000, bid

    async def settled(self) -> None:
        """Until nothing is left to be done by the agent."""
        await until(self.is_idle, PATIENCE_S)

    async def quiet(self) -> None:
        """The silence out of which an order comes."""
        await self.settled()
        await asyncio.sleep(QUIET_S)

    async def burst(self, orders: list[Order]) -> tuple[float, list[Bid]]:
        """Open all at once; seconds until the last bid came, and the bids."""
        self.came.clear()
        began = time.perf_counter()
        self.change(*(OrderOpened(order=order, version=0) for order in orders))
        await self.until(bids=len(orders))
        return max(came for came, _ in self.came.values()) - began, [bid for _, bid in self.came.values()]


class TimedWire(WireMarket):
    """Looks at the clock once a message with bids is there: decoding it is the market's work. So is encoding
    an order, which is done before."""

    market: TimedMarket

    def body(self, event: MarketEvent) -> dict[str, Any]:
        return self.market.encoded.pop(event.version, None) or super().body(event)

    def sends(self, message: SessionResponse) -> None:
        if message.HasField("order_opened"):
            self.market.sent_s = time.perf_counter()

    def _refused(self, request: PlaceBidsRequest) -> Iterator[MessageRefused]:
        self.market.read_s = time.perf_counter()
        return super()._refused(request)


class Orders:
    """Numbered through, so that none comes twice."""

    def __init__(self) -> None:
        parsed = sdl.read((ROOT / "manifests" / "hello-gpu.yaml").read_text())
        self._hash = sdl.manifest_hash(parsed.manifest)
        self.with_gpu = parsed.groups[0]
        self.plain = group(unit(replace(resources(gpus=GpuAsk()), cpu_millis=10, endpoints=())))
        self.dear = group(unit(resources(), price="0.000001"))
        """Refused: nobody pays so little."""
        self._count = 0

    def of(self, spec: GroupSpec) -> Order:
        self._count += 1
        order_id = OrderId(owner=Owner("alice"), dseq=self._count, gseq=1, oseq=1)
        return Order(id=order_id, group=spec, manifest_hash=self._hash)

    def message(self, order: Order) -> bytes:
        """What a session would send, each as if nothing but its closing had come since the last."""
        opened = OrderOpened(order=order, version=2 * self._count)
        message = SessionResponse(seq=self._count, version=opened.version, **news_to_pb(opened))
        return message.SerializeToString()


def rows() -> list[dict[str, object]]:
    return asyncio.run(_measure())


async def _measure() -> list[dict[str, object]]:
    authority, market, orders = ThrowawayAuthority("sim"), TimedMarket(), Orders()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            TimedWire(market, authority, CLOCK, heartbeat_ms=5000) as wire,
            _agent(Path(folder), _member(authority, "agent", wire.address)) as log,
        ):
            await _connected(log)
            market.is_idle = lambda: wire.unacknowledged == 0
            _, bid = await market.round(orders.of(orders.with_gpu))  # to know a bid's size
            size = bid_to_pb(bid).ByteSize()
            async with (
                echoing(authority, Before.NOTHING, size) as echo,
                echoing(authority, Before.COMMITS, size) as least,
                echoing(authority, Before.DECIDES, size) as core,
            ):
                ours, *others, baseline = await _one_at_a_time(market, orders, least, core, echo)
                made = [*_latencies(ours, others, baseline), *await _at_once(market, orders, least, echo)]
            await _until_seen(market, orders)
            seen = [(await market.round(orders.of(orders.with_gpu)))[0] for _ in range(ROUNDS)]
            made.append(_flat(f"{ORDERS_SEEN:,} orders seen", seen, ours))
            await _leased(market, orders)
            leased = [(await market.round(orders.of(orders.with_gpu)))[0] for _ in range(ROUNDS)]
            made.append(_flat(f"{LEASES:,} leases live too", leased, ours))
    return made


def _latencies(
    ours: list[float], others: list[list[float]], baseline: list[float]
) -> Iterator[dict[str, object]]:
    for name, pick, target in (("p50", statistics.median, 2.5), ("p99", _p99, 4.0)):
        what = f"bid: order opened -> bid received, {name} (baseline: bare bidi echo)"
        yield _row(what, pick(ours), pick(baseline), "ms", target)
        for whose, values in zip(("an echo that commits first", "the core alone"), others, strict=True):
            what = f"bid: for comparison, {whose}, {name} (baseline: the same)"
            yield _row(what, pick(values), pick(baseline), "ms", None)


def _flat(what: str, ours: list[float], before: list[float]) -> dict[str, object]:
    name = f"bid: the same, p50, {what} (baseline: at the beginning)"
    return _row(name, statistics.median(ours), statistics.median(before), "ms", 1.25)


def _row(name: str, ours: float, baseline: float, unit_: str, target: float | None) -> dict[str, object]:
    """Without a target where the figure is there for comparison."""
    return {
        "name": name,
        "ours": round(ours, 3),
        "baseline": round(baseline, 3),
        "unit": unit_,
        "ratio": round(ours / baseline, 2),
        "target": "-" if target is None else target,
    }


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


async def _one_at_a_time(market: TimedMarket, orders: Orders, *echoes: Echo) -> tuple[list[float], ...]:
    """Milliseconds of ours, and of each of the echoes."""

    async def ours() -> float:
        took, _ = await market.round(orders.of(orders.with_gpu))
        return took

    async def after_silence(echo: Echo) -> float:
        message = orders.message(orders.of(orders.with_gpu))
        await market.quiet()
        return await echo.once(message)

    measured: tuple[Callable[[], Awaitable[float]], ...] = (
        ours,
        *(partial(after_silence, echo) for echo in echoes),
    )
    took = tuple(list[float]() for _ in measured)
    draw = random.Random(0)  # noqa: S311 - whose turn it is
    for _ in range(WARM_UP + ROUNDS):
        for which in draw.sample(range(len(measured)), len(measured)):
            took[which].append(await measured[which]())
    return tuple(values[WARM_UP:] for values in took)


async def _at_once(
    market: TimedMarket, orders: Orders, least: Echo, echo: Echo
) -> tuple[dict[str, object], dict[str, object]]:
    """Orders a second; the better of three of each, which take turns."""
    ours, floor, baseline = 0.0, 0.0, 0.0
    message = orders.message(orders.of(orders.plain))
    for _ in range(3):
        opened = [orders.of(orders.plain) for _ in range(AT_ONCE)]
        took_s, _ = await market.burst(opened)
        ours = max(ours, AT_ONCE / took_s)
        market.change(*(OrderClosed(order=order.id, version=0) for order in opened))
        await market.settled()
        floor = max(floor, AT_ONCE / await least.burst(message, AT_ONCE))
        baseline = max(baseline, AT_ONCE / await echo.burst(message, AT_ONCE))
    name = f"bid: {AT_ONCE:,} orders at once, bids received a second (baseline: bare bidi stream)"
    least_name = "bid: for comparison, an echo that commits before each answer, the same (baseline: the same)"
    return _row(name, ours, baseline, "1/s", 0.4), _row(least_name, floor, baseline, "1/s", None)


async def _until_seen(market: TimedMarket, orders: Orders) -> None:
    """Open and close the rest of the orders, none of which gets a bid."""
    for _ in range((ORDERS_SEEN - 3 * AT_ONCE) // AT_ONCE):
        opened = [orders.of(orders.dear) for _ in range(AT_ONCE)]
        market.change(*(OrderOpened(order=order, version=0) for order in opened))
        market.change(*(OrderClosed(order=order.id, version=0) for order in opened))
        await market.round(orders.of(orders.with_gpu))


async def _leased(market: TimedMarket, orders: Orders) -> None:
    _, bids = await market.burst([orders.of(orders.plain) for _ in range(LEASES)])
    until = Instant(CLOCK.now() + HOUR)
    awards = (Award(id=bid.id, rate=bid.rate, manifest_hash=HASH, confirm_by=until) for bid in bids)
    market.change(*(LeaseAwarded(award=award, version=0) for award in awards))
    await market.until(confirmed=LEASES)


def _member(authority: ThrowawayAuthority, name: str, coordinator: str) -> Identity:
    return replace(authority.member(Role.PROVIDER, name, at=CLOCK.now()), coordinator=coordinator)


@asynccontextmanager
async def _agent(folder: Path, who: Identity) -> AsyncIterator[Path]:
    """The provider's process; its log."""
    identity.save(who, folder / "state")
    config, log = folder / "provider.yaml", folder / "log"
    config.write_text(
        f"state_dir: {folder}/state\n"
        "gpu: {simulate: [{model: h100, count: 8}]}\n"
        f"lease: {{listen: '127.0.0.1:{free_port()}', advertise: none}}\n"
        f"telemetry: {{listen: '127.0.0.1:{free_port()}'}}\n"
        "bidding: {bid_lifetime_s: 3600, manifest_patience_s: 3600}\n"
    )
    argv = [sys.executable, "-m", "tests.provider_process", str(config), "--large"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*argv, stdout=out, stderr=out)
        try:
            yield log
        finally:
            process.terminate()
            await process.wait()


async def _connected(log: Path) -> None:
    """Once the agent has said so."""
    try:
        async with asyncio.timeout(30):
            while "coordinator_connected" not in log.read_text():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the agent did not connect:\n{log.read_text()}") from None
