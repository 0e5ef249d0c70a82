"""What an operator decides about images. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provider.adapters.runtime.images.reference import Reference
from provider.domain.errors import ConfigError, ImageUnavailable
from provider.domain.resources import GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """Checked when made. Patterns are globs, ``*`` also crosses ``/``: see ``policy``."""

    record: Path | None = None
    """Where use, provenance and pins are remembered; None: as long as the process lives."""
    allow: tuple[str, ...] = ()
    """Registries and repositories that tenants may use; empty for all."""
    deny: tuple[str, ...] = ()
    """Those that they may not, whatever ``allow`` says."""
    private_registries: tuple[str, ...] = ()
    """``host:port`` patterns of registries that may be at private or loopback addresses."""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """By registry, ``docker.io``: the ``host:port`` of one that is asked first, without a login."""
    local: tuple[str, ...] = ()
    """Images of this machine that every tenant may use as they are, without asking a registry."""
    prepull: tuple[str, ...] = ()
    """Pulled at the start and kept."""
    size_most_bytes: int = 100 * GIB
    """Of the layers as they are transferred; 0 for no limit."""
    disk_keep_bytes: int = 2 * GIB
    """A pull that leaves less than that free on the engine's disk is given up."""
    collect_above_percent: int = 85
    """Of the engine's disk in use: from there on images that nobody uses are removed ..."""
    collect_below_percent: int = 80
    """... until this is reached."""
    collect_min_age_s: int = 120
    """Since its last use, before an image is removed."""
    collect_every_s: int = 300

    def __post_init__(self) -> None:
        for image in self.prepull:
            try:
                Reference.parse(image)
            except ImageUnavailable as wrong:
                raise ConfigError(f"images.prepull: {wrong.what}", remedy=wrong.remedy) from wrong
        if not 0 < self.collect_below_percent <= self.collect_above_percent <= 100:
            raise ConfigError(
                f"images are collected above {self.collect_above_percent} % until "
                f"{self.collect_below_percent} %: the second must be the lower one, both within 1 to 100",
                remedy="images.collect_above_percent: 85 and images.collect_below_percent: 80, say",
            )
