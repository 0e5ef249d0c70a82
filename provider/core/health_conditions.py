"""The questions behind the health table: each looks at one GPU and says what is wrong, or that nothing is.

A condition answers with one line where something is wrong, with ``WELL`` where nothing is, and with None
where it cannot be told: the card has no such thing, or the moment does not show it. Pure; how long it must be
so, and what follows, is the table's (``health``).
"""

from __future__ import annotations

from provider.core import error_counts, faults
from provider.core.health_looks import CardWatch, Look, is_thermal
from provider.domain.gpu import ClockReason, GpuHealth, GpuReading
from provider.domain.gpu_health import GpuSignal
from provider.domain.resources import MIB

WELL = ""
Answer = str | None

ONSETS_FEWEST = 6
"""Of heat, within ten minutes: 0.6 a minute (gpud's threshold)."""
SLOWDOWN_MARGIN_C = 3
SHUTDOWN_MARGIN_C = 2
COOLED_BY_C = 10
"""Below the threshold at which it became too hot."""
BUSY_RATIO = 0.2
"""From here on a PCIe link is expected at its full width."""
REPLAYS_MOST = 10
"""A minute."""
RETRIES_MOST = 10
"""NVLink replays and recoveries an hour."""
CRC_MOST = 6_000
"""NVLink CRC errors a minute: 100 a second."""
CORRECTED_MOST = 1_000
"""Correctable errors a day."""
LEFT_MOST_BYTES = 500 * MIB
"""More than this over what an idle card uses is somebody's."""
GHOST_RATIO = 0.95
NOTHING, REBOOTS, DRAINS = 0, frozenset({2, 7}), frozenset({3, 4, 5})
"""``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION``: 1 reset, 2 node reboot, 3 drain peer-to-peer, 4 drain and reset,
5 recover IMEX, 6 bus reset, 7 system reboot."""
RECOVERY_WORDS = {
    1: "a reset",
    2: "a reboot",
    3: "draining its peer-to-peer traffic",
    4: "draining and a reset",
    5: "a recovery of IMEX",
    6: "a bus reset",
    7: "a reboot",
}


def _told(is_bad: bool | None, detail: str) -> Answer:
    return None if is_bad is None else detail if is_bad else WELL


def trouble(look: Look, _watch: CardWatch) -> Answer:
    """What the probe itself says of a card that it cannot read well. A lost one is another matter."""
    if look.gpu is None or look.gpu.health is GpuHealth.UNHEALTHY or look.gpu.is_mig_on:
        return None  # lost is another row; a card whose instances are sold is never sold whole
    return _told(look.gpu.health is not GpuHealth.HEALTHY, look.gpu.problem or "it answers badly")


def silence(look: Look, _watch: CardWatch) -> Answer:
    if look.gpu is None or look.gpu.health is GpuHealth.UNHEALTHY or look.gpu.mig is not None:
        return None  # of a lost card none is expected; an instance is as visible as its card
    return _told(look.reading is None, "no reading of it comes any more")


def missing(look: Look, _watch: CardWatch) -> Answer:
    if look.is_unlisted is not None or not (look.gpu or look.record.is_expected):
        return None  # a place, or nobody waits for it
    return _told(look.gpu is None, "the driver does not list it any more")


def unlisted(look: Look, _watch: CardWatch) -> Answer:
    return _told(look.is_unlisted, "the PCI bus has a card there that the driver does not list")


def slow(look: Look, _watch: CardWatch) -> Answer:
    if look.gpu is None or look.gpu.mig is not None:
        return None  # an instance is as slow as its card
    return _told(look.gpu.slow_call is not None, look.gpu.slow_call or "")


def inforom(look: Look, _watch: CardWatch) -> Answer:
    return _told(look.gpu.is_inforom_corrupt if look.gpu else None, "its InfoROM is corrupt")


def uncorrected(look: Look, _watch: CardWatch) -> Answer:
    """An uncorrectable memory error that nothing says was contained."""
    count = look.reading.ecc_uncorrected if look.reading else None
    known = look.record.ecc_uncorrected
    grown = count - known if count is not None and known is not None else 0
    if grown > 0 and not faults.is_accounted(look.record, look.at):
        return f"{grown} more uncorrectable memory error(s)"
    if faults.uncontained(look.record):
        return "Xid 48: an uncorrectable memory error"
    return WELL


def remap_pending(look: Look, _watch: CardWatch) -> Answer:
    return _told(
        look.reading.is_remap_pending if look.reading else None, "a memory row is replaced at its next reset"
    )


