"""The operator's idle job, from the configuration and its manifest; and what ``provider doctor`` says of it.

Owns what may be an idle job: one container a card, which nobody reaches and which leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from provider import sdl
from provider.adapters.runtime.images.reference import Reference
from provider.app import manifest_files
from provider.app.config import IdleConfig
from provider.app.finding import Finding
from provider.core.idling import job_of
from provider.domain.errors import ConfigError, ImageUnavailable
from provider.domain.idle import IdleJob
from provider.domain.manifest import Manifest, Service
from provider.sdl.problems import suggest

GRACE_MOST_S = 120
"""A tenant pays for nothing meanwhile, and takes its lease elsewhere."""


def idle_job(config: IdleConfig) -> IdleJob | None:
    """None where none is wanted. ``ConfigError`` names the place: the setting, or the service in its file."""
    if config.grace_s > GRACE_MOST_S:
        raise ConfigError(
            f"idle.grace_s: {config.grace_s} s is too long: a lease waits for its card meanwhile",
            remedy=f"give {GRACE_MOST_S} or less",
        )
    if config.manifest is None:
        if config.service:
            raise ConfigError("idle.service is set, and idle.manifest is not", remedy="name the file, too")
        return None
    service = _service(_read(config.manifest), config)
    problems = tuple(_problems(service))
    if problems:
        where = f"idle.manifest: {config.manifest}: services.{service.name}"
        raise ConfigError(
            f"{where} cannot be an idle job:" + "".join(f"\n  {problem}" for problem in problems),
            remedy="an idle job is one container a card, without ports and without storage that stays",
        )
    return job_of(service, config.grace_s)


def _read(path: Path) -> Manifest:
    """Of which nobody need reach anything."""
    try:
        return manifest_files.parse(str(path), needs_port=False).manifest
    except sdl.SdlInvalid as invalid:
        raise ConfigError(
            f"idle.manifest: {path} is not a valid manifest:\n{sdl.show(invalid, str(path))}",
            remedy="mend the lines above",
        ) from invalid
    except ConfigError as unread:
        raise ConfigError(f"idle.manifest: {unread.what}", remedy=unread.remedy) from unread


def _service(manifest: Manifest, config: IdleConfig) -> Service:
    found = {service.name: service for group in manifest.groups for service in group.services}
    if config.service in found:
        return found[config.service]
    names = ", ".join(sorted(found))
    if config.service:
        near = suggest(config.service, found)
        raise ConfigError(
            f"idle.service: {config.manifest} has no service {config.service!r}: there are {names}",
            remedy=near or "name one of these",
        )
    if len(found) != 1:
        raise ConfigError(
            f"idle.manifest: {config.manifest} has {len(found)} services: {names}",
            remedy="say which one: idle.service",
        )
    return next(iter(found.values()))


def _problems(service: Service) -> Iterator[str]:
    """Everything that forbids it, a line each."""
    try:
        Reference.parse(service.image)
    except ImageUnavailable as unknown:
        yield f"image: {unknown.what}"
    units = service.resources.gpu.units
    if units != 1:
        yield f"resources.gpu.units: it asks for {units} cards, and each container gets one"
    if service.count != 1:
        yield f"count: {service.count} replicas, and each card gets one container"
    ports = ", ".join(str(expose.port) for expose in service.expose)
    if ports:
        yield f"expose: port {ports}, and nobody reaches an idle job"
    for volume in service.resources.storage:
        if volume.is_persistent:
            yield f"resources.storage: {volume.name} is persistent, and an idle job leaves nothing behind"


def idle_findings(config: IdleConfig) -> Iterator[Finding]:
    """Nothing where none is wanted."""
    try:
        job = idle_job(config)
    except ConfigError as wrong:
        yield Finding(
            check="idle job", is_well=False, found=wrong.what, remedy=wrong.remedy or "", is_fatal=True
        )
        return
    if job is not None:
        models = {each.model or "any model" for each in job.service.resources.gpu.alternatives}
        yield Finding(
            check="idle job",
            is_well=True,
            found=f"{job.service.name} ({job.service.image}) on cards that nobody rents, of "
            f"{', '.join(sorted(models))}; a lease waits for it {job.grace_s} s at most",
        )
