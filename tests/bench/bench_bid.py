"""Order opened -> bid received, against a bare grpc.aio bidi echo of the same bytes, in one run.

Ours: a real ``provider run`` process, over mutual TLS, through its link, decision, durable commit and
PlaceBid. The market's end is the wire's fake, so that only the agent is measured: from the moment the
order is handed to the session to the moment PlaceBid's handler has the bid. Baseline: the same machine,
the same TLS, a client process that echoes; as many bytes out as the order has, as many back as the bid.
Rounds of the two alternate.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio

from provider import sdl
from provider.adapters.clock import SystemClock
from provider.app.demo.stage import free_port, program_argv
from provider.core.effects import Effect, PlaceBid
from provider.domain.ids import OrderId, Owner
from provider.domain.market import Order
from provider.rpc import identity
from provider.rpc.codec_market import bid_to_pb, order_to_pb
from provider.rpc.identity import Identity, LiveIdentity
from provider.rpc.member import Role
from provider.rpc.settings import bind, mtls_server_credentials, server
from provider.sim.authority import ThrowawayAuthority
from provider.sim.market import SimulatedMarket
from provider.sim.wire import WireMarket
from tests.e2e.world import ROOT

ROUNDS = 300
WARM_UP = 50
ECHO = "/bench.Echo/Both"
CLOCK = SystemClock()


class TimedMarket(SimulatedMarket):
    """Notes when each bid came in."""

    def __init__(self) -> None:
        super().__init__()
        self.bid: asyncio.Future[tuple[float, PlaceBid]] = asyncio.get_running_loop().create_future()

    def take(self, effect: Effect) -> None:
        if isinstance(effect, PlaceBid) and not self.bid.done():
            self.bid.set_result((time.perf_counter(), effect))
        super().take(effect)

    async def round(self, order: Order) -> tuple[float, PlaceBid]:
        """Open ``order``; milliseconds until its bid came, and the bid."""
        self.bid = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.open_order(order)
        async with asyncio.timeout(10):
            came, effect = await self.bid
        self.close_order(order.id)
        return (came - began) * 1000, effect


def rows() -> list[dict[str, object]]:
    ours, baseline = asyncio.run(_measure())
    made = []
    for name, pick in (("median", statistics.median), ("p99", _p99)):
        figure, beside = pick(ours), pick(baseline)
        made.append(
            {
                "name": f"bid: order opened -> bid received, {name} (baseline: bare bidi echo)",
                "ours": round(figure, 3),
                "baseline": round(beside, 3),
                "unit": "ms",
                "ratio": round(figure / beside, 2),
                "target": 4.0,
            }
        )
    return made


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


async def _measure() -> tuple[list[float], list[float]]:
    authority, market = ThrowawayAuthority("sim"), TimedMarket()
    ours, baseline = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with (
            WireMarket(market, authority, CLOCK, heartbeat_ms=5000) as wire,
            _agent(Path(folder), _member(authority, "agent", wire.address)) as log,
        ):
            await _connected(log)
            _, effect = await market.round(_order(1))  # to know a bid's size
            sizes = order_to_pb(_order(1)).ByteSize(), bid_to_pb(effect.bid).ByteSize()
            async with _echo(authority, *sizes) as echo:
                for number in range(2, WARM_UP + ROUNDS + 2):
                    took, _ = await market.round(_order(number))
                    beside = await echo()
                    if number >= WARM_UP + 2:
                        ours.append(took)
                        baseline.append(beside)
    return ours, baseline


def _order(number: int) -> Order:
    parsed = sdl.read((ROOT / "manifests" / "hello-gpu.yaml").read_text())
    order_id = OrderId(owner=Owner("alice"), dseq=number, gseq=1, oseq=1)
    return Order(id=order_id, group=parsed.groups[0], manifest_hash=sdl.manifest_hash(parsed.manifest))


def _member(authority: ThrowawayAuthority, name: str, coordinator: str) -> Identity:
    return replace(authority.member(Role.PROVIDER, name, at=CLOCK.now()), coordinator=coordinator)


@asynccontextmanager
async def _agent(folder: Path, who: Identity) -> AsyncIterator[Path]:
    """``provider run``; its log."""
    identity.save(who, folder / "state")
    config, log = folder / "provider.yaml", folder / "log"
    config.write_text(f"state_dir: {folder}/state\ngpu: {{simulate: [{{model: h100, count: 2}}]}}\n")
    settings = {
        "PROVIDER_RUNTIME__ALLOW_UNSAFE": "[engine, runc]",
        "PROVIDER_LEASE__LISTEN": f"127.0.0.1:{free_port()}",
        "PROVIDER_TELEMETRY__LISTEN": f"127.0.0.1:{free_port()}",
        "PROVIDER_RESERVE__CPU_MILLIS": "0",
        "PROVIDER_RESERVE__STORAGE_BYTES": "0",
    }
    argv = [*program_argv("provider"), "--config", str(config), "run"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=out, stderr=out, env={**os.environ, **settings}
        )
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


@asynccontextmanager
async def _echo(
    authority: ThrowawayAuthority, asked: int, answered: int
) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """A call that sends ``asked`` bytes to a client process and times the ``answered`` bytes coming back."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    calls: asyncio.Queue[grpc.aio.ServicerContext[bytes, bytes]] = asyncio.Queue()

    async def both(_requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await calls.put(context)
        while isinstance(message := await context.read(), bytes):
            arrived.put_nowait(message)

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(both)
    generic = grpc.method_handlers_generic_handler("bench.Echo", {"Both": handler})
    made = server([], concurrent_calls=4)
    made.add_generic_rpc_handlers((generic,))
    who = authority.member(Role.COORDINATOR, "", at=CLOCK.now())
    port = bind(made, "127.0.0.1:0", mtls_server_credentials(LiveIdentity(who)))
    await made.start()
    with tempfile.TemporaryDirectory() as folder:
        identity.save(_member(authority, "echo", f"127.0.0.1:{port}"), Path(folder))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.echo_client", folder, str(answered)
        )
        try:
            context = await calls.get()

            async def once() -> float:
                began = time.perf_counter()
                await context.write(b"x" * asked)
                await arrived.get()
                return (time.perf_counter() - began) * 1000

            yield once
        finally:
            process.terminate()
            await process.wait()
            await made.stop(None)
