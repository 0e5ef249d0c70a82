"""Whether this engine, as it is set up, is fit for tenants that nobody knows.

``unfit`` is what the agent does not bid with, ``advice`` what an operator had better change. Both come from
what the engine says of itself (``GET /version``, ``GET /info``); only NVIDIA's toolkit is asked directly. A
version that nobody tells counts as too old.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from provider.adapters.runtime import cdi_specs, gpus
from provider.adapters.runtime.advisories import Part, holes, safe_versions
from provider.adapters.runtime.gpus import GpuRoads
from provider.adapters.runtime.host import engine_pid
from provider.adapters.runtime.settings import PLAIN_RUNTIME, DockerSettings
from provider.domain.workload import GpuAttachment, Unfit

TOOLKIT_PROGRAMS = ("nvidia-ctk", "nvidia-cdi-hook")
TOOLKIT_ANSWER_S = 5
UNKNOWN = "unknown"
_NUMBER = re.compile(r"\d+\.\d+\.\d+\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing about the engine's settings. ``remedy`` is empty where all is well."""

    about: str
    found: str
    remedy: str = ""


def unfit(
    components: Mapping[str, str], info: Mapping[str, object], found: GpuRoads, settings: DockerSettings
) -> tuple[Unfit, ...]:
    """All that strangers should not be let onto, allowed or not. May run a program for a moment."""
    return tuple(_unfit(components, info, found, settings))


def _unfit(
    components: Mapping[str, str], info: Mapping[str, object], found: GpuRoads, settings: DockerSettings
) -> Iterator[Unfit]:
    runtimes = info.get("Runtimes")
    there = sorted(runtimes) if isinstance(runtimes, dict) else []
    if settings.oci_runtime not in there:
        yield Unfit(
            part="sandbox",
            found=f"the engine has {', '.join(there) or 'none'}",
            required=settings.oci_runtime,
            why="runtime.sandbox names it",
        )
    yield from _too_old(Part.ENGINE, components.get("Engine", UNKNOWN), settings)
    if settings.oci_runtime == PLAIN_RUNTIME:
        yield from _too_old(Part.RUNC, components.get("runc", UNKNOWN), settings)
    if uses_toolkit(found, settings):
        yield from _too_old(Part.TOOLKIT, toolkit_version(), settings)


def _too_old(part: Part, version: str, settings: DockerSettings) -> Iterator[Unfit]:
    through = holes(part, version)
    if through:
        yield Unfit(
            part=part,
            found=version,
            required=f"{safe_versions(through)} or newer",
            why=", ".join(each.name for each in through),
            only_for_gpus=part is Part.TOOLKIT,
            is_allowed=part in settings.allow_unsafe,
        )


def uses_toolkit(found: GpuRoads, settings: DockerSettings) -> bool:
    """Whether NVIDIA's toolkit runs beside containers with GPUs: by its hook, or by hooks of a CDI spec."""
    how, _ = gpus.offered(found, settings)
    match how:
        case GpuAttachment.DEVICE_REQUEST:
            return True
        case GpuAttachment.CDI:
            return not settings.simulated_gpus and cdi_specs.has_hooks(
                found.cdi_dirs, settings.cdi_vendor_class
            )
        case _:
            return False


def toolkit_version() -> str:
    """As its own program tells; ``unknown`` where there is none to ask, as in the daemon's own container."""
    path = f"{os.environ.get('PATH', '')}:/usr/bin"
    for program in TOOLKIT_PROGRAMS:
        place = shutil.which(program, path=path)
        if place is None:
            continue
        try:
            told = subprocess.run(
                [place, "--version"], capture_output=True, text=True, timeout=TOOLKIT_ANSWER_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
            continue
        number = _NUMBER.search(told.stdout)
        if number is not None:
            return number[0]
    return UNKNOWN


def advice(info: Mapping[str, object], settings: DockerSettings) -> tuple[Advice, ...]:
    """What of the engine's settings, and of our own place beside it, is worth a word, well or not."""
    default = str(info.get("DefaultRuntime", UNKNOWN))
    options = info.get("SecurityOptions")
    remaps = isinstance(options, list) and any("name=userns" in str(option) for option in options)
    return (
        Advice(about="default runtime", found=default)
        if default == PLAIN_RUNTIME
        else Advice(
            about="default runtime",
            found=f"{default}: other people's containers may get GPUs unasked (ours name their runtime)",
            remedy='remove "default-runtime" from /etc/docker/daemon.json and restart the engine',
        ),
        Advice(about="live restore", found="on: leases outlive a restart of the engine")
        if info.get("LiveRestoreEnabled")
        else Advice(
            about="live restore",
            found="off: a restart of the engine ends every lease's containers",
            remedy='"live-restore": true in /etc/docker/daemon.json, then restart the engine',
        ),
        Advice(
            about="user namespaces",
            found="on: root in a container is nobody outside"
            if remaps
            else 'off; with "userns-remap": "default" root in a container would be nobody outside',
        ),
        Advice(about="gpu sight", found="that a lease sees its GPUs is proven from inside")
        if os.geteuid() == 0 and engine_pid(settings.socket_path)
        else Advice(
            about="gpu sight",
            found="containers cannot be looked into: that a lease sees its GPUs is not proven",
            remedy="run the daemon as root, in the host's PID namespace",
        ),
    )
