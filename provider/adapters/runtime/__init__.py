"""Containers: ``ports.Runtime`` on Docker. Read ``docker.py`` first."""

from __future__ import annotations

from provider.adapters.runtime.docker import DockerRuntime
from provider.adapters.runtime.settings import DockerSettings

__all__ = ["DockerRuntime", "DockerSettings"]