def remap_failed(look: Look, _watch: CardWatch) -> Answer:
    return _told(
        look.reading.is_remap_failed if look.reading else None, "a bad memory row could not be replaced"
    )


def remap_exhausted(look: Look, _watch: CardWatch) -> Answer:
    banks = look.reading.remap_banks_exhausted if look.reading else None
    return _told(None if banks is None else banks > 0, f"{banks} memory bank(s) have hardly a spare row left")


def corrected(look: Look, _watch: CardWatch) -> Answer:
    count = look.reading.ecc_corrected if look.reading else None
    if count is None:
        return None
    grown = error_counts.growth(look.record.ecc_corrected, count, look.at)
    return _told(grown > CORRECTED_MOST, f"{grown} correctable memory errors within a day")


def _rate(watch: CardWatch, name: str, most: int, words: str) -> Answer:
    window = watch.windows.get(name)
    return None if window is None else _told(window.growth > most, f"{window.growth} {words}")


def recovery(look: Look, _watch: CardWatch) -> Answer:
    """What the driver advises. Consumer cards were seen to advise a reset while all is well."""
    action = look.reading.recovery_action if look.reading else None
    if action is None or look.gpu is None:
        return None
    counts = action in DRAINS or (action not in REBOOTS and action != NOTHING and not is_consumer(look))
    return _told(counts, f"the driver advises {RECOVERY_WORDS.get(action, f'action {action}')}")


def is_consumer(look: Look) -> bool:
    return look.gpu is not None and "GeForce" in look.gpu.name


def reboot_advised(look: Look, _watch: CardWatch) -> Answer:
    action = look.reading.recovery_action if look.reading else None
    return None if action is None else _told(action in REBOOTS, "the driver advises a reboot")


def nvlink_down(look: Look, watch: CardWatch) -> Answer:
    """A link that was up is not, or was never of all that the card has once one is."""
    up = look.reading.nvlink_up if look.reading else None
    if up is None or not watch.links_most:
        return None
    return _told(up < watch.links_most, f"{up} of {watch.links_most} NVLinks are up")


def nvlink_errors(_look: Look, watch: CardWatch) -> Answer:
    retries = _rate(watch, "nvlink_retries", RETRIES_MOST, "NVLink replays within an hour")
    return retries or _rate(watch, "nvlink_crc", CRC_MOST, "NVLink CRC errors within a minute") or retries


def fabric(look: Look, _watch: CardWatch) -> Answer:
    is_ready = look.reading.is_fabric_ready if look.reading else None
    return None if is_ready is None else _told(not is_ready, "it has not joined its NVSwitch fabric in full")


def hw_thermal(look: Look, watch: CardWatch) -> Answer:
    reasons = look.reading.clock_reasons if look.reading else None
    return None if reasons is None else _told(is_thermal(reasons), "slowed down by the hardware: heat")


def hw_thermal_often(_look: Look, watch: CardWatch) -> Answer:
    return _rate(watch, "thermal_onsets", ONSETS_FEWEST - 1, "slowdowns by heat within ten minutes")


def power_brake(look: Look, _watch: CardWatch) -> Answer:
    return _reason(look.reading, ClockReason.HW_POWER_BRAKE, "slowed down by the power supply")


def sw_thermal(look: Look, _watch: CardWatch) -> Answer:
    return _reason(look.reading, ClockReason.SW_THERMAL, "slowed down by the driver: heat")


def _reason(reading: GpuReading | None, reason: ClockReason, detail: str) -> Answer:
    reasons = reading.clock_reasons if reading else None
    return None if reasons is None else _told(reason in reasons, detail)


def too_hot(look: Look, _watch: CardWatch) -> Answer:
    """Near the point of slowing down. Once it is too hot it must cool by some degrees to be well."""
    margins = _margins(look)
    if not margins:
        return None
    margin, words = min(margins)
    most = COOLED_BY_C if look.record.has(GpuSignal.TOO_HOT) else 0
    return _told(margin <= most, words)


