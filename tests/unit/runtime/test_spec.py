"""The container configuration: what a tenant can reach with a manifest, and what it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider import sdl
from provider.adapters.runtime import naming, seccomp
from provider.adapters.runtime.gpus import Attachment
from provider.adapters.runtime.settings import DockerSettings
from provider.adapters.runtime.spec import Ground, container_config, environment, spec_hash
from provider.domain.idle import idle_id
from provider.domain.ids import GpuUuid, ProviderId
from provider.domain.manifest import Credentials, MountPoint, ServiceParams
from provider.domain.resources import MIB, Attribute, Volume
from provider.domain.secret import Secret
from provider.domain.workload import Launch
from tests.launches import launch, replica, service

SETTINGS = DockerSettings(provider=ProviderId("p1"))
GROUND = Ground(settings=SETTINGS, attachment=Attachment())
HOST_KEYS = """
    CapAdd CapDrop CgroupnsMode CpuShares CpusetCpus CpusetMems DeviceRequests Dns Init IpcMode LogConfig
    MaskedPaths Memory MemorySwap MemorySwappiness Mounts NanoCpus NetworkMode OomScoreAdj PidsLimit
    PortBindings Privileged ReadonlyPaths RestartPolicy Runtime SecurityOpt ShmSize Ulimits
