"""Names, references, errors and other facts that the Docker adapter reads or makes."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import docker.errors
import pytest
import requests

from provider.adapters.runtime import gpus, naming
from provider.adapters.runtime.containers import Found, described, instant
from provider.adapters.runtime.errors import engine_error, pull_error, refused
from provider.adapters.runtime.host import open_files_ceiling
from provider.adapters.runtime.networks import subnets
from provider.adapters.runtime.settings import DockerSettings
from provider.domain.errors import ConfigError, ImageUnavailable, Permanent, Temporary
from provider.domain.ids import GpuUuid, LeaseId, ProviderId
from provider.domain.workload import ContainerState, ExitCause, GpuAttachment

LEASE = LeaseId.parse("alice/1/1/1/p1")
SETTINGS = DockerSettings(provider=ProviderId("p1"), nvidia_hook="/nonexistent")


def test_names_come_from_the_lease_and_fit_the_kernel() -> None:
    assert naming.network_name(LEASE) == f"gp-{LEASE.key}"
    usual, *others = naming.bridges(LEASE)
    assert usual == naming.network_name(LEASE)
    assert {len(each) for each in (usual, *others)} == {15}
    assert len({usual, *others}) == 10
    assert naming.container_name(LEASE, "web", 1) == f"gp-{LEASE.key}-web-1"
    assert naming.volume_name(LEASE, "web", 0, "/data") != naming.volume_name(LEASE, "web", 0, "data")
    assert naming.lease_of(naming.lease_labels(ProviderId("p1"), LEASE)) == LEASE
    assert naming.lease_of({naming.LEASE: "garbled"}) is None
    assert naming.lease_of(None) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", ImageUnavailable),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            ImageUnavailable,
        ),
        ("Get https://r/v2/: unauthorized: authentication required", ImageUnavailable),
        ("no basic auth credentials", ImageUnavailable),
        ("no matching manifest for linux/amd64 in the manifest list entries", ImageUnavailable),
        ("Get https://r/v2/: dial tcp: lookup r on 1.1.1.1:53: no such host", Temporary),
        ("Get http://127.0.0.1:9/v2/: dial tcp 127.0.0.1:9: connect: connection refused", Temporary),
        ("toomanyrequests: You have reached your pull rate limit.", Temporary),
        ("write /var/lib/docker/tmp/x: no space left on device", Temporary),
        ("something that no table knows", Temporary),
    ],
)
def test_failures_of_pulls(text: str, kind: type[Exception]) -> None:
    assert type(pull_error(text, "x:1")) is kind


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (500, 'could not select device driver "nvidia" with capabilities: [[gpu]]', Permanent),
        (500, "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=x", Temporary),
        (
            500,
            "driver failed programming external connectivity: Bind for 0.0.0.0:80: port is already allocated",
            Temporary,
        ),
        (400, 'exec: "x": executable file not found in $PATH: unknown', Permanent),
        (400, "invalid something", Permanent),
        (400, "no space left on device", Temporary),
        (500, "something that no table knows", Temporary),
        (409, "conflict", Temporary),
    ],
)
def test_refusals_of_the_engine(status: int, text: str, kind: type[Exception]) -> None:
    assert type(refused(status, text, "starting")) is kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "is away"),
        (PermissionError(13, "Permission denied"), "not permitted"),
        (TimeoutError(), "did not answer in time"),
        (requests.exceptions.ConnectionError("Read timed out"), "did not answer in time"),
        (EOFError("the engine hung up"), "is away"),
        (docker.errors.DockerException("whatever"), "is away"),
    ],
)
def test_an_engine_that_is_away_is_temporary_whatever_the_sdk_calls_it(error: Exception, words: str) -> None:
    failure = engine_error(error, "listing")

    assert isinstance(failure, Temporary)
    assert words in failure.what
    assert failure.remedy


def test_times_of_the_engine() -> None:
    assert instant("2026-11-22T17:00:00.123456789Z") == 1_795_366_800_123
    assert instant("2026-11-22T17:00:00Z") == 1_795_366_800_000
    assert instant("0001-01-01T00:00:00Z") is None
    assert instant(None) is None


def test_memory_ran_out_only_where_that_ended_the_container() -> None:
    found = Found(
        id="x",
        lease=LEASE,
        service="w",
        replica=0,
        generation=1,
        spec="",
        state=ContainerState.EXITED,
        is_going=False,
    )
    ended = {
        "Status": "exited",
        "OOMKilled": True,
        "StartedAt": "2026-11-22T17:00:00Z",
        "FinishedAt": "2026-11-22T17:00:01Z",
    }

    assert described(found, ended | {"ExitCode": 137}).cause is ExitCause.OOM
    assert described(found, ended | {"ExitCode": 0}).cause is ExitCause.OWN
    running = described(found, ended | {"Status": "running", "ExitCode": 0})
    assert (running.exit_code, running.finished_at, running.cause) == (None, None, None)


def test_subnets_are_the_pools_each_once_and_large_enough() -> None:
    pool = ipaddress.IPv4Network("10.9.0.0/24")

    small, large = list(subnets(pool, LEASE, 1)), list(subnets(pool, LEASE, 30))

    assert sorted(small) == list(pool.subnets(new_prefix=28))
    assert sorted(large) == list(pool.subnets(new_prefix=26))
    assert next(iter(subnets(pool, LEASE, 13))).prefixlen == 28
    assert next(iter(subnets(pool, LEASE, 14))).prefixlen == 27


@pytest.mark.parametrize(
    "changes",
    [
        {"socket": "tcp://1.2.3.4:2375"},
        {"subnet_pool": "8.8.0.0/16"},
        {"subnet_pool": "10.0.0.0/28"},
        {"bind_address": "x"},
    ],
)
def test_settings_that_are_wrong(changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        DockerSettings(provider=ProviderId("p1"), **changes)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_the_road_for_gpus_is_what_the_engine_has(tmp_path: Path) -> None:
    uuid = GpuUuid("GPU-1")
    (tmp_path / "broken.yaml").write_text("{")
    nothing = gpus.roads({}, SETTINGS)
    hooked = gpus.roads({"Runtimes": {"runc": {}, "nvidia": {}}}, SETTINGS)
    empty = gpus.roads({"CDISpecDirs": [str(tmp_path)]}, SETTINGS)

    assert gpus.offered(nothing, SETTINGS)[0] is GpuAttachment.NONE
    assert gpus.offered(hooked, SETTINGS) == (GpuAttachment.DEVICE_REQUEST, None)
    assert gpus.offered(empty, SETTINGS)[0] is GpuAttachment.NONE
    assert gpus.attach((uuid,), hooked, SETTINGS).requests[0]["DeviceIDs"] == ["GPU-1"]
    assert gpus.attach((), nothing, SETTINGS) == gpus.Attachment()
    with pytest.raises(Permanent):
        gpus.attach((uuid,), nothing, SETTINGS)

    (tmp_path / "nvidia.yaml").write_text(
        json.dumps({"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-1"}]})
    )

    assert gpus.offered(empty, SETTINGS) == (GpuAttachment.CDI, None)
    assert gpus.attach((uuid,), empty, SETTINGS).requests == (
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1"]},
    )
    with pytest.raises(Permanent, match="GPU-2"):
        gpus.attach((uuid, GpuUuid("GPU-2")), empty, SETTINGS)


def test_a_spec_of_simulated_cards_comes_and_goes_with_its_lease(tmp_path: Path) -> None:
    found = gpus.roads({"CDISpecDirs": ["/etc/cdi", str(tmp_path)]}, SETTINGS)

    gpus.write_simulated(LEASE, (GpuUuid("SIM-1"),), found)

    (place,) = tmp_path.iterdir()
    told = json.loads(place.read_text())
    (request,) = gpus.attach_simulated(LEASE, (GpuUuid("SIM-1"),), found).requests
    assert request["DeviceIDs"] == [f"{told['kind']}={told['devices'][0]['name']}"]
    gpus.remove_simulated(LEASE, found)
    gpus.remove_simulated(LEASE, found)
    assert list(tmp_path.iterdir()) == []


def test_with_remapped_users_simulated_cards_are_environment_alone() -> None:
    found = gpus.roads({"CDISpecDirs": ["/x"], "SecurityOptions": ["name=userns"]}, SETTINGS)

    attachment = gpus.attach_simulated(LEASE, (GpuUuid("SIM-1"),), found)

    assert (attachment.how, attachment.requests) == (GpuAttachment.ENVIRONMENT, ())


def test_without_an_engine_to_look_at_the_ceiling_of_files_is_modest(tmp_path: Path) -> None:
    assert open_files_ceiling(str(tmp_path / "none.sock")) == 65_536