def _margins(look: Look) -> list[tuple[float, str]]:
    """How far from too hot, in degrees: 0 and less is too hot."""
    reading, gpu = look.reading, look.gpu
    if reading is None or gpu is None:
        return []
    margins: list[tuple[float, str]] = []
    core, memory = reading.temperature_celsius, reading.temperature_memory_celsius
    if core is not None and gpu.slowdown_celsius is not None:
        words = f"{core:.0f} °C, and it slows down at {gpu.slowdown_celsius:.0f} °C"
        margins.append((gpu.slowdown_celsius - SLOWDOWN_MARGIN_C - core, words))
    if reading.temperature_margin_celsius is not None:
        left = reading.temperature_margin_celsius
        margins.append((left - SLOWDOWN_MARGIN_C, f"{left:.0f} °C from slowing down"))
    if memory is not None and gpu.memory_most_celsius is not None:
        words = f"its memory has {memory:.0f} °C of at most {gpu.memory_most_celsius:.0f} °C"
        margins.append((gpu.memory_most_celsius - memory + 0.5, words))
    return margins


def near_shutdown(look: Look, _watch: CardWatch) -> Answer:
    core = look.reading.temperature_celsius if look.reading else None
    most = look.gpu.shutdown_celsius if look.gpu else None
    if core is None or most is None:
        return None
    return _told(core >= most - SHUTDOWN_MARGIN_C, f"{core:.0f} °C, and it shuts down at {most:.0f} °C")


def pcie_narrow(look: Look, _watch: CardWatch) -> Answer:
    """Only under load: an idle link may be narrow to save power."""
    width = look.reading.pcie_width if look.reading else None
    most = look.gpu.pcie_width_most if look.gpu else None
    busy = look.reading.utilization_ratio if look.reading else None
    if width is None or most is None or (width < most and (busy is None or busy < BUSY_RATIO)):
        return None
    return _told(width < most, f"its PCIe link has {width} of {most} lanes")


def pcie_replays(_look: Look, watch: CardWatch) -> Answer:
    return _rate(watch, "pcie_replays", REPLAYS_MOST, "PCIe replays within a minute")


def mode_change(look: Look, _watch: CardWatch) -> Answer:
    if look.gpu is None:
        return None
    modes = [("ECC", look.gpu.is_ecc_to_change), ("MIG", look.gpu.is_mig_to_change)]
    pending = [name for name, is_pending in modes if is_pending]
    return _told(bool(pending), f"{' and '.join(pending)} will be another after its next reset")


def confidential(look: Look, _watch: CardWatch) -> Answer:
    if look.gpu is None or not look.gpu.is_confidential or look.gpu.is_confidential_ready is None:
        return None
    return _told(not look.gpu.is_confidential_ready, "confidential computing is on and not ready")


def persistence(look: Look, _watch: CardWatch) -> Answer:
    is_on = look.reading.is_persistent if look.reading else None
    return None if is_on is None else _told(not is_on, "persistence mode is off: nvidia-smi -pm 1")


def strangers(look: Look, _watch: CardWatch) -> Answer:
    """Processes on a card that nobody has. What a lease left is first the business of its check."""
    if look.is_held or look.strangers is None or look.record.has(GpuSignal.AWAITING_CHECK):
        return None
    return _told(bool(look.strangers), f"in use by {', '.join(look.strangers[:3])}")


def left_behind(look: Look, watch: CardWatch) -> Answer:
    """Processes or memory on a card that nobody has: for the check after a lease."""
    if look.is_held or look.has_idle_job or look.reading is None or look.gpu is None:
        return None
    if look.gpu.simulated:
        return WELL  # nothing runs on it, and its memory is made up
    if look.strangers:
        return f"in use by {', '.join(look.strangers[:3])}"
    used = look.reading.memory_used_bytes
    if used is None:
        return WELL
    most = (watch.idle_bytes or 0) + LEFT_MOST_BYTES
    return _told(used > most, f"{used // MIB} MiB in use, and nobody has it")


def unchecked(look: Look, watch: CardWatch) -> Answer:
    """Only a reading that was taken after the lease's end says what it left."""
    since = look.record.since(GpuSignal.AWAITING_CHECK)
    if since is None or look.reading is None or look.reading.at <= since:
        return None
    return left_behind(look, watch)


def ghost_load(look: Look, _watch: CardWatch) -> Answer:
    """A utilization that stands still after a kernel was killed in the middle of it (seen on Blackwell)."""
    busy = look.reading.utilization_ratio if look.reading else None
    used = look.reading.memory_used_bytes if look.reading else None
    if look.is_held or look.has_idle_job or busy is None or look.strangers is None:
        return None
    is_empty = not look.strangers and (used is None or used <= LEFT_MOST_BYTES)
    return _told(is_empty and busy >= GHOST_RATIO, f"{busy:.0%} busy, and there is no process on it")
