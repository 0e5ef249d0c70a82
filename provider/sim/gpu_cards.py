"""Cards that can be simulated: figures of real ones, for the simulated probe and the simulated library.

Figures are the makers' data sheets', and what ``nvidia-smi`` prints for them; memory is what NVML reports.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One model. Watts, megahertz; ``memory_bytes`` is None on parts that share the host's memory."""

    name: str
    memory_bytes: int | None
    architecture: str
    compute_capability: str
    power_limit_watts: int
    idle_watts: int
    clock_sm_megahertz: int
    clock_memory_megahertz: int
    has_fan: bool = False
    is_mig_capable: bool = False


CARDS = {
    "h100": Card(
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=81559 * MIB,
        architecture="hopper",
        compute_capability="9.0",
        power_limit_watts=700,
        idle_watts=70,
        clock_sm_megahertz=1980,
        clock_memory_megahertz=2619,
        is_mig_capable=True,
    ),
    "h100-1g.10gb": Card(
        name="NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        memory_bytes=9856 * MIB,
        architecture="hopper",
        compute_capability="9.0",
        power_limit_watts=700,
        idle_watts=70,
        clock_sm_megahertz=1980,
        clock_memory_megahertz=2619,
    ),
    "h200": Card(
        name="NVIDIA H200",
        memory_bytes=143771 * MIB,
        architecture="hopper",
        compute_capability="9.0",
        power_limit_watts=700,
        idle_watts=76,
        clock_sm_megahertz=1980,
        clock_memory_megahertz=3201,
        is_mig_capable=True,
    ),
    "a100": Card(
        name="NVIDIA A100-SXM4-80GB",
        memory_bytes=81920 * MIB,
        architecture="ampere",
        compute_capability="8.0",
        power_limit_watts=400,
        idle_watts=60,
        clock_sm_megahertz=1410,
        clock_memory_megahertz=1593,
        is_mig_capable=True,
    ),
    "l40s": Card(
        name="NVIDIA L40S",
        memory_bytes=46068 * MIB,
        architecture="ada",
        compute_capability="8.9",
        power_limit_watts=350,
        idle_watts=35,
        clock_sm_megahertz=2520,
        clock_memory_megahertz=9001,
    ),
    "rtx4090": Card(
        name="NVIDIA GeForce RTX 4090",
        memory_bytes=24564 * MIB,
        architecture="ada",
        compute_capability="8.9",
        power_limit_watts=450,
        idle_watts=20,
        clock_sm_megahertz=2520,
        clock_memory_megahertz=10501,
        has_fan=True,
    ),
    "rtx2080super": Card(
        name="NVIDIA GeForce RTX 2080 SUPER",
        memory_bytes=8192 * MIB,
        architecture="turing",
        compute_capability="7.5",
        power_limit_watts=250,
        idle_watts=12,
        clock_sm_megahertz=1815,
        clock_memory_megahertz=7751,
        has_fan=True,
    ),
    "t4": Card(
        name="Tesla T4",
        memory_bytes=15360 * MIB,
        architecture="turing",
        compute_capability="7.5",
        power_limit_watts=70,
        idle_watts=10,
        clock_sm_megahertz=1590,
        clock_memory_megahertz=5001,
    ),
    "gb10": Card(
        name="NVIDIA GB10",
        memory_bytes=None,
        architecture="blackwell",
        compute_capability="12.1",
        power_limit_watts=140,
        idle_watts=5,
        clock_sm_megahertz=2418,
        clock_memory_megahertz=8533,
    ),
}
"""By the marketplace's spelling of the model; a MIG instance by card and profile."""