"""

texts = st.text(max_size=30)


def host(wanted: Launch, ground: Ground = GROUND) -> dict[str, object]:
    config = container_config(wanted, wanted.replicas[0], ground)["HostConfig"]
    assert isinstance(config, dict)
    return config


def env(wanted: Launch, ground: Ground = GROUND) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in environment(wanted, wanted.replicas[0], ground))


@given(
    command=st.lists(texts), env=st.lists(texts), mount=texts, size=st.integers(min_value=0, max_value=2**50)
)
def test_whatever_a_tenant_writes_the_host_stays_out_of_reach(
    command: list[str], env: list[str], mount: str, size: int
) -> None:
    asked = service(
        command=tuple(command),
        env=tuple(env),
        params=ServiceParams(storage=(MountPoint(name="d", mount=mount),)),
    )
    asked = replace(asked, resources=replace(asked.resources, storage=(Volume(name="d", size_bytes=size),)))
    wanted = launch(replica(asked))

    config = host(wanted)

    assert sorted(config) == HOST_KEYS.split()
    assert (config["Privileged"], config["CapDrop"], config["IpcMode"]) == (False, ["ALL"], "private")
    assert config["DeviceRequests"] == []
    mounts = config["Mounts"]
    assert isinstance(mounts, list)
    assert all(each["Type"] == "volume" and str(each["Source"]).startswith("gp-") for each in mounts)


@given(
    names=st.lists(st.sampled_from(["NVIDIA_VISIBLE_DEVICES", "NVIDIA_X", "PROVIDER_LEASE", "PROVIDER_"])),
    text=texts,
)
def test_reserved_environment_is_ours(names: list[str], text: str) -> None:
    wanted = launch(replica(service(env=tuple(f"{name}={text}" for name in names))))

    told = env(wanted)

    assert told["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert told["PROVIDER_LEASE"] == str(wanted.lease)
    assert not {"NVIDIA_X", "PROVIDER_"} & set(told)


def test_environment_of_the_market_gives_way_to_the_tenants() -> None:
    wanted = launch(replica(service(env=("AKASH_OWNER=me", "EMPTY=", "BARE", "A=b=c"))))

    told = env(wanted)

    assert (told["AKASH_OWNER"], told["EMPTY"], told["BARE"], told["A"]) == ("me", "", "", "b=c")
    assert told["AKASH_PROVIDER"] == "p1"
    assert "AKASH_CLUSTER_PUBLIC_HOSTNAME" not in told
    ground = replace(GROUND, settings=replace(SETTINGS, public_hostname="gpu.example"))
    assert env(wanted, ground)["AKASH_CLUSTER_PUBLIC_HOSTNAME"] == "gpu.example"


def test_an_idle_job_is_fenced_in_like_a_tenants_and_stands_back() -> None:
    """Its cores and its memory are for sale: it gets what no lease wants, and is ended before any."""
    tenants = launch()
    idle = replace(tenants, lease=idle_id(ProviderId("p1"), GpuUuid("GPU-1")))

    differ = {"CpuShares": 2, "OomScoreAdj": 1000, "NetworkMode": f"gp-{idle.lease.key}"}
    assert host(idle) == host(tenants) | differ | {"Mounts": host(idle)["Mounts"]}
    told = env(idle)
    assert "PROVIDER_LEASE" not in told
    assert not [name for name in told if name.startswith("AKASH_")]
    labels = container_config(idle, idle.replicas[0], GROUND)["Labels"]
    assert isinstance(labels, dict)
    assert naming.lease_of(labels) == idle.lease


def test_the_hash_is_of_what_was_asked_and_not_of_how_it_is_paid_or_pulled() -> None:
    wanted = launch()
    first = wanted.replicas[0]
    login = Credentials(host="h", username="u", password=Secret("p"))

    same = [replace(first, service=replace(first.service, credentials=login))]
    other = [
        replace(first, service=replace(first.service, image="x:1")),
        replace(first, service=replace(first.service, env=("A=1",))),
        replace(first, service=replace(first.service, args=())),
        replica(first.service, gpus=("GPU-1",)),
        replica(first.service, host_port=30000),
    ]

    assert {spec_hash(wanted, each) for each in same} == {spec_hash(wanted, first)}
    assert len({spec_hash(wanted, each) for each in [first, *other]}) == 1 + len(other)
    assert spec_hash(wanted, first) == spec_hash(replace(wanted, generation=7), first)


def test_memory_is_the_limit_of_everything_and_a_ram_volume_comes_on_top() -> None:
    ram = Volume(name="shm", size_bytes=8 * MIB, attributes=(Attribute(key="class", value="ram"),))
    asked = service(params=ServiceParams(storage=(MountPoint(name="shm", mount="/dev/shm"),)))
    asked = replace(asked, resources=replace(asked.resources, storage=(ram,)))

    config = host(launch(replica(asked)))

    assert (config["Memory"], config["MemorySwap"]) == (72 * MIB, 72 * MIB)
    assert (config["ShmSize"], config["Mounts"]) == (8 * MIB, [])


def test_a_ram_volume_elsewhere_is_a_mount_and_leaves_shm_as_it_was() -> None:
    ram = Volume(name="cache", size_bytes=8 * MIB, attributes=(Attribute(key="class", value="ram"),))
    asked = service(params=ServiceParams(storage=(MountPoint(name="cache", mount="/cache"),)))
    asked = replace(asked, resources=replace(asked.resources, storage=(ram,)))

    config = host(launch(replica(asked)))

    assert config["ShmSize"] == 64 * MIB
    assert [each["Target"] for each in config["Mounts"]] == ["/cache"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("has_apparmor", [True, False])
def test_every_container_is_confined(has_apparmor: bool) -> None:
    options = host(launch(), replace(GROUND, has_apparmor=has_apparmor))["SecurityOpt"]

    assert isinstance(options, list)
    assert options[:2] == ["no-new-privileges:true", f"seccomp={seccomp.profile()}"]
    assert options[2:] == (["apparmor=docker-default"] if has_apparmor else [])


def test_an_images_volumes_are_covered_unless_the_tenant_covers_them() -> None:
    asked = service(params=ServiceParams(storage=(MountPoint(name="d", mount="/data/", read_only=True),)))
    asked = replace(asked, resources=replace(asked.resources, storage=(Volume(name="d", size_bytes=1),)))
    wanted = launch(replica(asked))

    mounts = host(wanted, replace(GROUND, image_volumes=("/data", "/more")))["Mounts"]

    assert isinstance(mounts, list)
    assert [(each["Target"], each.get("ReadOnly", False)) for each in mounts] == [
        ("/data/", True),
        ("/more", False),
    ]
    assert len({each["Source"] for each in mounts}) == 2


def test_the_writable_layer_is_limited_only_where_the_engine_can() -> None:
    wanted = launch()

    assert "StorageOpt" not in host(wanted)
    assert host(wanted, replace(GROUND, limits_storage=True))["StorageOpt"] == {"size": str(64 * MIB)}


def test_ports_are_published_where_the_launch_says() -> None:
    wanted = launch(replica(service(), host_port=31000))

    config = container_config(wanted, wanted.replicas[0], GROUND)

    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert host(wanted)["PortBindings"] == {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "31000"}]}


MANIFESTS = sorted((Path(__file__).parents[3] / "manifests").glob("*.yaml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_example_manifest_becomes_containers(path: Path) -> None:
    """Every service of it: its mounts are there, RAM volumes are bounded, what runs is what the file says."""
    (group,) = sdl.read(path.read_text()).manifest.groups
    for each in group.services:
        wanted = launch(replica(each))
        config = container_config(wanted, wanted.replicas[0], GROUND)
        host: Any = config["HostConfig"]
        asked = (each.params.storage if each.params else None) or ()
        shown = {point.mount for point in asked} - {"/dev/shm"}
        assert {mount["Target"] for mount in host["Mounts"]} == shown
        ram = {volume.name: volume.size_bytes for volume in each.resources.storage if volume.is_ram}
        bounds = {m["Target"]: m["TmpfsOptions"]["SizeBytes"] for m in host["Mounts"] if m["Type"] == "tmpfs"}
        if any(point.mount == "/dev/shm" for point in asked):
            bounds["/dev/shm"] = host["ShmSize"]
        assert bounds == {point.mount: ram[point.name] for point in asked if point.name in ram}
        assert host["Memory"] == each.resources.memory_bytes + sum(ram.values())
        assert config["Cmd"] == (None if each.args is None else list(each.args))


def test_more_cores_than_there_are_is_all_of_them_at_the_weight_that_is_rented() -> None:
    asked = service(resources=replace(service().resources, cpu_millis=12_000))

    config = host(launch(replica(asked)), replace(GROUND, cpus=2))

    assert (config["NanoCpus"], config["CpuShares"]) == (2_000_000_000, 12_288)
    assert host(launch(replica(asked)))["NanoCpus"] == 12_000_000_000


@pytest.mark.parametrize(("rented_millis", "weight"), [(1, 2), (500, 512), (1_000_000, 262_144)])
def test_a_weight_is_what_is_rented_within_what_the_kernel_takes(rented_millis: int, weight: int) -> None:
    asked = service(resources=replace(service().resources, cpu_millis=rented_millis))

    assert host(launch(replica(asked)))["CpuShares"] == weight


def test_a_lease_that_is_held_to_a_numa_node_is_so_in_every_container() -> None:
    wanted = launch()
    assert (host(wanted)["CpusetCpus"], host(wanted)["CpusetMems"]) == ("", "")
    near = replace(wanted, cpus="0-15,32-47", memory_nodes="1")
    assert (host(near)["CpusetCpus"], host(near)["CpusetMems"]) == ("0-15,32-47", "1")
