"""A hostile tenant, from inside: what it tries against the host, against cards of others and against us.

Each attack is bounded in count and size and does no harm where it succeeds; its neighbour, another lease
beside it, must go on. Attacks over the network are ``test_egress``'s, those on disks ``test_storage``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import docker
import pytest

from provider.adapters.clock import SystemClock
from provider.adapters.runtime import DockerRuntime, naming
from provider.domain.errors import Permanent, ProviderError
from provider.domain.ids import ProviderId
from provider.domain.manifest import MountPoint, ServiceParams
from provider.domain.resources import MIB, Resources, Volume
from provider.domain.workload import Launch
from provider.ports import ExecRequest
from tests.integration.runtime import probe
from tests.integration.runtime.cards import ONE, TWO, cdi_engine, real, settings
from tests.integration.runtime.engines import SecondEngine
from tests.integration.runtime.inside import changed_image, shell
from tests.launches import IMAGE, eventually, launch, replica, service, take

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

Check = Callable[[DockerRuntime, docker.APIClient], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture(scope="module")
def engine(hello_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondEngine]:
    """Under attack is an engine in a network namespace of its own."""
    with cdi_engine(tmp_path_factory.mktemp("cdi")) as second:
        yield second


@pytest.fixture(scope="module")
def neighbour(engine: SecondEngine) -> Iterator[str]:
    """The container of another lease, which no attack may reach."""
    theirs = settings(engine, provider=ProviderId("neighbours"))
    wanted = launch()

    async def begin() -> str:
        async with DockerRuntime(theirs, SystemClock()) as runtime:
            return (await runtime.start(wanted)).containers[0].id

    async def end() -> None:
        async with DockerRuntime(theirs, SystemClock()) as runtime:
            await runtime.stop(wanted.lease, 0)

    yield asyncio.run(begin())
    asyncio.run(end())


@pytest.fixture
def attack(engine: SecondEngine, neighbour: str) -> Run:
    """Runs an attack beside a neighbour, who must be as well after it as before."""

    def run(check: Check, **changes: object) -> None:
        async def entered() -> None:
            async with DockerRuntime(settings(engine, **changes), SystemClock()) as runtime:
                try:
                    with engine.client() as client:
                        await check(runtime, client)
                finally:
                    for workload in await runtime.list():
                        await runtime.stop(workload.lease, 0)

        with engine.client() as client:
            before = client.inspect_container(neighbour)["State"]
            asyncio.run(entered())
            after = client.inspect_container(neighbour)["State"]
            assert (after["Running"], after["Pid"], after["StartedAt"]) == (
                True,
                before["Pid"],
                before["StartedAt"],
            )
            said = client.exec_create(neighbour, ["echo", "well"])["Id"]
            assert client.exec_start(said) == b"well\n"

    return run


ESCAPES = {
    "another card": "mknod /tmp/card c 195 1",
    "a device of the host": "mknod /tmp/disk b 254 0",
    "the host's memory": "cat /dev/mem",
    "a kernel setting": "echo 1 > /proc/sys/vm/drop_caches",
    "the last resort key": "echo h > /proc/sysrq-trigger",
    "the core pattern": "echo '|/tmp/evil' > /proc/sys/kernel/core_pattern",
    "a module's loader": "echo /tmp/evil > /proc/sys/kernel/modprobe",
    "a cgroup of its own": "mkdir /sys/fs/cgroup/devices/mine /sys/fs/cgroup/mine",
    "more devices": "echo a > /sys/fs/cgroup/devices/devices.allow",
    "a device's power": "sh -c 'for each in /sys/class/net/*/mtu; do echo 1000 > $each || exit 1; done'",
    "a file system": "mount -t tmpfs none /mnt",
    "the host's file system": "mount --bind /proc/1/root /mnt",
    "the engine's socket": "ls /var/run/docker.sock /run/docker.sock",
    "kernel memory": "head -c 1 /proc/kcore | grep .",
    "a remount": "mount -o remount,rw /proc/sys",
}
"""Each must fail; ``HARMLESS``, in the same way, must not."""
HARMLESS = ("a file of its own", "touch /tmp/mine")


def test_nothing_leads_out_of_the_container(attack: Run) -> None:
    script = "; ".join(
        f'({words}) >/dev/null 2>&1 && echo "{name}"' for name, words in (*ESCAPES.items(), HARMLESS)
    )

    async def check(runtime: DockerRuntime, _client: docker.APIClient) -> None:
        wanted = launch()
        await runtime.start(wanted)
        assert await shell(runtime, wanted.lease, f"{script}; true") == HARMLESS[0]
        # Another process namespace: its first process is our init, and nobody of the host is there to signal.
        seen = await shell(runtime, wanted.lease, "cat /proc/1/comm; ls /proc | grep -c '^[0-9]*$'")
        first, count = seen.split()
        assert first in {"docker-init", "tini"}
        assert int(count) < 10

    attack(check)


def test_a_set_user_id_program_raises_nobody(attack: Run, tmp_path: Path) -> None:
    program = probe.build(tmp_path)

    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        wanted = launch()
        workload = await runtime.start(wanted)
        probe.put(client, workload.containers[0].id, program)
        mode = await shell(runtime, wanted.lease, f"stat -c %a:%u {probe.PLACE}")
        assert mode == "4755:0"
        assert await shell(runtime, wanted.lease, f"{probe.PLACE} user {probe.PLACE}") == "1000"

    attack(check)


def test_cards_of_others_stay_out_of_reach(attack: Run, engine: SecondEngine) -> None:
    """By environment, by image, and by making the node: the second card is somebody else's."""

    async def check(runtime: DockerRuntime, _client: docker.APIClient) -> None:
        env = ("NVIDIA_VISIBLE_DEVICES=all", f"PROVIDER_GPUS={TWO}", "NVIDIA_DRIVER_CAPABILITIES=all")
        mine, yours = real(ONE, env=env), real(TWO)
        image = mine.replicas[0].service
        assert image.image == IMAGE
        await asyncio.gather(runtime.start(mine), runtime.start(yours))
        script = "ls /dev | grep card; echo $PROVIDER_GPUS; mknod /dev/card5 c 1 5 2>/dev/null && echo made"
        assert (await shell(runtime, mine.lease, script)).split() == ["card7", ONE]

    attack(check)


