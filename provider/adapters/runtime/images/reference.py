"""An image's name, taken apart, and whose login goes with it (github.com/distribution/reference).

Invariant: what is asked of the engine is always the full name, registry first. A short one could be taken
for an image's id, and an id is another tenant's image without its login.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from provider.domain.errors import ImageUnavailable
from provider.domain.manifest import Credentials

_HOST = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>(?:localhost|(?=[^/]*[.:]){_HOST}))/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
LONGEST = 512
DEFAULT_REGISTRY = "docker.io"
_DEFAULT_ALIASES = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name that says which image of which registry."""

    registry: str
    path: str
    """Within the registry: ``library/redis``."""
    tag: str
    digest: str | None

    @property
    def repository(self) -> str:
        """``docker.io/library/redis``: what policies match and the engine is asked for."""
        return f"{self.registry}/{self.path}"

    @property
    def version(self) -> str:
        """The digest where there is one, else the tag."""
        return self.digest or self.tag

    @property
    def full(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    @property
    def is_floating(self) -> bool:
        """Whether what it names is meant to move: the copy here may be an old one."""
        return self.digest is None and self.tag == "latest"

    @classmethod
    def parse(cls, image: str) -> Reference:
        """``ImageUnavailable`` when it cannot name an image."""
        match = _REFERENCE.fullmatch(image) if len(image) <= LONGEST else None
        if match is None:
            raise ImageUnavailable(
                f"{image[:LONGEST]!r} does not name an image",
                remedy="write it like registry.example/name:tag",
            )
        registry, path = match["host"] or DEFAULT_REGISTRY, match["path"]
        if registry in _DEFAULT_ALIASES:
            registry = DEFAULT_REGISTRY
            path = path if "/" in path else f"library/{path}"
        return cls(registry=registry, path=path, tag=match["tag"] or "latest", digest=match["digest"])


def login_for(reference: Reference, credentials: Credentials | None) -> Credentials | None:
    """The tenant's login where it is for the image's registry: a password goes nowhere else."""
    if credentials is None:
        return None
    host = credentials.host.lower().removeprefix("https://").removeprefix("http://").partition("/")[0]
    if host in _DEFAULT_ALIASES or not host:
        host = DEFAULT_REGISTRY
    return credentials if host == reference.registry else None
