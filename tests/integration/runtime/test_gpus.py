"""GPUs on real engines: NVIDIA's road with a recording hook, CDI with the devices of specs that we write."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker.errors
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime
from provider.domain.errors import Permanent, Temporary
from provider.domain.workload import GpuAttachment
from tests.integration.runtime.cards import ONE, TWO, cdi_engine, real, settings
from tests.integration.runtime.engines import SecondEngine, machines_engine, recording_hook, second_engine
from tests.integration.runtime.inside import shell
from tests.launches import IMAGE, eventually, launch, replica, service

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def hooked(
    hello_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SecondEngine, Path, Path]]:
    """The machine's engine once more, with a hook that writes down what it is asked; hook; records."""
    hook, record = recording_hook(tmp_path_factory.mktemp("hook"))
    with second_engine(machines_engine(), hooks=hook.parent) as engine:
        engine.load(IMAGE)
        yield engine, hook, record


@pytest.fixture(scope="module")
def cdi(hello_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SecondEngine, Path]]:
    """Debian 13's engine with CDI turned on, and the directory of its specs."""
    specs = tmp_path_factory.mktemp("cdi")
    with cdi_engine(specs) as engine:
        yield engine, specs


def test_the_hook_is_asked_for_exactly_the_leases_gpus(hooked: tuple[SecondEngine, Path, Path]) -> None:
    engine, hook, record = hooked

    async def check() -> None:
        async with DockerRuntime(settings(engine, nvidia_hook=str(hook)), SystemClock()) as runtime:
            capabilities = await runtime.capabilities()
            assert capabilities.gpu_attachment is GpuAttachment.DEVICE_REQUEST
            forged = ("NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=all")
            wanted = real(ONE, TWO, env=forged)
            workload = await runtime.start(wanted)
            await runtime.stop(wanted.lease, 0)

        given = json.loads((record / f"{workload.containers[0].id}.json").read_text())["process"]["env"]
        told = dict(line.partition("=")[::2] for line in given)
        assert told["NVIDIA_VISIBLE_DEVICES"] == f"{ONE},{TWO}"
        assert set(told["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {"compute", "utility"}
        assert [line for line in given if line.startswith("NVIDIA_VISIBLE_DEVICES=")] == [
            f"NVIDIA_VISIBLE_DEVICES={ONE},{TWO}"
        ]

    asyncio.run(check())


def test_without_gpus_no_hook_runs(hooked: tuple[SecondEngine, Path, Path]) -> None:
    engine, hook, record = hooked

    async def check() -> None:
        async with DockerRuntime(settings(engine, nvidia_hook=str(hook)), SystemClock()) as runtime:
            wanted = real()
            workload = await runtime.start(wanted)
            told = await shell(runtime, wanted.lease, "echo $NVIDIA_VISIBLE_DEVICES")
            await runtime.stop(wanted.lease, 0)
        assert told == "void"
        assert not (record / f"{workload.containers[0].id}.json").exists()

    asyncio.run(check())


def test_an_engine_with_no_road_refuses_with_a_reason(hooked: tuple[SecondEngine, Path, Path]) -> None:
    engine, _, _ = hooked

    async def check() -> None:
        async with DockerRuntime(settings(engine), SystemClock()) as runtime:
            capabilities = await runtime.capabilities()
            assert capabilities.gpu_attachment is GpuAttachment.NONE
            assert "neither CDI" in (capabilities.gpu_problem or "")
            wanted = real(ONE)
            with pytest.raises(Permanent, match=ONE):
                await runtime.start(wanted)
            await runtime.stop(wanted.lease, 0)

    asyncio.run(check())


def test_cdi_gives_exactly_the_leases_gpus(cdi: tuple[SecondEngine, Path]) -> None:
    engine, _ = cdi

    async def check() -> None:
        async with DockerRuntime(settings(engine), SystemClock()) as runtime:
            capabilities = await runtime.capabilities()
            assert capabilities.engine.startswith("docker 26.")
            assert capabilities.gpu_attachment is GpuAttachment.CDI
            one, both, none = real(ONE, env=("NVIDIA_VISIBLE_DEVICES=all",)), real(ONE, TWO), real()
            seen = {}
            for name, wanted in (("one", one), ("both", both), ("none", none)):
                await runtime.start(wanted)
                script = "ls /dev | grep card; echo $NVIDIA_VISIBLE_DEVICES $PROVIDER_GPUS"
                seen[name] = (await shell(runtime, wanted.lease, script)).split()
                await runtime.stop(wanted.lease, 0)

            assert seen == {
                "one": ["card7", "void", ONE],
                "both": ["card5", "card7", "void", f"{ONE},{TWO}"],
                "none": ["void"],
            }

    asyncio.run(check())


def test_a_card_of_another_lease_cannot_be_made_from_inside(cdi: tuple[SecondEngine, Path]) -> None:
    engine, _ = cdi

    async def check() -> None:
        async with DockerRuntime(settings(engine), SystemClock()) as runtime:
            wanted = real(ONE)
            await runtime.start(wanted)
            tried = await shell(runtime, wanted.lease, "mknod /tmp/card c 195 1 2>&1; cat /tmp/card 2>&1")
            await runtime.stop(wanted.lease, 0)
            assert "Operation not permitted" in tried

    asyncio.run(check())


def test_a_card_that_no_spec_names_is_refused_with_a_reason(cdi: tuple[SecondEngine, Path]) -> None:
    engine, _ = cdi

    async def check() -> None:
        async with DockerRuntime(settings(engine), SystemClock()) as runtime:
            wanted = real("GPU-unknown")
            with pytest.raises(Permanent, match="GPU-unknown"):
                await runtime.start(wanted)
            await runtime.stop(wanted.lease, 0)

    asyncio.run(check())


def test_a_spec_that_went_away_is_temporary(cdi: tuple[SecondEngine, Path]) -> None:
    engine, specs = cdi
    place = specs / "nvidia.json"
    text = place.read_text()

    async def check() -> None:
        async with DockerRuntime(settings(engine), SystemClock()) as runtime:
            wanted = real(ONE)
            first = await runtime.start(wanted)

            async def refused() -> str:
                """Why it does not start again; the engine looks at its specs when the kernel tells it to."""
                with engine.client() as client, suppress(docker.errors.APIError):
                    client.kill(first.containers[0].id)
                try:
                    await runtime.start(wanted)
                except Temporary as failure:
                    return failure.what
                return ""

            place.unlink()
            try:
                assert "CDI" in await eventually(refused, bool)
            finally:
                draft = specs / "draft"
                draft.write_text(text)
                draft.rename(place)
            await runtime.stop(wanted.lease, 0)

    asyncio.run(check())


def test_simulated_cards_come_through_a_spec_of_our_own(cdi: tuple[SecondEngine, Path]) -> None:
    engine, specs = cdi

    async def check() -> None:
        async with DockerRuntime(settings(engine, simulated_gpus=True), SystemClock()) as runtime:
            assert (await runtime.capabilities()).gpu_attachment is GpuAttachment.CDI
            mine, yours = (
                launch(replica(service(), gpus=("SIM-0",))),
                launch(replica(service(), gpus=("SIM-1",))),
            )
            await asyncio.gather(runtime.start(mine), runtime.start(yours))

            assert (
                await shell(runtime, mine.lease, "ls /dev/simulated-gpu; echo $PROVIDER_SIMULATED_GPUS")
                == "SIM-0\nSIM-0"
            )
            assert await shell(runtime, yours.lease, "ls /dev/simulated-gpu") == "SIM-1"
            for wanted in (mine, yours):
                await runtime.stop(wanted.lease, 0)

    asyncio.run(check())
    assert [each.name for each in specs.iterdir()] == ["nvidia.json"]
