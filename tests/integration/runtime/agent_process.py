"""A process that starts one lease and says so: what the tests of crashes kill.

Its arguments: the engine's socket, which lease, and as which provider.
"""

from __future__ import annotations

import asyncio
import sys

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.workload import Launch
from tests.engine_images import IMAGES
from tests.launches import launch, replica, service


def settings(socket: str, provider: str) -> DockerSettings:
    return DockerSettings(
        provider=ProviderId(provider),
        socket=socket,
        simulated_gpus=True,
        bind_address="127.0.0.1",
        images=IMAGES,
    )


def wanted(lease: LeaseId) -> Launch:
    return launch(replica(service("db")), replica(service("web"), gpus=("GPU-0",)), lease=lease)


async def main() -> None:
    async with DockerRuntime(settings(sys.argv[1], sys.argv[3]), SystemClock()) as runtime:
        await runtime.start(wanted(LeaseId.parse(sys.argv[2])))
    sys.stdout.write("started\n")


if __name__ == "__main__":
    asyncio.run(main())
