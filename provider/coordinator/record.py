"""The public record: what became of every lease, in a chain that cannot be rewritten unseen.

Owns the form of an entry and its hash. Each entry is canonical JSON (sorted keys, no spaces, ASCII) and
``hash = sha256(previous hash + JSON)``; the first one's predecessor is 32 zero bytes. Whoever keeps any one
hash can prove every earlier entry.

**Invariant:** an entry is never changed or removed, and none names a tenant: owners appear as salted hashes,
the same for all leases of one owner in one market.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from provider.domain.ids import LeaseId, Owner
from provider.domain.market import CloseReason, GpuOffer
from provider.domain.moment import Instant
from provider.domain.money import Money, Rate

Json = str | int | bool | None | list["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEntry:
    """One line. ``number`` counts from 1 without gaps."""

    number: int
    at: Instant
    body_json: str
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """The newest entry's number and hash: all that is needed to write the next one."""

    number: int = 0
    hash: bytes = bytes(32)


def append(tip: Tip, body: Mapping[str, Json], at: Instant) -> RecordEntry:
    """The next entry. Its number and instant are part of what is hashed."""
    number = tip.number + 1
    text = json.dumps({**body, "number": number, "at_ms": at}, sort_keys=True, separators=(",", ":"))
    return RecordEntry(number=number, at=at, body_json=text, hash=chained(tip.hash, text))


def chained(previous: bytes, body_json: str) -> bytes:
    return hashlib.sha256(previous + body_json.encode("ascii", "backslashreplace")).digest()


def verify(entries: Iterable[RecordEntry], tip: Tip = Tip()) -> str | None:
    """None when ``entries`` follow ``tip`` unbroken, else one line on the first that does not."""
    for entry in entries:
        if entry.number != tip.number + 1:
            return f"entry {entry.number} follows entry {tip.number}"
        if entry.hash != chained(tip.hash, entry.body_json):
            return f"entry {entry.number} is not what was written"
        body = json.loads(entry.body_json)
        if (body.get("number"), body.get("at_ms")) != (entry.number, entry.at):
            return f"entry {entry.number} carries another entry's number or instant"
        tip = Tip(number=entry.number, hash=entry.hash)
    return None


def alias(salt: bytes, owner: Owner) -> str:
    """How an owner appears: 32 hex digits that only the market, which has the salt, can link to a name."""
    return salted(salt, owner)


def salted(salt: bytes, text: str) -> str:
    return hashlib.sha256(salt + b"/" + text.encode()).hexdigest()[:32]


def lease_opened(lease: Mapping[str, Json], rate: Rate, gpus: tuple[GpuOffer, ...]) -> dict[str, Json]:
    return {
        "event": "lease_opened",
        "lease": lease,
        "rate": {"amount": f"{rate.amount.normalize():f}", "denom": rate.denom.value},
        "gpus": [
            {
                "model": gpu.model,
                "count": gpu.count,
                "memory_bytes": gpu.memory_bytes,
                "interface": gpu.interface,
                "simulated": gpu.simulated,
            }
            for gpu in gpus
        ],
    }


def lease_updated(lease: Mapping[str, Json], salt: bytes, manifest_hash: str) -> dict[str, Json]:
    """Another manifest was ordered for the lease. Its hash is salted: of a manifest that is known but for a
    password, the plain one would give that password to whoever tries them all."""
    return {"event": "lease_updated", "lease": lease, "manifest": salted(salt, manifest_hash)}


def lease_closed(lease: Mapping[str, Json], reason: CloseReason) -> dict[str, Json]:
    return {"event": "lease_closed", "lease": lease, "reason": reason.value, "fault": reason.fault.value}


def lease_settled(lease: Mapping[str, Json], running_ms: int, paid: Money) -> dict[str, Json]:
    return {
        "event": "lease_settled",
        "lease": lease,
        "running_ms": running_ms,
        "paid": {"amount_micros": paid.amount, "denom": paid.denom.value},
    }


def lease_name(lease: LeaseId, salt: bytes) -> dict[str, Json]:
    """A lease as the record names it."""
    return {
        "owner": alias(salt, lease.owner),
        "dseq": lease.dseq,
        "gseq": lease.gseq,
        "oseq": lease.oseq,
        "provider": lease.provider,
    }
