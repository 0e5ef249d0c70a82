"""GPUs seen from inside: on an engine with CDI, on one without, and when a device is taken away or hidden."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, DockerSettings, containers
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.gpu_sight import GpuSight, Watched
from provider.adapters.runtime.gpu_watch import GpuWatch
from provider.adapters.runtime.looks import Looks
from provider.domain.errors import Temporary
from provider.domain.ids import GpuUuid
from provider.domain.workload import ContainerState, ExitCause, Launch
from tests.integration.runtime.cards import ONE, TWO, cdi_engine, real, settings
from tests.integration.runtime.conftest import SETTINGS
from tests.integration.runtime.engines import SecondEngine
from tests.integration.runtime.inside import shell
from tests.launches import eventually, launch, replica, service

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

Check = Callable[[DockerRuntime, GpuSight], Awaitable[None]]


@pytest.fixture(scope="module")
def cdi(hello_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondEngine]:
    """Debian 13's engine with CDI turned on."""
    with cdi_engine(tmp_path_factory.mktemp("cdi")) as engine:
        yield engine


def on(wanted: DockerSettings, check: Check) -> None:
    async def entered() -> None:
        engine = Engine(wanted)
        async with DockerRuntime(wanted, SystemClock()) as runtime:
            try:
                await check(runtime, GpuSight(engine, SystemClock()))
            finally:
                for workload in await runtime.list():
                    await runtime.stop(workload.lease, 0)
                await engine.close()

    asyncio.run(entered())


async def begun(runtime: DockerRuntime, wanted: Launch, *gpus: str) -> Watched:
    """``wanted`` running, as a container that should have ``gpus``."""
    (container,) = (await runtime.start(wanted)).containers
    uuids = tuple(GpuUuid(uuid) for uuid in gpus)
    return Watched(id=container.id, gpus=uuids, is_simulated=wanted.simulated_gpus)


def deny(container: str, device: str) -> None:
    """As a reload of the service manager does: take it away from that container's own cgroup."""
    place = Path(f"/sys/fs/cgroup/devices/docker/{container}/devices.deny")
    if not place.exists():
        pytest.skip("devices are denied by hand only in the first version of cgroups")
    place.write_text(f"c {device} rwm")


