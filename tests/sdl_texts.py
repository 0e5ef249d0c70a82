"""Manifests for tests: one small text that is right, ways to change it, and the strangers' files."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider import sdl
from provider.domain.manifest import Service

CORPUS = Path("../shared/sdl-corpus")

BASE = """\
version: "2.0"
services:
  web:
    image: nginx:1
    expose:
      - port: 80
        to:
          - global: true
profiles:
  compute:
    small:
      resources:
        cpu:
          units: 0.5
        memory:
          size: 512Mi
        storage:
          size: 1Gi
  placement:
    here:
      pricing:
        small:
          denom: uact
          amount: 100
deployment:
  web:
    here:
      profile: small
      count: 1
"""


def changed(*changes: tuple[str, str], text: str = BASE) -> str:
    """``text`` with each first part replaced by the second, once; the first part must be there."""
    for old, new in changes:
        assert old in text, f"{old!r} is not in the text"
        text = text.replace(old, new, 1)
    return text


def with_storage(volumes: str) -> str:
    """``BASE`` with other storage: flow YAML of a list or one volume."""
    return changed(("storage:\n          size: 1Gi", f"storage: {volumes}"))


def with_gpu(gpu: str) -> str:
    """``BASE`` with a GPU section in flow YAML."""
    return changed(("        storage:", f"        gpu: {gpu}\n        storage:"))


def with_service(lines: str) -> str:
    """``BASE`` with more fields of its service, given without indent."""
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    return changed(("    image: nginx:1\n", f"    image: nginx:1\n{indented}"))


def service_of(text: str, *, lenient: bool = False) -> Service:
    """The one service of the one group."""
    (group,) = sdl.read(text, lenient=lenient).manifest.groups
    (service,) = group.services
    return service


def problems_of(text: str | bytes, *, lenient: bool = False) -> list[sdl.Problem]:
    """Errors and warnings, from a file that is right or wrong."""
    try:
        return list(sdl.read(text, lenient=lenient).warnings)
    except sdl.SdlInvalid as invalid:
        return list(invalid.problems)


def errors_of(text: str | bytes, *, lenient: bool = False) -> list[str]:
    """``path: what`` of every error; warnings are left out."""
    found = problems_of(text, lenient=lenient)
    return [f"{each.path}: {each.what}" for each in found if each.severity is sdl.Severity.ERROR]


def corpus(pattern: str) -> list[Path]:
    """Files of the strangers' collection, sorted; the test is skipped, saying so, where it is absent."""
    found = sorted(CORPUS.glob(pattern))
    if not found:
        pytest.skip(f"{CORPUS} is absent")
    return found
