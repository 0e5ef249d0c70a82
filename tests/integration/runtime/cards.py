"""Cards for tests: character devices that every kernel has, in CDI specs of engines that a test may break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from provider.adapters.runtime import DockerSettings
from provider.domain.ids import ProviderId
from provider.domain.workload import Launch
from tests.engine_images import IMAGES
from tests.integration.runtime.engines import SecondEngine, newer_engine, second_engine
from tests.launches import IMAGE, launch, replica, service

ONE, TWO = "GPU-11111111-2222-3333-4444-555555555555", "GPU-66666666-7777-8888-9999-000000000000"
MEMORY_DEVICES = {ONE: ("/dev/full", 7), TWO: ("/dev/zero", 5)}
"""They stand for cards: ``/dev/nvidia0`` would need a driver to open."""


def settings(engine: SecondEngine, **changes: object) -> DockerSettings:
    plain = DockerSettings(
        provider=ProviderId("gpus"), socket=engine.socket, nvidia_hook="/nonexistent", images=IMAGES
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def real(*gpus: str, env: tuple[str, ...] = ()) -> Launch:
    return replace(launch(replica(service(env=env), gpus=gpus)), simulated_gpus=False)


def spec(kind: str) -> dict[str, object]:
    devices = [
        {
            "name": uuid,
            "containerEdits": {
                "env": [f"ATTACHED_{minor}=1"],
                "deviceNodes": [
                    {"path": f"/dev/card{minor}", "hostPath": path, "type": "c", "major": 1, "minor": minor}
                ],
            },
        }
        for uuid, (path, minor) in MEMORY_DEVICES.items()
    ]
    return {"cdiVersion": "0.5.0", "kind": kind, "devices": devices}


@contextmanager
def cdi_engine(specs: Path) -> Iterator[SecondEngine]:
    """Debian 13's engine with CDI turned on, its specs in ``specs``; skips where it was not unpacked."""
    program = newer_engine()
    if program is None:
        pytest.skip("no second engine: scripts/unpack-engine.sh")
    (specs / "nvidia.json").write_text(json.dumps(spec("nvidia.com/gpu")))
    wanted = {"features": {"cdi": True}, "cdi-spec-dirs": [str(specs)]}
    with second_engine(program, wanted) as engine:
        engine.load(IMAGE)
        yield engine