def test_a_fork_bomb_ends_at_its_own_limit(attack: Run) -> None:
    bomb = "(i=0; while [ $i -lt 300 ]; do sleep 60 & i=$((i+1)); done) 2>/dev/null &"

    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        wanted = launch(replica(service(script=f"{bomb} exec sleep 3600")))
        workload = await runtime.start(wanted)

        async def processes() -> int:
            listed = client.top(workload.containers[0].id)["Processes"] or []
            return len(listed)

        await eventually(processes, lambda count: count >= 60)
        assert await processes() <= 64

    attack(check, pids_limit=64)


def test_memory_runs_out_for_itself_alone(attack: Run) -> None:
    async def check(runtime: DockerRuntime, _client: docker.APIClient) -> None:
        wanted = launch()
        await runtime.start(wanted)
        greed = "dd if=/dev/zero of=/dev/null bs=200M count=1 && echo got it"
        assert "got it" not in await shell(runtime, wanted.lease, greed)
        # What it keeps in shared memory is its own memory too.
        await runtime.start(wanted)
        hoard = "head -c 200m /dev/zero > /dev/shm/x && echo got it"
        assert "got it" not in await shell(runtime, wanted.lease, hoard)

    attack(check)


def test_a_flood_of_log_lines_is_bounded_on_disk(attack: Run, engine: SecondEngine) -> None:
    flood = "yes 'a line of a flood that nobody asked for' | head -c 12000000; touch /tmp/done; sleep 3600"

    async def check(runtime: DockerRuntime, _client: docker.APIClient) -> None:
        wanted = launch(replica(service(script=flood)))
        workload = await runtime.start(wanted)
        await eventually(lambda: shell(runtime, wanted.lease, "ls /tmp"), lambda told: "done" in told)
        place = engine.root / "data/containers" / workload.containers[0].id
        kept = sum(each.stat().st_size for each in place.glob("*-json.log*"))
        assert 0 < kept < 4 * MIB

    attack(check, log_file_bytes=MIB, log_files=3)


def test_output_that_nobody_reads_stays_where_it_is(attack: Run) -> None:
    """100 MiB are printed and not read: the writer waits, our memory does not grow by them."""
    script = "head -c 104857600 /dev/zero & echo $! > /tmp/writer; wait; touch /tmp/done"

    async def check(runtime: DockerRuntime, _client: docker.APIClient) -> None:
        wanted = launch()
        await runtime.start(wanted)
        before = _resident_bytes()
        request = ExecRequest(service="web", argv=("sh", "-c", script))
        async with await runtime.exec(wanted.lease, request) as session:
            await take(session.output(), 1)
            last = ""

            async def written() -> bool:
                """Whether it writes no more than at the look before."""
                nonlocal last
                look = "grep wchar /proc/$(cat /tmp/writer)/io; cat /proc/$(cat /tmp/writer)/wchan"
                told, last = last, await shell(runtime, wanted.lease, look)
                return bool(last) and told == last

            await eventually(written, bool)
            assert "done" not in await shell(runtime, wanted.lease, "ls /tmp")
            assert _resident_bytes() - before < 32 * MIB

    attack(check)


