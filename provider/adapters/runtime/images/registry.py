"""Asking a registry, through the engine: which digest a name stands for, and whether this login may have it.

One question answers both (Engine API, ``GET /distribution/{name}/json``), over the engine's own mirrors,
proxies and certificates. Never with a login of the machine's: only with the tenant's, or none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from json import JSONDecodeError, loads

import docker.auth

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.errors import pull_error
from provider.adapters.runtime.images.reference import Reference
from provider.adapters.runtime.wire import Request
from provider.domain.errors import Temporary
from provider.domain.manifest import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a registry says of a name."""

    digest: str
    architectures: tuple[str, ...]
    """For which it has the image under Linux; empty when it does not say."""


async def ask(engine: Engine, reference: Reference, login: Credentials | None) -> Manifest:
    """``ImageUnavailable``: no such image, or not for this login. ``Temporary``: no answer."""
    settings = engine.settings
    request = Request(method="GET", path=f"/distribution/{reference.full}/json", headers=login_header(login))
    doing = f"asking for {reference.full}"
    try:
        async with (
            asyncio.timeout(settings.pull_stall_s),
            engine.stream(doing, request, settings.pull_stall_s) as answer,
        ):
            text = await answer.text()
    except TimeoutError as error:
        raise Temporary(f"{doing}: no answer in {settings.pull_stall_s} s") from error
    if answer.status >= 400:
        raise pull_error(text, reference.full)
    try:
        told = loads(text)
        digest = str(told["Descriptor"]["digest"])
        platforms = told.get("Platforms") or ()
        linux = {str(each["architecture"]) for each in platforms if each.get("os") == "linux"}
    except (JSONDecodeError, KeyError, TypeError) as error:
        raise Temporary(f"{doing}: the engine's answer cannot be read") from error
    return Manifest(digest=digest, architectures=tuple(sorted(linux)))


def login_header(login: Credentials | None) -> dict[str, str]:
    """How a login goes with one request, and is forgotten after it."""
    if login is None:
        return {}
    told = {
        "username": login.username,
        "password": login.password.reveal(),
        "email": login.email,
        "serveraddress": login.host,
    }
    return {"X-Registry-Auth": docker.auth.encode_header(told).decode()}
