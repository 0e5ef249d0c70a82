"""How a container gets exactly its GPUs on the engine at hand.

Real ones through CDI where the engine has it and a spec names the GPU's UUID, else through the engine's
``nvidia`` device request where NVIDIA's hook is installed, else not at all, with the reason. Simulated ones
through a CDI spec of our own where the engine has CDI, else by environment alone.

Invariants: a tenant's text never becomes a device's name; one request holds all of a container's GPUs (of
two, an engine keeps the last one's); ``NVIDIA_VISIBLE_DEVICES`` is ``void`` wherever no hook sets it
after us.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.runtime import cdi_specs
from provider.adapters.runtime.settings import DockerSettings
from provider.domain.errors import Permanent
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.workload import GpuAttachment

SIMULATED_KIND = "simulated.local/gpu"
CDI_VERSION = "0.5.0"
"""Of the spec that we write: old enough for every engine with CDI."""
NO_HOOK_CAPABILITIES = ("gpu", "utility", "compute")
"""Always named in full: left out, an image's ``NVIDIA_DRIVER_CAPABILITIES`` decides."""
VOID = ("NVIDIA_VISIBLE_DEVICES", "void")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What of a container's configuration gives it its GPUs."""

    how: GpuAttachment = GpuAttachment.NONE
    requests: tuple[Mapping[str, object], ...] = ()
    environment: tuple[tuple[str, str], ...] = (VOID,)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRoads:
    """What the engine and this machine offer, as probed."""

    cdi_dirs: tuple[str, ...] = ()
    """Where the engine looks for CDI specs; empty when it has no CDI."""
    has_hook: bool = False
    remaps_users: bool = False
    """With remapped users a device node can only appear under its own path on the host."""


def roads(info: Mapping[str, object], settings: DockerSettings) -> GpuRoads:
    """From ``GET /info``. The hook is looked for here and in the engine's runtimes: it tells no one."""
    dirs = info.get("CDISpecDirs")
    runtimes = info.get("Runtimes")
    security = info.get("SecurityOptions")
    return GpuRoads(
        cdi_dirs=tuple(str(path) for path in dirs) if isinstance(dirs, list) else (),
        has_hook=(isinstance(runtimes, dict) and "nvidia" in runtimes)
        or shutil.which(settings.nvidia_hook, path=f"{os.environ.get('PATH', '')}:/usr/bin") is not None,
        remaps_users=isinstance(security, list) and any("userns" in str(option) for option in security),
    )


def offered(found: GpuRoads, settings: DockerSettings) -> tuple[GpuAttachment, str | None]:
    """How the GPUs for sale would be attached, and why not if they cannot be."""
    if settings.simulated_gpus:
        return (GpuAttachment.CDI if has_simulated_nodes(found) else GpuAttachment.ENVIRONMENT), None
    if found.cdi_dirs and cdi_specs.devices(found.cdi_dirs, settings.cdi_vendor_class):
        return GpuAttachment.CDI, None
    if found.has_hook:
        return GpuAttachment.DEVICE_REQUEST, None
    if found.cdi_dirs:
        return (
            GpuAttachment.NONE,
            f"no CDI spec of {settings.cdi_vendor_class} in {', '.join(found.cdi_dirs)}",
        )
    return GpuAttachment.NONE, "the engine has neither CDI turned on nor NVIDIA's container toolkit"


def attach(gpus: tuple[GpuUuid, ...], found: GpuRoads, settings: DockerSettings) -> Attachment:
    """For real GPUs. ``Permanent`` when there is no way, or a spec does not name one of them."""
    if not gpus:
        return Attachment()
    named = ("PROVIDER_GPUS", ",".join(gpus))
    known = cdi_specs.devices(found.cdi_dirs, settings.cdi_vendor_class)
    if all(uuid in known for uuid in gpus):
        ids = [f"{settings.cdi_vendor_class}={uuid}" for uuid in gpus]
        return Attachment(how=GpuAttachment.CDI, requests=(_cdi_request(ids),), environment=(named, VOID))
    if found.has_hook:
        request = {"Driver": "nvidia", "DeviceIDs": list(gpus), "Capabilities": [list(NO_HOOK_CAPABILITIES)]}
        return Attachment(how=GpuAttachment.DEVICE_REQUEST, requests=(request,), environment=(named,))
    missing = ", ".join(uuid for uuid in gpus if uuid not in known)
    raise Permanent(
        f"the engine cannot attach {missing}: no CDI spec names it and NVIDIA's hook is not installed",
        remedy="nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml",
    )


def attach_simulated(lease: LeaseId, gpus: tuple[GpuUuid, ...], found: GpuRoads) -> Attachment:
    """For simulated GPUs; ``write_simulated`` must have been called where this says CDI."""
    if not gpus:
        return Attachment()
    told = (("PROVIDER_SIMULATED_GPUS", ",".join(gpus)), VOID)
    if not has_simulated_nodes(found):
        return Attachment(how=GpuAttachment.ENVIRONMENT, environment=told)
    ids = [f"{SIMULATED_KIND}={_simulated_name(lease, uuid)}" for uuid in gpus]
    return Attachment(how=GpuAttachment.CDI, requests=(_cdi_request(ids),), environment=told)


def write_simulated(lease: LeaseId, gpus: tuple[GpuUuid, ...], found: GpuRoads) -> None:
    """The CDI spec of a lease's simulated GPUs: each a node that opens like ``/dev/null``.

    A spec a lease, with the lease in the devices' names: one name in two specs makes both unusable.
    Written beside its place and renamed, within one directory: an engine that watches it sees no half.
    """
    if not gpus or not has_simulated_nodes(found):
        return
    node = {"hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3, "permissions": "rw"}
    spec = {
        "cdiVersion": CDI_VERSION,
        "kind": SIMULATED_KIND,
        "devices": [
            {
                "name": _simulated_name(lease, uuid),
                "containerEdits": {"deviceNodes": [node | {"path": f"/dev/simulated-gpu/{uuid}"}]},
            }
            for uuid in gpus
        ],
    }
    place = _simulated_spec(lease, found)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.draft")
    draft.write_text(json.dumps(spec))
    draft.replace(place)


def remove_simulated(lease: LeaseId, found: GpuRoads) -> None:
    """Fine when there is none."""
    if found.cdi_dirs:
        _simulated_spec(lease, found).unlink(missing_ok=True)


def _cdi_request(ids: list[str]) -> dict[str, object]:
    return {"Driver": "cdi", "DeviceIDs": ids}


def has_simulated_nodes(found: GpuRoads) -> bool:
    """Whether simulated GPUs are device nodes in their containers, not words in the environment alone."""
    return bool(found.cdi_dirs) and not found.remaps_users


def _simulated_name(lease: LeaseId, uuid: GpuUuid) -> str:
    return f"{lease.key}.{uuid}"


def _simulated_spec(lease: LeaseId, found: GpuRoads) -> Path:
    # The last directory overrides the others, and is the one for what need not survive a boot.
    return Path(found.cdi_dirs[-1]) / f"simulated.local-gpu-{lease.key}.json"
