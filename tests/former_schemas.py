"""The agent's store as it once was: a schema of its first migrations and no others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from provider.adapters.store.database import Schema
from provider.adapters.store.sqlite import SCHEMA


@contextmanager
def former_schema(folder: Path, monkeypatch: pytest.MonkeyPatch, migrations: int) -> Iterator[Schema]:
    """Of so many migrations, in a package of its own in ``folder``."""
    name = f"store_of_{migrations}"
    package = folder / name
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").touch()
    scripts = resources.files("provider.adapters.store") / "migrations"
    found = sorted(each.name for each in scripts.iterdir() if each.name.endswith(".sql"))
    for script in found[:migrations]:
        (package / "migrations" / script).write_text((scripts / script).read_text())
    monkeypatch.syspath_prepend(folder)
    yield replace(SCHEMA, package=name)
    sys.modules.pop(name, None)
