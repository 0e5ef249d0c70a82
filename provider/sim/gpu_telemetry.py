"""What a simulated card tells beside its load: clocks, links, errors, as a real one of its kind would.

Owns which facts which kind of card has: a consumer card has no ECC, only NVSwitch systems have a fabric. What
a kind does not tell is absent here too. Invariant: counters grow with time and load, and with nothing else.
"""

from __future__ import annotations

from dataclasses import replace

from provider.domain.gpu import ClockReason, Gpu, GpuReading, MigSlice
from provider.domain.ids import GpuUuid
from provider.sim.gpu_cards import MIB, Card

NVLINKS = 18
"""Of a Hopper on an NVSwitch board."""
_PCIE_BYTES_A_SECOND = 2_000_000_000
_NVLINK_BYTES_A_SECOND = 90_000_000_000
_REPLAY_EVERY_S = 600
_ECC_EVERY_S = 900
_IDLE_CLOCK_SHARE = 0.25
_HOT_CELSIUS = 70
"""From there on a busy card holds its clocks down."""
_SLOWDOWN_CELSIUS = 87.0


def with_limits(gpu: Gpu, card: Card) -> Gpu:
    """``gpu`` with what a discovery reads beside name and memory."""
    is_server = _is_server(card)
    return replace(
        gpu,
        power_limit_default_watts=float(card.power_limit_watts),
        vbios="96.00.74.00.01",
        is_ecc_on=True if is_server else None,
        is_mig_on=False if card.is_mig_capable else None,
        is_confidential=False if card.architecture in {"hopper", "blackwell"} else None,
        clock_graphics_most_hertz=card.clock_sm_megahertz * 1e6,
        clock_sm_most_hertz=card.clock_sm_megahertz * 1e6,
        clock_memory_most_hertz=card.clock_memory_megahertz * 1e6,
        clock_video_most_hertz=card.clock_sm_megahertz * 0.9e6,
        pcie_width_most=16,
        pcie_generation_most=5 if card.architecture in {"hopper", "blackwell"} else 4,
        nvlinks=NVLINKS if gpu.interface == "sxm" else None,
        slowdown_celsius=_SLOWDOWN_CELSIUS,
        shutdown_celsius=_SLOWDOWN_CELSIUS + 5,
        mig=_slice(gpu, card),
    )


def _slice(gpu: Gpu, card: Card) -> MigSlice | None:
    _, is_instance, profile = card.name.partition(" MIG ")
    if not is_instance:
        return None
    parent = GpuUuid(f"GPU-SIM-PARENT-{gpu.uuid.removeprefix('GPU-SIM-')}")
    return MigSlice(parent=parent, profile=profile, gpu_instance=7, compute_instance=0, slices=1)


def told(reading: GpuReading, gpu: Gpu, card: Card, *, load: float, ran_s: float) -> GpuReading:
    """``reading`` with all that a card of that kind tells. ``load`` is its mean since ``ran_s`` seconds."""
    busy = reading.utilization_ratio or 0.0
    clock_share = 1.0 if busy > 0.05 else _IDLE_CLOCK_SHARE
    celsius = reading.temperature_celsius
    is_hot = busy > 0.5 and celsius is not None and celsius >= _HOT_CELSIUS
    common = replace(
        reading,
        memory_utilization_ratio=round(0.6 * busy, 2),
        encoder_ratio=0.0,
        decoder_ratio=0.0,
        bar1_used_bytes=2 * MIB,
        temperature_margin_celsius=None if celsius is None else _SLOWDOWN_CELSIUS - celsius,
        clock_graphics_hertz=card.clock_sm_megahertz * 1e6 * clock_share,
        clock_sm_hertz=card.clock_sm_megahertz * 1e6 * clock_share,
        clock_video_hertz=card.clock_sm_megahertz * 0.9e6 * clock_share,
        performance_state=0 if busy > 0.05 else 8,
        clock_reasons=_reasons(busy, is_hot=is_hot),
        pcie_received_bytes=int(load * ran_s * _PCIE_BYTES_A_SECOND),
        pcie_sent_bytes=int(load * ran_s * _PCIE_BYTES_A_SECOND / 4),
        pcie_replays=int(ran_s / _REPLAY_EVERY_S),
        pcie_width=16,
        pcie_generation=gpu.pcie_generation_most if busy > 0.05 else 1,
        is_persistent=True,
    )
    return _of_servers(common, gpu, card, load=load, ran_s=ran_s) if _is_server(card) else common


def _of_servers(reading: GpuReading, gpu: Gpu, card: Card, *, load: float, ran_s: float) -> GpuReading:
    busy = reading.utilization_ratio or 0.0
    reading = replace(
        reading,
        temperature_memory_celsius=(reading.temperature_celsius or 0.0) + 6,
        ecc_corrected=int(ran_s / _ECC_EVERY_S),
        ecc_uncorrected=0,
        remapped_correctable=1 if gpu.index == 0 else 0,
        remapped_uncorrectable=0,
        is_remap_pending=False,
        is_remap_failed=False,
        remap_banks_exhausted=0,
        recovery_action=0,
    )
    if card.architecture == "hopper":
        reading = replace(
            reading, sm_active_ratio=round(0.8 * busy, 3), tensor_active_ratio=round(0.45 * busy, 3)
        )
    if gpu.nvlinks is None:
        return reading
    return replace(
        reading,
        nvlink_up=gpu.nvlinks,
        nvlink_received_bytes=int(load * ran_s * _NVLINK_BYTES_A_SECOND),
        nvlink_sent_bytes=int(load * ran_s * _NVLINK_BYTES_A_SECOND),
        nvlink_replays=int(ran_s / _REPLAY_EVERY_S),
        nvlink_recoveries=0,
        nvlink_crc_errors=0,
        is_fabric_ready=True,
    )


def _reasons(busy: float, *, is_hot: bool) -> frozenset[ClockReason]:
    if busy <= 0.05:
        return frozenset({ClockReason.IDLE})
    held = {ClockReason.SW_POWER_CAP} if busy > 0.9 else set()
    return frozenset(held | ({ClockReason.SW_THERMAL} if is_hot else set()))


def _is_server(card: Card) -> bool:
    return not card.has_fan and card.memory_bytes is not None
