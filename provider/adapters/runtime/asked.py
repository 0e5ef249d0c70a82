"""What the engine is asked, in a fixed few words, for whoever measures it.

Owns the words: an object of the engine and what is done to it, ``container_read``, ``image_write``. No path,
name or id is ever part of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

_OBJECTS = {
    "containers": "container",
    "images": "image",
    "distribution": "image",
    "networks": "network",
    "volumes": "volume",
    "exec": "exec",
}
_DOING = {"GET": "read", "HEAD": "read", "DELETE": "remove"}


class Asked(Protocol):
    """Told of every request, from any thread: how long until the answer began, and whether there was one that
    is not the engine's own failure. Must not block."""

    def __call__(self, op: str, seconds: float, /, *, ok: bool) -> None: ...


def unmeasured(_op: str, _seconds: float, /, *, ok: bool) -> None:
    """Tells nobody."""


def operation(method: str, path: str) -> str:
    """The word for a request; ``path`` with or without version: ``/v1.41/containers/json``."""
    parts = [part for part in path.split("/") if part]
    if parts and parts[0].startswith("v1."):
        parts = parts[1:]
    what = _OBJECTS.get(parts[0] if parts else "", "engine")
    return f"{what}_{_DOING.get(method, 'write')}"


def hook(asked: Asked) -> Callable[..., None]:
    """For the ``response`` hooks of a ``requests.Session``: tells ``asked`` of each answer."""

    def answered(response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
        asked(
            _operation_of(response.request), response.elapsed.total_seconds(), ok=response.status_code < 500
        )

    return answered


def unanswered(error: Exception) -> str:
    """The word for the request that ``error`` ended, as far as the error tells."""
    request = getattr(error, "request", None)
    return _operation_of(request) if isinstance(request, requests.PreparedRequest) else "engine_unknown"


def _operation_of(request: requests.PreparedRequest) -> str:
    return operation(request.method or "", urlsplit(request.url or "").path)
