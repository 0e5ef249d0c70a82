"""Members of a market and their names in certificates.

A member is known by the one URI name in its certificate, ``spiffe://<market>/<role>/<name>``, never by
a common name. The DNS name beside it exists only so that TLS libraries, which compare host names, can
check whom they reached whatever the address was.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from provider.domain.ids import market_name, member_name


class Role(StrEnum):
    PROVIDER = "provider"
    TENANT = "tenant"
    COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who someone is in which market. The coordinator has no name of its own."""

    role: Role
    market: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.role} {self.name} of {self.market}" if self.name else f"{self.role} of {self.market}"

    @property
    def spiffe_id(self) -> str:
        """``spiffe://market/provider/name`` or ``spiffe://market/coordinator``."""
        return f"spiffe://{self.market}/{self.role}" + (f"/{self.name}" if self.name else "")

    @property
    def dns_name(self) -> str:
        """``name.provider.market.internal``: ``.internal`` is reserved for private use (ICANN, 2024)."""
        return (f"{self.name}." if self.name else "") + f"{self.role}.{self.market}.internal"

    @classmethod
    def checked(cls, *, role: str, market: str, name: str = "") -> Self:
        """From text that came from outside; ``ValueError`` where it names nobody."""
        if role not in tuple(Role):
            raise ValueError(f"{role!r} is not a role: {', '.join(Role)}")
        if (role == Role.COORDINATOR) != (name == ""):
            raise ValueError(f"a {role} cannot be named {name!r}")
        return cls(role=Role(role), market=market_name(market), name=member_name(name) if name else "")

    @classmethod
    def parse(cls, spiffe_id: str) -> Self:
        """From a certificate's URI name; ``ValueError`` where it is not one of ours."""
        scheme, separator, rest = spiffe_id.partition("://")
        parts = rest.split("/")
        if scheme != "spiffe" or not separator or len(parts) not in {2, 3}:
            raise ValueError(f"{spiffe_id!r} does not name a member of a market")
        return cls.checked(role=parts[1], market=parts[0], name=parts[2] if len(parts) == 3 else "")
