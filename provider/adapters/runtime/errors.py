"""What the engine's and the registries' failures mean, in one table each.

The engine tells most failures as text behind a 500, so text is matched, first row first. Sources of
the meanings: the messages of Docker Engine 20.10 and 26.1 for each failure, provoked one by one by
``tests/integration/runtime``. What no row knows is ``Temporary``: trouble with the engine must never
end a lease.
"""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass

import docker.errors
import requests
import urllib3.exceptions

from provider.domain.errors import ImageUnavailable, Permanent, ProviderError, Temporary

RAISED = (
    docker.errors.DockerException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    EOFError,
)
"""All that the SDK and the socket below it raise when the engine is away or says no."""

_ENGINE_REMEDY = "start the engine (scripts/setup-engine.sh, or systemctl start docker), or name its socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A failure whose text matches ``pattern`` is a ``kind``."""

    pattern: re.Pattern[str]
    kind: type[ProviderError]
    remedy: str | None = None


def _row(pattern: str, kind: type[ProviderError], remedy: str | None = None) -> Row:
    return Row(pattern=re.compile(pattern, re.IGNORECASE), kind=kind, remedy=remedy)


PULL = (
    _row(r"no space left", Temporary, "free disk space on the provider"),
    _row(r"toomanyrequests|too many requests|rate limit", Temporary, "log in to the registry, or wait"),
    _row(
        r"no matching manifest|does not match the specified platform",
        ImageUnavailable,
        "use an image built for this machine's architecture",
    ),
    _row(
        r"unauthorized|no basic auth|authentication required|incorrect username|denied|forbidden",
        ImageUnavailable,
        "check the image's name and the credentials in the manifest",
    ),
    _row(
        r"manifest unknown|name unknown|not found|does not exist|invalid reference|must be lower ?case",
        ImageUnavailable,
        "check the image's name and tag",
    ),
    _row(r"gave HTTP response to HTTPS client", ImageUnavailable, "serve the registry over TLS"),
)

ENGINE = (
    _row(r"no space left", Temporary, "free disk space on the provider"),
    _row(r"port is already allocated|address already in use", Temporary, "free the host's port"),
    _row(r"unresolvable CDI devices|failed to stat CDI", Temporary, "nvidia-ctk cdi generate, then cdi list"),
    _row(
        r"could not select device driver",
        Permanent,
        "install the NVIDIA container toolkit and restart the engine, or turn on CDI in it",
    ),
    _row(r"unknown or invalid runtime name|Unknown runtime specified", Permanent, "install that OCI runtime"),
    _row(
        r"executable file not found|no such file or directory.*unknown|exec format error|"
        r"permission denied.*unknown|not a directory.*unknown|is a directory.*unknown",
        Permanent,
        "check the service's command and the image",
    ),
    _row(r"is not directory", Permanent, "mount volumes on directories"),
    _row(r"unable to find (user|group)|no matching entries in passwd", Permanent, "check the image's USER"),
    _row(r"No command specified", Permanent, "give the service a command"),
    _row(r"minimum memory limit|range of CPUs|invalid mount|invalid volume|invalid port", Permanent),
    _row(r"storage-opt is supported only", Permanent, "put the engine's storage on xfs with pquota"),
    _row(r"no such image", Temporary),
)


def classify(text: str, table: tuple[Row, ...]) -> tuple[type[ProviderError], str | None]:
    """The kind and the remedy of a failure, by its text; ``Temporary`` for what is not known."""
    for row in table:
        if row.pattern.search(text):
            return row.kind, row.remedy
    return Temporary, None


def engine_error(error: Exception, doing: str) -> ProviderError:
    """What a failed call to the engine means. ``doing`` is for people: ``starting container x``."""
    if isinstance(error, docker.errors.APIError):
        return refused(error.status_code, str(error.explanation or error), doing)
    if isinstance(error, PermissionError):
        return Temporary(
            f"{doing}: not permitted to use the engine's socket",
            remedy="run as root, or as a member of the group docker",
        )
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError) or (
        "timed out" in str(error).lower()
    ):
        return Temporary(f"{doing}: the engine did not answer in time", remedy=_ENGINE_REMEDY)
    return Temporary(f"{doing}: the engine is away ({_first_line(error)})", remedy=_ENGINE_REMEDY)


def refused(status: int | None, text: str, doing: str) -> ProviderError:
    """What the engine's answer ``status`` with ``text`` means."""
    kind, remedy = classify(text, ENGINE)
    known = any(row.pattern.search(text) for row in ENGINE)
    if not known and status == 400:
        kind = Permanent
    return kind(f"{doing}: {_tidy(text)}", remedy=remedy)


def pull_error(text: str, image: str) -> ProviderError:
    """What a failed pull means."""
    kind, remedy = classify(text, PULL)
    return kind(f"pulling {image}: {_tidy(text)}", remedy=remedy)


def _tidy(text: str) -> str:
    """One line, without the layers of ``: unknown`` that engines wrap around; of a long one what was being
    done, at its beginning, and what was wrong, at its end."""
    line = " ".join(text.split()).removesuffix(": unknown")
    return line if len(line) <= 400 else f"{line[:190]} ... {line[-200:]}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__
