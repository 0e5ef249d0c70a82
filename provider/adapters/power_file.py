"""What cards were measured to draw, as JSON beside the database: read at the start and by ``provider price``.

Losing it costs patience: it is measured again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from provider.core.wattage import REMEMBERED_S, PowerMean
from provider.domain.ids import GpuUuid
from provider.rpc.identity import write_private

FILE_NAME = "gpu-power.json"
CARDS_MOST = 256


class PowerFile:
    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME

    def load(self) -> dict[GpuUuid, PowerMean]:
        """A file that is missing or damaged is nothing measured."""
        try:
            body = json.loads(self._path.read_text())
            return {GpuUuid(uuid): _mean(kept) for uuid, kept in body.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    async def save(self, means: Mapping[GpuUuid, PowerMean]) -> None:
        """``ConfigError`` where the disk does not take it."""
        newest = list(means.items())[-CARDS_MOST:]
        body = {
            uuid: {"watts": round(mean.watts, 3), "load_s": round(mean.load_s, 3), "told": mean.told}
            for uuid, mean in newest
        }
        await asyncio.to_thread(write_private, self._path, json.dumps(body))


def _mean(kept: Mapping[str, float | None]) -> PowerMean:
    watts, load_s, told = kept["watts"], kept["load_s"], kept["told"]
    if watts is None or load_s is None or not 0 <= load_s <= REMEMBERED_S or not 0 <= watts < 1e5:
        raise ValueError("not what was written")
    return PowerMean(watts=watts, load_s=load_s, told=None if told is None else round(told))
