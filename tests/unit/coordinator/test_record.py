"""The public record: its form to the byte, and that tampering shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from provider.coordinator.record import RecordEntry, Tip, alias, verify
from tests.market import ALICE, BOB, HASH, OTHER_HASH, Market


@pytest.fixture
def entries() -> list[RecordEntry]:
    market = Market()
    market.populate()
    lease = market.lease(price="1.50")
    market.later(60_000)
    market.end(lease)
    market.used(lease, 1, 60_000, final=True)
    return [row for row in market.rows if isinstance(row, RecordEntry)]


def test_every_lease_is_told_from_opening_to_settlement(entries: list[RecordEntry]) -> None:
    lease = {"dseq": 1, "gseq": 1, "oseq": 1, "owner": alias(b"salt", ALICE), "provider": "north"}
    start, end = 1_700_000_000_000, 1_700_000_060_000
    assert [json.loads(entry.body_json) for entry in entries] == [
        {
            "number": 1,
            "at_ms": start,
            "event": "lease_opened",
            "lease": lease,
            "gpus": [],
            "rate": {"amount": "1.5", "denom": "uact"},
        },
        {
            "number": 2,
            "at_ms": end,
            "event": "lease_closed",
            "lease": lease,
            "reason": "operator_closed",
            "fault": "provider",
        },
        {
            "number": 3,
            "at_ms": end,
            "event": "lease_settled",
            "lease": lease,
            "paid": {"amount_micros": 15, "denom": "uact"},
            "running_ms": 60_000,
        },
    ]


def test_anybody_can_follow_the_chain_with_sha256_alone(entries: list[RecordEntry]) -> None:
    previous = bytes(32)
    for entry in entries:
        previous = hashlib.sha256(previous + entry.body_json.encode()).digest()
        assert entry.hash == previous
    assert entries[0].body_json == json.dumps(
        json.loads(entries[0].body_json), sort_keys=True, separators=(",", ":")
    )


def test_whatever_is_changed_shows(entries: list[RecordEntry]) -> None:
    assert verify(entries) is None
    assert verify(entries[1:], Tip(number=1, hash=entries[0].hash)) is None
    forged = replace(entries[1], body_json=entries[1].body_json.replace("operator_closed", "gpu_failed"))
    assert verify([entries[0], forged, entries[2]]) == "entry 2 is not what was written"
    assert verify([entries[0], entries[2]]) == "entry 3 follows entry 1"
    moved = replace(entries[1], at=entries[0].at)
    assert verify([entries[0], moved]) == "entry 2 carries another entry's number or instant"
    assert verify(entries[1:]) == "entry 2 follows entry 0"


def test_an_update_is_told_without_giving_its_manifest_away() -> None:
    market = Market()
    market.populate()
    lease = market.lease()
    for manifest_hash in (OTHER_HASH, HASH, OTHER_HASH):
        market.update(lease.deployment, manifest_hash)
    entries = [json.loads(row.body_json) for row in market.rows if isinstance(row, RecordEntry)]
    assert [entry["event"] for entry in entries] == ["lease_opened", *["lease_updated"] * 3]
    told = [entry["manifest"] for entry in entries[1:]]
    assert told[0] == told[2] != told[1]
    assert hashlib.sha256(b"salt/" + OTHER_HASH.encode()).hexdigest().startswith(told[0])
    assert not any(OTHER_HASH[:32] in entry for entry in told)


def test_no_tenant_is_named_and_no_two_look_alike(entries: list[RecordEntry]) -> None:
    assert not any(ALICE in entry.body_json for entry in entries)
    names = {alias(b"salt", ALICE), alias(b"salt", BOB), alias(b"other", ALICE)}
    assert len(names) == 3
