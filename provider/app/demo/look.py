"""What the demo looks at from outside: the engine, the page, the log, a command's output, the metrics."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable

from provider.adapters.clock import SystemClock
from provider.adapters.runtime.docker import DockerRuntime
from provider.adapters.runtime.settings import DockerSettings
from provider.app.tenancy import Tenancy
from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.workload import RuntimeCapabilities
from provider.ports import ExecRequest, LogRequest
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2, operator_pb2

POLL_S = 0.05


def _runtime(docker: str, provider: str = "demo") -> DockerRuntime:
    return DockerRuntime(DockerSettings(provider=ProviderId(provider), socket=docker), SystemClock())


async def engine(docker: str) -> RuntimeCapabilities:
    """What the engine is and can do; its own error where it cannot be reached."""
    async with _runtime(docker) as runtime:
        return await runtime.capabilities()


async def clear_engine(docker: str, provider: str, image: str) -> list[str]:
    """Remove what a demo that was broken off has left on the engine; what could not be removed.

    After one that went well there is nothing of ``provider`` but the image.
    """
    try:
        async with _runtime(docker, provider) as runtime:
            for workload in await runtime.list():
                await runtime.stop(workload.lease, 0)
            left = [f"workload {workload.lease}" for workload in await runtime.list()]
        if image:
            await remove_image(docker, image)
    except Temporary as away:
        return [f"unknown: {away.what}"]
    return left


async def lease_status(tenancy: Tenancy, lease: LeaseId) -> lease_pb2.GetLeaseStatusResponse:
    """The lease as its provider sees it."""
    async with await tenancy.lease_calls(lease, (Scope.STATUS,)) as calls:
        return await calls.status()


async def page(url: str, timeout_s: float) -> list[str]:
    """The lines of the page at ``url``, once the service in the container listens."""
    problem = ""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    return (await asyncio.to_thread(_get, url)).splitlines()
                except (urllib.error.URLError, ConnectionError) as error:
                    problem = str(error)
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Permanent(
            f"{url} did not answer within {timeout_s:g} s: {problem}", remedy="tenant logs"
        ) from None


def _get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
    with opener.open(url, timeout=5) as answer:
        body: bytes = answer.read()
    return body.decode()


async def log_lines(tenancy: Tenancy, lease: LeaseId, service: str, count: int) -> list[str]:
    """The first ``count`` lines of the followed log."""
    lines: list[str] = []
    async with await tenancy.lease_calls(lease, (Scope.LOGS,)) as calls:
        async for batch in calls.logs(LogRequest(service=service, follow=True)):
            for text in batch.text.decode(errors="replace").split("\n"):
                lines.append(f"\\[{batch.service}/{batch.replica}] {text}")
            if len(lines) >= count:
                break
    return lines[:count]


async def executed(tenancy: Tenancy, lease: LeaseId, service: str, argv: tuple[str, ...]) -> list[str]:
    """What the command printed; ``Permanent`` if it failed."""
    output, status = b"", 0
    async with (
        await tenancy.lease_calls(lease, (Scope.EXEC,)) as calls,
        calls.exec() as call,
    ):
        await call.write(calls.start(ExecRequest(service=service, argv=argv)))
        await call.write(lease_pb2.ExecRequest(input_closed=True))
        async for answer in call:
            output += answer.stdout + answer.stderr
            status = answer.exit_code or status
    text = output.decode(errors="replace")
    if status:
        raise Permanent(f"the command ended with status {status}: {text}", remedy="tenant exec")
    return text.splitlines()


async def series(url: str, lease_key: str) -> list[str]:
    """The lease's own series in the exposition at ``url``."""
    text = await asyncio.to_thread(_get, url)
    found = [line for line in text.splitlines() if f'lease="{lease_key}"' in line]
    if not found:
        raise Permanent(f"{url} has no series of lease {lease_key}", remedy=f"curl {url}")
    return found


async def agent_is_idle(
    ask: Callable[[], Awaitable[operator_pb2.GetStatusResponse]], timeout_s: float
) -> None:
    """Once the provider holds no lease: its containers are gone by then."""
    try:
        async with asyncio.timeout(timeout_s):
            while (await ask()).leases:  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Permanent(
            f"the provider still holds a lease after {timeout_s:g} s", remedy="provider leases"
        ) from None


async def remove_image(docker: str, reference: str) -> None:
    """Take the demo's image off the engine again."""
    import docker as sdk

    def remove() -> None:
        client = sdk.DockerClient(base_url=docker, timeout=60)
        try:
            client.images.remove(reference)
        except sdk.errors.ImageNotFound:
            return
        finally:
            client.close()

    await asyncio.to_thread(remove)
