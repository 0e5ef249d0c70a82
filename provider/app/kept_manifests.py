"""A tenant's own copies of its manifests: the market never sees one, and a provider may ask for it later.

Owns the files beside the identity (0600, replaced in one rename). While an update is under way there are
two: the one that was ordered and the one that is to be. Invariant: whatever instant a crash picks, the
manifest that the market has ordered is among them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from provider import sdl
from provider.domain.errors import ConfigError
from provider.domain.workload import Dependency
from provider.rpc.identity import write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a provider is sent."""

    manifest_json: bytes
    dependencies: tuple[Dependency, ...] = ()

    @property
    def hash(self) -> str:
        return sdl.hash_of_json(self.manifest_json)


class KeptManifests:
    """Of one tenant."""

    def __init__(self, home: Path, owner: str) -> None:
        self._folder = home / "manifests"
        self._owner = owner

    def keep(self, dseq: int, kept: Kept) -> None:
        """What was just deployed."""
        _write(self._ordered(dseq), kept)

    def propose(self, dseq: int, kept: Kept, ordered: str) -> None:
        """Keep ``kept`` too, before the market is asked for it; ``ordered`` is the hash that it has now."""
        proposed = _read(self._proposed(dseq))
        if proposed is not None and proposed.hash == ordered:
            self.settle(dseq)
        _write(self._proposed(dseq), kept)

    def withdraw(self, dseq: int) -> None:
        """The market did not take what was proposed."""
        self._proposed(dseq).unlink(missing_ok=True)

    def settle(self, dseq: int) -> None:
        """What was proposed is what runs: the one before is not needed any more."""
        if self._proposed(dseq).exists():
            self._proposed(dseq).replace(self._ordered(dseq))

    def of_hash(self, dseq: int, manifest_hash: str) -> Kept:
        """The copy that was ordered under ``manifest_hash``. ``ConfigError`` where it is not here."""
        for path in (self._ordered(dseq), self._proposed(dseq)):
            kept = _read(path)
            if kept is not None and kept.hash == manifest_hash:
                return kept
        raise ConfigError(
            f"the manifest of deployment {dseq} is not kept here: {self._ordered(dseq)}",
            remedy="run this where `tenant deploy` or `tenant update` was run last",
        )

    def forget(self, dseq: int) -> None:
        """It has ended."""
        self._ordered(dseq).unlink(missing_ok=True)
        self._proposed(dseq).unlink(missing_ok=True)

    def _ordered(self, dseq: int) -> Path:
        return self._folder / f"{self._owner}-{dseq}.json"

    def _proposed(self, dseq: int) -> Path:
        return self._folder / f"{self._owner}-{dseq}.next.json"


def _write(path: Path, kept: Kept) -> None:
    waits = [[each.service, each.needs] for each in kept.dependencies]
    write_private(path, json.dumps({"manifest": kept.manifest_json.decode(), "dependencies": waits}))


def _read(path: Path) -> Kept | None:
    """None where there is none. ``ConfigError`` where it is not what was written."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        body = json.loads(text)
        if isinstance(body, list):  # an older version kept the manifest alone
            return Kept(manifest_json=text)
        waits = tuple(Dependency(service=service, needs=needs) for service, needs in body["dependencies"])
        return Kept(manifest_json=body["manifest"].encode(), dependencies=waits)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged: {error}",
            remedy="restore it, or remove it and run `tenant update` with the deployment's file",
        ) from error
