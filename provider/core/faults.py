"""What a GPU's Xids come to together: which are one incident, which repeat, which go with a memory error.

Pure. What a single Xid means is ``xids``'s.
"""

from __future__ import annotations

from dataclasses import replace

from provider.core import xids
from provider.domain.gpu_health import FAULTS_MOST, GpuRecord, GpuSignal, SeenFault, XidClass
from provider.domain.ids import LeaseId
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span

DOUBLE_BIT = 48
INCIDENT = MINUTE
"""Several of the same within this are one."""
DAY = Span(24 * HOUR)
AROUND_OUR_STOP = Span(10 * SECOND)
TOGETHER = Span(MINUTE)
"""An uncorrectable error and the Xid that says it was contained are this near to each other."""
SETTLES = Span(5 * SECOND)
"""So long an Xid 48 waits for the one that says it was contained."""
APP_FEWEST = 3
"""The same programming error so often a day, of more than one tenant, is perhaps not theirs. Leases do not
count: one tenant starts a program that fails again and again, and could take the card from all others so."""
CLOCK_STEP = Span(5 * MINUTE)
"""The kernel's log counts from the boot: its instants move with the clock. Rather one incident too few than
one too many."""
REPEATABLE = frozenset({XidClass.SUSPECT, XidClass.CONTAINED, XidClass.UNKNOWN})


def remembered(record: GpuRecord, xid: int, at: Instant, lease: LeaseId | None, count: int) -> GpuRecord:
    """``record`` with one more fault, or a greater one of the same incident."""
    for seen in reversed(record.faults):
        if seen.xid == xid and seen.lease == lease and 0 <= at - seen.at <= INCIDENT:
            more = replace(seen, at=at, count=seen.count + count)
            return replace(record, faults=tuple(more if each is seen else each for each in record.faults))
    seen = SeenFault(xid=xid, at=at, began=at, count=count, lease=lease, boot_id=record.boot_id)
    return replace(record, faults=(*record.faults, seen)[-FAULTS_MOST:])


def raised_now(record: GpuRecord, xid: int, at: Instant) -> dict[GpuSignal, str]:
    """The signals that the newest fault raises, with what is to be said of each."""
    raised = {}
    kind, signal = xids.xid_class(xid), xids.raised_by(xid)
    if signal is not None:
        raised[signal] = f"Xid {xid}: {xids.meaning(xid)}"
    counted = [each for each in record.faults if _counts(record, each) and at - each.at <= DAY]
    if kind in REPEATABLE and signal is not GpuSignal.REMAP_PENDING:
        alike = [each for each in counted if xids.raised_by(each.xid) is signal]
        if _are_apart(alike):
            raised[GpuSignal.XID_REPEATED] = f"Xid {xid} again within a day: {xids.meaning(xid)}"
    if signal is GpuSignal.RESET_NEEDED and any(
        xids.raised_by(each.xid) is signal and not _is_current(record, each) for each in counted
    ):
        raised[GpuSignal.XID_REPEATED] = f"Xid {xid} after a reset within a day: {xids.meaning(xid)}"
    if kind is XidClass.APP and xid not in xids.CLEANUP:
        same = [each for each in counted if each.xid == xid and each.lease is not None]
        owners = {each.lease.owner for each in same if each.lease is not None}
        if len(same) >= APP_FEWEST and len(owners) > 1:
            raised[GpuSignal.APP_FAULTS] = (
                f"Xid {xid} {len(same)} times within a day, of {len(owners)} tenants"
            )
    return raised


def _counts(record: GpuRecord, seen: SeenFault) -> bool:
    """Whether it came after the operator last said that the GPU is well."""
    return record.acknowledged_at is None or seen.began > record.acknowledged_at


def _is_current(record: GpuRecord, seen: SeenFault) -> bool:
    """Whether the card was not reset since, be it by a reboot."""
    is_before = record.reset_at is not None and seen.at < record.reset_at
    return seen.boot_id == record.boot_id and not is_before


def _are_apart(alike: list[SeenFault]) -> bool:
    """Whether they are two incidents: one trouble may be several numbers, or several leases', at once."""
    return bool(alike) and max(each.began for each in alike) - min(each.at for each in alike) > INCIDENT


def is_known(record: GpuRecord, xid: int, at: Instant) -> bool:
    """Whether a fault that the kernel's log tells again was taken in before, or acknowledged since."""
    if record.acknowledged_at is not None and at <= record.acknowledged_at:
        return True
    return any(
        each.xid == xid
        and each.boot_id == record.boot_id
        and each.began - CLOCK_STEP <= at <= each.at + CLOCK_STEP
        for each in record.faults
    )


def is_ours(record: GpuRecord, xid: int, at: Instant, *, is_stopping: bool) -> bool:
    """Whether it is only what our own end of a lease's containers looks like."""
    if xid not in xids.OUR_STOP:
        return False
    stopped = record.stopped_at
    return is_stopping or (stopped is not None and abs(at - stopped) <= AROUND_OUR_STOP)


def is_accounted(record: GpuRecord, at: Instant) -> bool:
    """Whether an uncorrectable error of about now is one that an Xid says was dealt with."""
    return any(each.xid in xids.ACCOUNTED and abs(at - each.at) <= TOGETHER for each in record.faults)


def uncontained(record: GpuRecord) -> bool:
    """Whether there is an Xid 48 since the last reset that no other Xid says was dealt with."""
    return any(
        each.xid == DOUBLE_BIT
        and _is_current(record, each)
        and _counts(record, each)
        and not is_accounted(record, each.at)
        for each in record.faults
    )