def test_an_image_that_carries_our_labels_passes_for_nobody(attack: Run, engine: SecondEngine) -> None:
    forged = launch().lease
    labels = f"LABEL {naming.LEASE}={forged} {naming.PROVIDER}=others {naming.GPUS}={ONE} gp.more=1"

    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        with changed_image(client, labels) as image:
            wanted = launch(replica(service(image=image)))
            workload = await runtime.start(wanted)
            told = client.inspect_container(workload.containers[0].id)["Config"]["Labels"]
            assert (told[naming.LEASE], told[naming.PROVIDER]) == (str(wanted.lease), "gpus")
            assert told[naming.GPUS] == ""
            assert forged not in {each.lease for each in await runtime.list()}
            await runtime.stop(wanted.lease, 0)

    attack(check)


def test_two_thousand_sockets_are_its_own_and_a_million_are_not_to_be_had(
    attack: Run, tmp_path: Path
) -> None:
    program = probe.build(tmp_path)

    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        wanted = launch()
        workload = await runtime.start(wanted)
        probe.put(client, workload.containers[0].id, program)

        async def opened(count: int, port: int) -> int:
            request = ExecRequest(service="web", argv=(probe.PLACE, "sockets", str(count), str(port)))
            async with await runtime.exec(wanted.lease, request) as session:
                (first,) = await take(session.output(), 1)
                return int(first.data)

        assert await opened(2_000, 7001) == 2_000
        assert 2_000 < await opened(1_000_000, 7002) < 10_000  # two of each, of 16,384 files

    attack(check)


TRICKS = {
    "a command that cannot be": 'ENTRYPOINT ["/nonexistent"]',
    "a health check that kills": "HEALTHCHECK --interval=1s CMD kill -9 1; touch /tmp/checked",
    "somebody else's user": "USER 65534:65534",
    "a signal that is ignored": "STOPSIGNAL SIGCONT",
    "a folder of the kernel's": "WORKDIR /proc/self",
    "ports of the host": "EXPOSE 22 8443 31000-31999",
    "what to load": "ENV LD_PRELOAD=/tmp/evil.so NVIDIA_VISIBLE_DEVICES=all",
}
"""Instructions of an image, none of which changes what a container with a command of its own is."""


@pytest.mark.parametrize("instruction", TRICKS.values(), ids=TRICKS)
def test_an_images_instructions_change_nothing_outside(attack: Run, instruction: str) -> None:
    async def check(runtime: DockerRuntime, client: docker.APIClient) -> None:
        with changed_image(client, instruction) as image:
            wanted = launch(replica(service(image=image)))
            workload = await runtime.start(wanted)
            told = client.inspect_container(workload.containers[0].id)
            assert told["State"]["Running"]
            assert "Health" not in told["State"]
            assert told["HostConfig"]["PortBindings"] == {}
            assert not any(told["NetworkSettings"]["Ports"].values())
            look = "cat /proc/1/comm; ls /tmp/checked 2>/dev/null; echo $NVIDIA_VISIBLE_DEVICES"
            first, *others = (await shell(runtime, wanted.lease, look)).split()
            assert first in {"docker-init", "tini"}
            assert others == ["void"]
            await runtime.stop(wanted.lease, 1)
            assert await runtime.list() == ()

    attack(check)


PLACES = ("/", "/proc", "/sys", "/dev", "../../etc", "/proc/self/exe", "/etc/passwd/x")


def test_a_volume_in_a_place_that_is_not_its_own_is_refused_or_harmless(attack: Run) -> None:
    def wants(mount: str) -> Launch:
        params = ServiceParams(storage=(MountPoint(name="data", mount=mount),))
        storage = (Volume(name="data", size_bytes=16 * MIB), Volume(name="default", size_bytes=64 * MIB))
        resources = Resources(id=1, cpu_millis=500, memory_bytes=64 * MIB, storage=storage)
        return launch(replica(service(params=params, resources=resources)))

    async def check(runtime: DockerRuntime, _client: docker.APIClient) -> None:
        async def outcome(mount: str) -> str:
            wanted = wants(mount)
            try:
                await runtime.start(wanted)
            except ProviderError:
                return "refused"
            look = "cat /proc/1/comm; echo 1 2>&1 > /proc/sys/vm/drop_caches && echo in"
            return (await shell(runtime, wanted.lease, look)).splitlines()[0]

        told = await asyncio.gather(*(outcome(each) for each in PLACES))
        assert set(told) <= {"refused", "docker-init", "tini"}
        assert told[:2] == ["refused", "refused"]

    attack(check)


def test_a_name_that_is_none_is_refused_and_leaves_nothing(attack: Run) -> None:
    async def check(runtime: DockerRuntime, _client: docker.APIClient) -> None:
        for name in ("../../evil", "a b", "web\nx"):
            wanted = launch(replica(service(name)))
            with pytest.raises(Permanent):
                await runtime.start(wanted)
            await runtime.stop(wanted.lease, 0)
        assert await runtime.list() == ()

    attack(check)


def _resident_bytes() -> int:
    (line,) = (
        each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS:")
    )
    return int(line.split()[1]) * 1024
