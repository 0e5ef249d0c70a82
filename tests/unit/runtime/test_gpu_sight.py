"""What to look for in a container, and what the answers mean."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.runtime.gpu_sight import Nodes, Sight, Watched, judged, nodes_of
from provider.adapters.runtime.gpus import GpuRoads, attach
from provider.adapters.runtime.settings import DockerSettings
from provider.domain.errors import Permanent
from provider.domain.ids import GpuUuid, ProviderId

SETTINGS = DockerSettings(provider=ProviderId("p1"))
ONE, TWO = GpuUuid("GPU-1"), GpuUuid("GPU-2")
MINE = Watched(id="c1", gpus=(ONE,), is_simulated=False)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """What NVIDIA's driver tells of two cards; the second one's number is the smaller."""
    for place, uuid, minor in (("0000:01:00.0", ONE, 1), ("0000:02:00.0", TWO, 0)):
        (tmp_path / place).mkdir()
        told = f"Model: \t\t NVIDIA H100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
        (tmp_path / place / "information").write_text(told)
    return tmp_path


def test_cards_of_the_hook_are_known_from_the_driver(driver: Path) -> None:
    nodes = nodes_of(MINE, GpuRoads(has_hook=True), SETTINGS, driver)
    assert nodes.own == {"/dev/nvidia1": ONE, "/dev/nvidiactl": ONE}
    assert nodes.others == {"/dev/nvidia0"}


def test_slices_of_the_hook_are_not_known(driver: Path) -> None:
    slices = replace(MINE, gpus=(GpuUuid("MIG-1"),))
    assert "MIG-1" in (nodes_of(slices, GpuRoads(has_hook=True), SETTINGS, driver).unknown or "")


def test_cards_of_cdi_are_known_from_its_specs(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text(
        "{kind: nvidia.com/gpu, containerEdits: {deviceNodes: [{path: /dev/nvidiactl}]}, devices: ["
        "{name: GPU-1, containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}},"
        "{name: GPU-2, containerEdits: {deviceNodes: [{path: /dev/nvidia1}]}},"
        "{name: all, containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1}]}}]}"
    )
    nodes = nodes_of(MINE, GpuRoads(cdi_dirs=(str(tmp_path),)), SETTINGS)
    assert nodes.own == {"/dev/nvidia0": ONE, "/dev/nvidiactl": ONE}
    assert nodes.others == {"/dev/nvidia1"}


def mig_spec(folder: Path, first: str, second: str) -> GpuRoads:
    """Two instances of one card, as ``nvidia-ctk`` writes them: the card and two capabilities each."""
    devices = [
        {
            "name": name,
            "containerEdits": {
                "deviceNodes": [
                    {"path": "/dev/nvidia0"},
                    {"path": f"/dev/nvidia-caps/nvidia-cap{cap}"},
                    {"path": f"/dev/nvidia-caps/nvidia-cap{cap + 1}"},
                ]
            },
        }
        for name, cap in ((first, 21), (second, 30))
    ]
    (folder / "nvidia.json").write_text(json.dumps({"kind": "nvidia.com/gpu", "devices": devices}))
    return GpuRoads(cdi_dirs=(str(folder),))


def test_instances_of_one_card_are_told_apart_by_their_capabilities(tmp_path: Path) -> None:
    slices = replace(MINE, gpus=(GpuUuid("MIG-1"),))
    nodes = nodes_of(slices, mig_spec(tmp_path, "MIG-1", "MIG-2"), SETTINGS)
    caps = [f"/dev/nvidia-caps/nvidia-cap{number}" for number in (21, 22, 30, 31)]
    assert set(nodes.own) == {"/dev/nvidia0", *caps[:2]}
    assert nodes.others == {*caps[2:]}, "the neighbour's may not open, the card's must"


def test_an_instance_is_attached_by_its_own_name(tmp_path: Path) -> None:
    known = attach((GpuUuid("MIG-1"),), mig_spec(tmp_path, "MIG-1", "MIG-2"), SETTINGS)
    assert known.requests == ({"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=MIG-1"]},)
    hooked = attach((GpuUuid("MIG-1"),), GpuRoads(has_hook=True), SETTINGS)
    assert hooked.requests[0]["DeviceIDs"] == ["MIG-1"]


def test_a_spec_that_counts_its_instances_says_how_to_name_them(tmp_path: Path) -> None:
    """``0:1`` is another instance after the next change: never guessed."""
    with pytest.raises(Permanent) as refused:
        attach((GpuUuid("MIG-1"),), mig_spec(tmp_path, "0:0", "0:1"), SETTINGS)
    assert "MIG-1" in refused.value.what
    assert "--device-name-strategy=uuid" in (refused.value.remedy or "")


def test_a_sandbox_is_not_looked_into(driver: Path) -> None:
    nodes = nodes_of(MINE, GpuRoads(), replace(SETTINGS, oci_runtime="runsc"), driver)
    assert "runsc" in (nodes.unknown or "")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"/dev/a": 0, "/dev/b": "absent"}, Sight()),
        ({"/dev/a": 0, "/dev/b": errno.EPERM}, Sight()),
        ({"/dev/a": "absent"}, Sight(absent="GPU-1 is not visible inside: there is no device /dev/a")),
        ({}, Sight(absent="GPU-1 is not visible inside: there is no device /dev/a")),
        (
            {"/dev/a": errno.EPERM},
            Sight(lost="GPU-1 is not visible inside: /dev/a: Operation not permitted"),
        ),
        ({"/dev/a": errno.EIO}, Sight(lost="GPU-1 is not visible inside: /dev/a: Input/output error")),
        ({"/dev/a": 0, "/dev/b": 0}, Sight(foreign="a GPU of others is visible inside: /dev/b")),
        ({"/dev/a": 0, "/dev/nvidia7": 0}, Sight(foreign="a GPU of others is visible inside: /dev/nvidia7")),
    ],
)
def test_answers(told: dict[str, int | str], expected: Sight) -> None:
    nodes = Nodes(own={"/dev/a": ONE}, others=frozenset({"/dev/b"}))
    assert judged(nodes, {"nodes": told}) == expected


def test_a_look_that_failed_proves_nothing() -> None:
    sight = judged(Nodes(own={"/dev/a": ONE}), {"problem": "Permission denied"})
    assert sight == Sight(unproven="its devices could not be looked at: Permission denied")
