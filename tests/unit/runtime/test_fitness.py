"""What is not fit for strangers: versions against the table, missing parts, settings of the engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provider.adapters.runtime.advisories import ADVISORIES, Part, holes, parse, safe_versions
from provider.adapters.runtime.fitness import advice, toolkit_version, unfit
from provider.adapters.runtime.gpus import GpuRoads
from provider.adapters.runtime.settings import DockerSettings
from provider.app.doctor import fitness_findings
from provider.domain.ids import ProviderId
from provider.domain.workload import GpuAttachment, RuntimeCapabilities

SETTINGS = DockerSettings(provider=ProviderId("p1"), nvidia_hook="/nonexistent")
SAFE = {"Engine": "29.7.2", "runc": "1.4.3"}
INFO: dict[str, Any] = {"Runtimes": {"runc": {}}, "DefaultRuntime": "runc", "LiveRestoreEnabled": True}
HOOK = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook"}


def parts(
    components: dict[str, str] = SAFE,
    found: GpuRoads = GpuRoads(),  # noqa: B008 - a frozen value
    settings: DockerSettings = SETTINGS,
) -> list[str]:
    return [each.part for each in unfit(components, INFO, found, settings)]


@pytest.mark.parametrize(
    ("part", "version", "is_safe"),
    [
        (Part.ENGINE, "20.10.24+dfsg1", False),
        (Part.ENGINE, "29.6.9", False),
        (Part.ENGINE, "29.7.0-rc.1", False),
        (Part.ENGINE, "29.7.0", True),
        (Part.ENGINE, "30.0.0", True),
        (Part.RUNC, "1.1.5+ds1", False),
        (Part.RUNC, "1.1.15", False),
        (Part.RUNC, "1.2.7", False),
        (Part.RUNC, "1.2.8", True),
        (Part.RUNC, "1.3.2", False),
        (Part.RUNC, "1.3.3-0ubuntu1~24.04.2", True),
        (Part.RUNC, "1.4.0~rc2", False),
        (Part.RUNC, "1.5.0", True),
        (Part.TOOLKIT, "1.17.8", False),
        (Part.TOOLKIT, "1.19.1-1", True),
        (Part.TOOLKIT, "unknown", False),
        (Part.RUNC, "", False),
    ],
)
def test_versions_against_the_table(part: Part, version: str, is_safe: bool) -> None:
    assert (holes(part, version) == ()) is is_safe


def test_only_the_holes_that_a_version_has_are_named() -> None:
    assert [each.name for each in holes(Part.TOOLKIT, "1.17.4")] == ["CVE-2025-23266", "CVE-2026-24260"]
    assert safe_versions(holes(Part.RUNC, "1.1.5")) == "1.2.8, 1.3.3, 1.4.0"
    assert safe_versions(holes(Part.ENGINE, "29.6.0")) == "29.7.0"


def test_the_table_is_of_versions_in_order() -> None:
    for each in ADVISORIES:
        told = [parse(text) for text in each.mended]
        assert None not in told
        assert told == sorted(told, key=lambda version: version or (0, 0, 0, 0))
        assert each.source
        assert each.what


def test_a_safe_engine_has_nothing_against_it() -> None:
    assert parts() == []


def test_what_is_not_told_counts_as_too_old() -> None:
    assert parts({}) == ["engine", "runc"]


def test_what_the_operator_allows_is_still_told() -> None:
    allowed = replace(SETTINGS, allow_unsafe=frozenset({Part.RUNC}))
    told = unfit({"Engine": "26.1.5", "runc": "1.1.5"}, INFO, GpuRoads(), allowed)
    assert [(each.part, each.is_allowed) for each in told] == [("engine", False), ("runc", True)]
    assert "CVE-2024-21626" in told[1].why


def test_a_sandbox_that_the_engine_lacks_is_told_and_cannot_be_allowed() -> None:
    asked = replace(SETTINGS, oci_runtime="runsc", allow_unsafe=frozenset(Part))
    (told,) = unfit({"Engine": "29.7.2", "runc": "1.1.5"}, INFO, GpuRoads(), asked)
    assert (told.part, told.required, told.is_allowed) == ("sandbox", "runsc", False)
    there = INFO | {"Runtimes": {"runc": {}, "runsc": {}}}
    assert unfit({"Engine": "29.7.2", "runc": "1.1.5"}, there, GpuRoads(), asked) == ()


@pytest.mark.parametrize(
    ("version", "expected"), [("1.19.1", []), ("1.17.8", ["toolkit"]), (None, ["toolkit"])]
)
@pytest.mark.parametrize("road", ["hook", "cdi"])
def test_the_toolkit_counts_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, road: str, version: str | None, expected: list[str]
) -> None:
    if version:
        program = tmp_path / "nvidia-ctk"
        program.write_text(
            f"#!/bin/sh\necho NVIDIA Container Toolkit CLI version {version}\necho commit: 1\n"
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    spec = {"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-1"}], "containerEdits": {"hooks": [HOOK]}}
    (tmp_path / "nvidia.json").write_text(json.dumps(spec))
    found = GpuRoads(has_hook=True) if road == "hook" else GpuRoads(cdi_dirs=(str(tmp_path),))

    assert parts(found=found) == expected
    assert parts(found=found, settings=replace(SETTINGS, simulated_gpus=True)) == []


def test_a_spec_without_hooks_needs_no_toolkit(tmp_path: Path) -> None:
    (tmp_path / "nvidia.json").write_text('{"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-1"}]}')
    assert parts(found=GpuRoads(cdi_dirs=(str(tmp_path),))) == []


def test_a_toolkit_that_cannot_be_asked_has_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-ctk"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolkit_version() == "unknown"


def test_settings_of_the_engine_that_are_worth_a_word() -> None:
    nowhere = replace(SETTINGS, socket="unix:///nonexistent/docker.sock")
    assert [each.about for each in advice(INFO, nowhere) if each.remedy] == ["gpu sight"]
    ill = advice(INFO | {"DefaultRuntime": "nvidia", "LiveRestoreEnabled": False}, nowhere)
    assert [each.about for each in ill if each.remedy] == ["default runtime", "live restore", "gpu sight"]


def test_doctor_says_what_is_unsafe_what_to_do_and_whether_it_is_allowed() -> None:
    allowed = replace(SETTINGS, allow_unsafe=frozenset({Part.ENGINE}), oci_runtime="kata")
    told = unfit({"Engine": "26.1.5"}, INFO, GpuRoads(), allowed)
    plain = unfit({"Engine": "29.7.0", "runc": "1.1.5"}, INFO, GpuRoads(), SETTINGS)
    capable = RuntimeCapabilities(engine="docker", gpu_attachment=GpuAttachment.NONE, unfit=(*told, *plain))

    sandbox, engine, runc = fitness_findings(capable)

    assert (sandbox.is_fatal, engine.is_fatal, runc.is_fatal) == (True, False, True)
    assert "kata is not there" in sandbox.found
    assert "runtime.allow_unsafe lets it serve" in engine.found
    assert "runtime.allow_unsafe: [runc]" in runc.remedy
    assert "1.2.8" in runc.remedy
    (well,) = fitness_findings(replace(capable, unfit=()))
    assert well.is_well
