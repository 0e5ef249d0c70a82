"""A log streamed to its tenant, against ``docker logs -f`` of the same container, in one run.

All read a log that is complete, from its first line to its last: the runtime alone, then the whole way over
mutual TLS and the lease service to a client in a process of its own. Rounds alternate, so that all see the
same machine.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import docker

from provider.adapters.clock import SystemClock
from provider.adapters.gateway import Doorman, GatewaySettings, LeaseGateway, LeaseServer, LeaseWorld
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.app import busybox_image
from provider.app.log_following import batch_of
from provider.app.log_printing import LogPrinter
from provider.core.policy import Policy
from provider.core.state import AgentState
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.moment import MINUTE, Instant
from provider.domain.resources import GIB
from provider.domain.workload import ContainerState, Launch
from provider.ports import LogRequest
from provider.rpc.calls import cancelled_after
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.identity import Identity, LiveIdentity, new_key, public_key_pem
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel
from provider.rpc.tokens import LeaseToken, Scope, issue, key_id
from provider.rpc.v1 import lease_pb2_grpc
from provider.rpc.v1.lease_pb2 import StreamLogsRequest
from provider.sim.authority import ThrowawayAuthority
from provider.sim.journal import MemoryJournal
from tests.engine_images import IMAGES
from tests.integration.gateway.world import StillAgent
from tests.integration.gateway.world import lease as lease_of
from tests.launches import IMAGE, eventually, launch, lease_id, replica, service

LINES = 300_000
TEXT = "a line of a log as programs write them, with some seventy characters ..."
ROUNDS = 5
TOOLS = Path("build/tools")
CLOCK = SystemClock()
SETTINGS = DockerSettings(
    provider=ProviderId("bench"),
    simulated_gpus=True,
    bind_address="127.0.0.1",
    images=IMAGES,
    log_file_bytes=GIB,  # nothing of it is rotated away
)


def rows() -> list[dict[str, object]]:
    """Medians in lines a second. Needs an engine on the default socket and the ``docker`` command."""
    client = docker.APIClient(base_url=SETTINGS.socket, version="1.41")
    busybox_image.import_into(client, busybox_image.find_busybox(TOOLS), IMAGE)
    try:
        figures = asyncio.run(_measure())
    finally:
        busybox_image.remove_from(client, IMAGE)
        client.close()
    baseline = statistics.median(figures["docker"])
    names = {"runtime": "logs: runtime", "tenant": "logs: runtime, lease service, client"}
    return [
        {
            "name": f"{name} against docker logs -f, {LINES} lines",
            "ours": round(LINES / statistics.median(figures[key])),
            "baseline": round(LINES / baseline),
            "unit": "lines/s",
            "ratio": round(baseline / statistics.median(figures[key]), 3),
            "target": 0.8,
        }
        for key, name in names.items()
    ]


async def _measure() -> dict[str, list[float]]:
    took: dict[str, list[float]] = {"docker": [], "runtime": [], "tenant": []}
    wanted = launch(replica(service("web", f"yes '{TEXT}' | head -n {LINES}")), lease=lease_id("bench"))
    async with DockerRuntime(SETTINGS, CLOCK) as runtime:
        try:
            container = await _written(runtime, wanted)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                async with _served(runtime, wanted.lease) as (address, who, token):
                    for _ in range(ROUNDS + 1):
                        took["docker"].append(await asyncio.to_thread(_by_docker, container))
                        took["runtime"].append(await _by_runtime(runtime, wanted.lease))
                        reading = process.submit(_by_tenant, address, who, token, wanted.lease)
                        took["tenant"].append(await asyncio.wrap_future(reading))
        finally:
            await runtime.stop(wanted.lease, 0)
    return {key: each[1:] for key, each in took.items()}  # the first round warms caches


async def _written(runtime: DockerRuntime, wanted: Launch) -> str:
    """The container, once its log is complete."""
    (container,) = (await runtime.start(wanted)).containers

    async def has_ended() -> bool:
        look = await runtime.look(wanted.lease)
        return look is not None and look.containers[0].state is ContainerState.EXITED

    await eventually(has_ended, bool)
    return container.id


def _by_docker(container: str) -> float:
    began = time.perf_counter()
    subprocess.run(["docker", "logs", "-f", container], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


async def _by_runtime(runtime: DockerRuntime, lease: LeaseId) -> float:
    began, count = time.perf_counter(), 0
    async with aclosing(runtime.logs(lease, LogRequest(follow=True))) as batches:  # type: ignore[type-var]
        async for batch in batches:
            count += len(batch.at_ns)
    assert count == LINES, "all of it was read"
    return time.perf_counter() - began


@asynccontextmanager
async def _served(runtime: DockerRuntime, lease: LeaseId) -> AsyncIterator[tuple[str, Identity, str]]:
    """The lease service, and who may ask it: address, identity, token."""
    authority, key = ThrowawayAuthority("sim"), new_key()
    identity = LiveIdentity(authority.member(Role.PROVIDER, "bench", at=CLOCK.now()))
    state = AgentState(
        policy=Policy(provider=ProviderId("bench")), leases={lease: replace(lease_of(), id=lease)}
    )
    world = LeaseWorld(agent=StillAgent(state), runtime=runtime, clock=CLOCK, journal=MemoryJournal())
    doorman = Doorman(identity.now.member, lambda: (public_key_pem(key),), CLOCK)
    token = LeaseToken(
        market="sim",
        lease=lease,
        scopes=(Scope.LOGS,),
        issued_at=CLOCK.now(),
        expires_at=Instant(CLOCK.now() + 10 * MINUTE),
        id="1",
    )
    settings = GatewaySettings(listen="127.0.0.1:0")
    async with LeaseServer(settings, identity, LeaseGateway(settings, world, doorman)) as server:
        who = authority.member(Role.TENANT, "alice", at=CLOCK.now())
        text = issue(token, key, key_id(public_key_pem(key)))
        yield f"127.0.0.1:{server.port}", who, text


def _by_tenant(address: str, who: Identity, token: str, lease: LeaseId) -> float:
    """As ``tenant logs -f web`` reads and prints it, until the last line is there."""

    async def read() -> float:
        expect = Member(role=Role.PROVIDER, market="sim", name="bench")
        request = StreamLogsRequest(lease=lease_id_to_pb(lease), service="web", follow=True, tail=-1)
        count = 0
        began = time.perf_counter()
        async with mtls_channel(address, who, expect=expect) as channel:
            stub: lease_pb2_grpc.LeaseServiceAsyncStub = lease_pb2_grpc.LeaseServiceStub(channel)
            call = stub.StreamLogs(request, metadata=(("authorization", f"Bearer {token}"),))
            async with cancelled_after(call):
                async for answer in call:
                    batch = batch_of(answer)
                    printer.print(batch)
                    count += len(batch.at_ns)
                    if count == LINES:
                        break
        return time.perf_counter() - began

    with Path(os.devnull).open("wb") as nowhere:
        printer = LogPrinter(out=nowhere, err=nowhere)
        return asyncio.run(read())


if __name__ == "__main__":
    print(rows())
