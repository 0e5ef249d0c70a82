"""Everything about the images of one engine, put together."""

from __future__ import annotations

from dataclasses import dataclass

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.images.collector import Collector
from provider.adapters.runtime.images.disk import DiskReading, read_disk
from provider.adapters.runtime.images.housekeeping import Housekeeping
from provider.adapters.runtime.images.observer import PullObserver, Unobserved
from provider.adapters.runtime.images.pulling import Puller
from provider.adapters.runtime.images.record import Record
from provider.adapters.runtime.images.stock import Images
from provider.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """What a runtime holds of them. ``record.close()`` when done."""

    images: Images
    collector: Collector
    housekeeping: Housekeeping
    record: Record


def image_parts(
    engine: Engine, clock: Clock, pulls: PullObserver | None = None, disk: DiskReading = read_disk
) -> ImageParts:
    """``pulls`` is told how each pull goes; ``disk`` says how full the engine's disk is."""
    record = Record(engine.settings.images.record)
    collector = Collector(engine, clock, record, disk)
    images = Images(engine, clock, record, Puller(engine, clock, pulls or Unobserved(), disk), collector)
    return ImageParts(
        images=images,
        collector=collector,
        housekeeping=Housekeeping(engine, clock, record, images, collector),
        record=record,
    )
