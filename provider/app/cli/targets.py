"""What tenants' commands name: a service and a replica, a place in one, a time. Words to values, no more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from provider.domain.errors import ConfigError
from provider.domain.moment import Instant

_PLACE = re.compile(r"(\d+)/([^/:]+)(?:/(\d+))?:(.+)", re.DOTALL)
_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_UNITS_S = (86_400, 3_600, 60, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path in a replica of a deployment."""

    dseq: int
    service: str
    replica: int
    path: str


def service_and_replica(text: str) -> tuple[str, int | None]:
    """``web`` or ``web/1``; an empty text is no service."""
    service, slash, number = text.partition("/")
    if slash and not (service and number.isascii() and number.isdigit()):
        raise ConfigError(f"{text!r} is not a SERVICE or SERVICE/REPLICA", remedy="web, or web/0")
    return service, int(number) if slash else None


def place(text: str) -> Place | None:
    """``7/web:/data`` or ``7/web/1:/data``; None for a path of this machine."""
    match = _PLACE.fullmatch(text)
    if match is None:
        return None
    if not match[4].startswith("/"):
        raise ConfigError(f"{text}: the path in a container is absolute", remedy="7/web:/data")
    return Place(dseq=int(match[1]), service=match[2], replica=int(match[3] or 0), path=match[4])


def since_ns(text: str, now: Instant) -> int:
    """``10m``, ``1h30m``, ``2026-11-22T17:00:00Z`` or seconds since 1970, as UTC nanoseconds."""
    span = _SPAN.fullmatch(text)
    if text and span is not None:
        seconds = sum(float(part or 0) * unit for part, unit in zip(span.groups(), _UNITS_S, strict=True))
        return now * 1_000_000 - int(seconds * 1_000_000_000)
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return int(float(text) * 1_000_000_000)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--since {text}: not a time", remedy="10m, 1h30m, or 2026-11-22T17:00:00Z"
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000) * 1_000
