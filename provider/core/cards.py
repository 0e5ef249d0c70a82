"""Which card is what an order asks for. Only that: whether it is free is ``placement``'s.

Invariant: a card that was cut into instances is never sold whole, and an instance is never taken for a whole
card: it serves asks for its memory, and those for whatever there is.
"""

from __future__ import annotations

from provider.domain.gpu import Gpu
from provider.domain.resources import GIB, GpuAlternative, GpuAsk


def fits(gpu: Gpu, ask: GpuAsk) -> bool:
    """Whether the card matches any alternative of ``ask``."""
    return any(matches(gpu, alternative) for alternative in ask.alternatives)


def matches(gpu: Gpu, alternative: GpuAlternative) -> bool:
    """Whether a card is what is asked for, whatever its health."""
    if gpu.mig is None:
        is_offered = not gpu.is_mig_on
    else:
        is_offered = alternative.ram is not None or alternative.model is None
    return is_offered and is_kind(gpu, alternative)


def is_kind(gpu: Gpu, alternative: GpuAlternative) -> bool:
    """Whether a card, or what an instance is a part of, is of the kind that ``alternative`` names."""
    return (
        alternative.vendor == "nvidia"
        and alternative.model in (None, gpu.model)
        and alternative.interface in (None, gpu.interface)
        and (alternative.ram is None or has_memory(gpu, alternative.ram))
    )


def has_memory(gpu: Gpu, ram: str) -> bool:
    """Whether the card is sold as one of ``ram``, such as ``80Gi``.

    Cards report up to 8 % less than the number on the box (A10G "24 GB": 22731 MiB; T4 "16 GB": 15079 MiB;
    H100 "80 GB": 81559 MiB): gigabytes are counted both ways, and ECC and older drivers take their part.
    """
    number = ram.removesuffix("Gi")
    if gpu.memory_bytes is None or not number.isdigit():
        return False
    asked = int(number) * GIB
    return asked * 92 <= gpu.memory_bytes * 100 <= asked * 101
