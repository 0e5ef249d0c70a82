"""The market's public token keys, remembered so that tenants' tokens are verified while it is away."""

from __future__ import annotations

import json
from pathlib import Path

from provider.rpc.identity import write_private

FILE_NAME = "token-keys.json"


class TokenKeys:
    """Of one market, newest first. Replaced by each Welcome, kept in the state directory."""

    def __init__(self, state_dir: Path, market: str) -> None:
        self._path = state_dir / FILE_NAME
        self._market = market
        self.now = self._load()

    def replace(self, keys: tuple[str, ...]) -> None:
        """Remember ``keys``; the disk is touched only where they differ."""
        if keys != self.now:
            write_private(self._path, json.dumps({"market": self._market, "keys": keys}))
            self.now = keys

    def _load(self) -> tuple[str, ...]:
        """A file that is missing, damaged or of another market is no keys: the next Welcome brings them."""
        try:
            body = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return ()
        if not isinstance(body, dict) or body.get("market") != self._market:
            return ()
        return tuple(str(key) for key in body.get("keys", ()))