def test_it_sees_all_of_its_cards_and_no_others(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        one, both = await begun(runtime, real(ONE), ONE), await begun(runtime, real(ONE, TWO), ONE, TWO)
        assert await sight.prove(one) is None
        assert await sight.prove(both) is None
        assert await sight.watch([one, both]) == {}

    on(settings(cdi), check)


def test_a_card_that_was_not_attached_is_missed_by_name(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        one = await begun(runtime, real(ONE), ONE, TWO)
        with pytest.raises(Temporary, match=f"{TWO} is not visible inside: there is no device /dev/card5"):
            await sight.prove(one)

    on(settings(cdi), check)


def test_a_card_of_others_is_noticed(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        both = await begun(runtime, real(ONE, TWO), ONE)
        with pytest.raises(Temporary, match="a GPU of others is visible inside: /dev/card5"):
            await sight.prove(both)
        assert list(await sight.watch([both])) == [both.id]

    on(settings(cdi), check)


def test_a_device_that_is_taken_away_from_a_running_container_is_noticed(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        one, both = await begun(runtime, real(ONE), ONE), await begun(runtime, real(ONE, TWO), ONE, TWO)
        assert await sight.watch([one, both]) == {}
        deny(both.id, "1:7")
        problems = await sight.watch([one, both])
        assert problems == {both.id: f"{ONE} is not visible inside: /dev/card7: Operation not permitted"}

    on(settings(cdi), check)


def test_a_container_that_lost_its_card_is_said_to_be_ill_and_a_new_one_is_not(cdi: SecondEngine) -> None:
    wanted = settings(cdi)

    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        engine = Engine(wanted)
        looks = Looks(engine, SystemClock())
        watch = GpuWatch(engine, SystemClock(), sight, looks)
        lease = real(ONE)
        one = await begun(runtime, lease, ONE)
        await watch.look()
        assert not looks.is_spoilt(one.id)
        deny(one.id, "1:7")
        await watch.look()
        found = await engine.call("finding", lambda api: containers.find(api, {"gp.lease": str(lease.lease)}))
        (ill,) = (await looks.at(found)).values()
        assert (ill.cause, ill.state) == (ExitCause.GPU_LOST, ContainerState.RUNNING)
        assert ONE in (ill.problem or "")
        await runtime.stop(lease.lease, 0)
        again = await begun(runtime, lease, ONE)
        await watch.look()
        assert not looks.is_spoilt(again.id)
        await engine.close()

    on(wanted, check)


def test_a_start_fails_and_leaves_nothing_running_when_a_card_is_not_seen(
    cdi: SecondEngine, tmp_path: Path
) -> None:
    """The spec names a node that is no device once it is inside: the engine does not mind."""
    specs = Path(json.loads((cdi.root / "daemon.json").read_text())["cdi-spec-dirs"][0])
    edits = {"mounts": [{"hostPath": "/etc/hostname", "containerPath": "/dev/card9", "options": ["bind"]}]}
    broken = {
        "name": "GPU-broken",
        "containerEdits": edits | {"deviceNodes": [{"path": "/dev/card9", "hostPath": "/dev/null"}]},
    }
    draft = specs / "draft"
    draft.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [broken]}))
    draft.rename(specs / "broken.json")

    async def check(runtime: DockerRuntime, _: GpuSight) -> None:
        wanted = real("GPU-broken")

        async def why() -> str:
            try:
                await runtime.start(wanted)
            except Temporary as failure:
                return failure.what
            return "it started"

        # The engine learns of the new spec when the kernel tells it to.
        told = await eventually(why, lambda text: "CDI" not in text)
        assert told == "GPU-broken is not visible inside: there is no device /dev/card9"
        (workload,) = await runtime.list()
        assert [each.state for each in workload.containers] == [ContainerState.EXITED]

    try:
        on(settings(cdi), check)
    finally:
        (specs / "broken.json").unlink()


def test_a_tenant_that_hides_its_card_deceives_only_itself(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        wanted = real(ONE)
        one = await begun(runtime, wanted, ONE)
        for instead in ("true", "mknod /dev/card7 p", "ln -s /dev/null /dev/card7", "mkdir /dev/card7"):
            await shell(runtime, wanted.lease, f"rm -rf /dev/card7; {instead}")
            assert await sight.watch([one]) == {}
            assert (await sight.look([one]))[one.id].absent is not None

    on(settings(cdi), check)


def test_cards_of_ours_that_are_simulated_have_a_node_too(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        mine = await begun(runtime, launch(replica(service(), gpus=("SIM-0",))), "SIM-0")
        assert await sight.prove(mine) is None
        other = Watched(id=mine.id, gpus=(GpuUuid("SIM-1"),), is_simulated=True)
        told = (await sight.look([other]))[mine.id]
        assert told.absent == "SIM-1 is not visible inside: there is no device /dev/simulated-gpu/SIM-1"
        assert told.foreign == "a GPU of others is visible inside: /dev/simulated-gpu/SIM-0"

    on(settings(cdi, simulated_gpus=True), check)


def test_without_cdi_a_simulated_card_is_a_word_in_the_environment(hello_image: str) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        mine = await begun(runtime, launch(replica(service(), gpus=("SIM-0",))), "SIM-0")
        assert await sight.prove(mine) is None
        other = Watched(id=mine.id, gpus=(GpuUuid("SIM-1"),), is_simulated=True)
        with pytest.raises(Temporary, match="SIM-1 is not named"):
            await sight.prove(other)

    on(SETTINGS, check)


def test_what_does_not_run_is_not_judged(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        wanted = real(ONE)
        one = await begun(runtime, wanted, ONE)
        assert await sight.watch([one]) == {}
        await runtime.stop(wanted.lease, 0)
        assert await sight.look([one]) == {}
        assert await sight.prove(one) is None

    on(settings(cdi), check)


def test_nothing_is_concluded_where_nothing_is_known(cdi: SecondEngine) -> None:
    async def check(runtime: DockerRuntime, sight: GpuSight) -> None:
        strange = await begun(runtime, real(ONE), "GPU-unknown")
        unproven = await sight.prove(strange)
        assert unproven == "neither a CDI spec nor the driver tells the device nodes of GPU-unknown"
        assert await sight.watch([strange]) == {}

    on(settings(cdi), check)
