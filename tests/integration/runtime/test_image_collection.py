"""Making room on a real engine: whose images go, in which order, and what stays whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.images.disk import DiskUse
from provider.adapters.runtime.images.parts import ImageParts, image_parts
from provider.adapters.runtime.images.stock import Wanted
from provider.domain.errors import Temporary
from provider.domain.resources import GIB
from tests.engine_images import IMAGES
from tests.integration.runtime.conftest import SETTINGS, Run
from tests.integration.runtime.stocked import HELLO, names_on, stocked
from tests.launches import eventually, lease_id

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("no_images_left")]

AT_ONCE = replace(IMAGES, collect_min_age_s=0, disk_keep_bytes=0)


@dataclass(slots=True)
class Disk:
    """As full as there are repositories of a registry on the engine: 10 % each, and ``others`` %."""

    client: docker.APIClient
    prefix: str = ""
    """The registry's address."""
    others: int = 0

    def read(self, folder: str) -> DiskUse:
        here = {name.partition("@")[0] for name in names_on(self.client) if name.startswith(self.prefix)}
        used = self.others + 10 * len(
            {name.rpartition(":")[0] if name.count(":") > 1 else name for name in here}
        )
        return DiskUse(total_bytes=100 * GIB, free_bytes=(100 - used) * GIB)


@asynccontextmanager
async def parts(disk: Callable[[str], DiskUse], **changes: object) -> AsyncIterator[ImageParts]:
    settings = replace(SETTINGS, images=replace(AT_ONCE, **changes))  # type: ignore[arg-type]
    engine = Engine(settings)
    made = image_parts(engine, SystemClock(), disk=disk)
    try:
        yield made
    finally:
        made.record.close()
        await engine.close()


def left(client: docker.APIClient, address: str) -> set[str]:
    """Names of the repositories of a registry of which something is on the engine."""
    ours = (name for name in names_on(client) if name.startswith(f"{address}/"))
    return {name.removeprefix(f"{address}/").partition("@")[0].partition(":")[0] for name in ours}


async def pull(made: ImageParts, address: str, *names: str) -> None:
    """By the operator's wish, one after the other, so that each was used later than the one before."""
    for name in names:
        await made.images.ensure(Wanted(image=f"{address}/{name}:1"))
        await asyncio.sleep(0.002)


def test_the_longest_idle_images_go_and_what_is_wanted_stays(client: docker.APIClient) -> None:
    async def check() -> None:
        disk = Disk(client, others=30)
        async with stocked(*(f"{name}:1" for name in "abcdefg")) as registry:
            address = disk.prefix = registry.address
            async with parts(disk.read, prepull=(f"{address}/b:1",)) as made:
                await made.housekeeping.prepull()
                client.pull(f"{address}/g", "1")  # the operator's own
                await made.images.ensure(Wanted(image=f"{address}/a:1", lease=lease_id(), generation=1))
                await pull(made, address, "c", "d", "e", "f")
                container = client.create_container(f"{address}/c:1", "true")  # somebody uses it
                try:
                    await pull(made, address, "d")  # used again: later than e and f
                    disk.others = 20  # 90 % with seven images
                    assert len(await made.collector.collect()) == 1
                    assert left(client, address) == set("abcdfg")
                    disk.others = 30
                    assert len(await made.collector.collect()) == 1
                    assert left(client, address) == set("abcdg")
                    disk.others = 60
                    await made.collector.collect()
                    assert left(client, address) == set("abcg")
                    assert f"{address}/c:1" in names_on(client), "what is used keeps its name"
                finally:
                    client.remove_container(container["Id"])

    asyncio.run(check())


def test_below_the_mark_and_before_its_time_nothing_goes(client: docker.APIClient) -> None:
    async def check() -> None:
        disk = Disk(client, others=75)
        async with stocked("a:1") as registry:
            address = disk.prefix = registry.address
            async with parts(disk.read) as made:
                await pull(made, address, "a")
                assert await made.collector.collect() == ()
                disk.others = 89
            async with parts(disk.read, collect_min_age_s=60) as made:
                await pull(made, address, "a")
                assert await made.collector.collect() == ()
        assert left(client, address) == {"a"}

    asyncio.run(check())


def test_names_that_the_operator_has_given_stay(client: docker.APIClient, hello_image: str) -> None:
    """An image that is ours and by now also theirs; a name that was ours and is by now theirs."""

    async def check() -> None:
        disk = Disk(client, others=89)
        async with stocked("a:1") as registry:
            address = disk.prefix = registry.address
            async with parts(disk.read) as made:
                await pull(made, address, "a")
                client.tag(f"{address}/a:1", f"{address}/z", "mine")
                client.tag(hello_image, f"{address}/a", "1", force=True)
                assert await made.collector.collect() == ()
        names = {name for name in names_on(client) if name.startswith(address)}
        assert names == {f"{address}/z:mine", f"{address}/a:1"}

    asyncio.run(check())


def test_room_is_made_for_a_pull_that_has_none(client: docker.APIClient) -> None:
    async def check() -> None:
        disk = Disk(client, others=60)
        async with stocked("a:1", "b:1", "c:1", "d:1") as registry:
            address = disk.prefix = registry.address
            async with parts(disk.read, disk_keep_bytes=15 * GIB) as made:
                await pull(made, address, "a", "b")
                disk.others = 70
                await pull(made, address, "c")
                assert left(client, address) == {"b", "c"}
                disk.others = 90
                with pytest.raises(Temporary, match=r"15\.0 GiB are needed"):
                    await pull(made, address, "d")

    asyncio.run(check())


def test_what_the_operator_wants_here_is_pulled_when_the_agent_starts_and_again_when_it_is_gone(
    on_docker: Run, client: docker.APIClient
) -> None:
    async def check() -> None:
        async with stocked() as registry:
            image = f"{registry.address}/{HELLO}"

            async def kept(runtime: DockerRuntime) -> None:
                keeping = asyncio.create_task(runtime.keep_images())
                await here(image)
                client.remove_image(image, force=True)
                await here(image)
                keeping.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await keeping

            images = replace(IMAGES, prepull=("127.0.0.1:9/none:1", image), collect_every_s=1)
            await asyncio.to_thread(on_docker, kept, images=images, pull_stall_s=5)

    async def here(image: str) -> None:
        async def look() -> set[str]:
            return await asyncio.to_thread(names_on, client)

        await eventually(look, lambda names: image in names)

    asyncio.run(check())
