"""A volume of a lease as it is written down."""

from __future__ import annotations

from provider.adapters.runtime.storage.records import Record
from provider.domain.ids import LeaseId


def volume_record(lease: LeaseId, *, project: int = 0) -> Record:
    return Record(
        id="web-0-1",
        lease=str(lease),
        service="web",
        replica=0,
        name="data",
        size_bytes=1,
        generation=0,
        is_reserved=True,
        uuid="u",
        file="/f",
        project=project,
    )
