"""What is asked for: CPU in milli-cores, memory and storage in bytes, GPUs by model, memory and interface.

The shapes follow Akash's resource units, so that manifest and group JSON can be equal to the byte;
the JSON itself is made in ``sdl``. Whether a node has what is asked is decided in ``core``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from provider.domain.money import Rate

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Attribute:
    """A key and its value, both text: what a tenant requires, or what a provider claims."""

    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAlternative:
    """One kind of GPU that would do. ``None`` means any."""

    vendor: str
    model: str | None = None
    """The marketplace's spelling, lower case: ``h100``, ``rtx4090``."""
    ram: str | None = None
    """As written, ``80Gi``: the card's memory must be that size."""
    interface: str | None = None
    """``pcie`` or ``sxm``."""

    def key(self) -> str:
        """Akash's attribute key, ``vendor/nvidia/model/h100/ram/80Gi/interface/sxm``."""
        ram = f"/ram/{self.ram}" if self.ram else ""
        interface = f"/interface/{self.interface}" if self.interface else ""
        return f"vendor/{self.vendor}/model/{self.model or '*'}{ram}{interface}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAsk:
    """``units`` whole GPUs (or MIG instances), each of which matches at least one alternative."""

    units: int = 0
    alternatives: tuple[GpuAlternative, ...] = ()
    """Sorted by ``key()``; empty only where ``units`` is 0."""


_PERSISTENT = Attribute(key="persistent", value="true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Storage of one replica. The one named ``default`` is its writable layer."""

    name: str
    size_bytes: int
    attributes: tuple[Attribute, ...] = ()
    """Sorted by key: ``class`` and ``persistent``; empty for ephemeral storage."""

    @property
    def storage_class(self) -> str | None:
        for each in self.attributes:
            if each.key == "class":
                return each.value
        return None

    @property
    def is_persistent(self) -> bool:
        return _PERSISTENT in self.attributes

    @property
    def is_ram(self) -> bool:
        """A tmpfs, charged to the service's memory."""
        return self.storage_class == "ram"


class EndpointKind(IntEnum):
    """How a port is reached from outside, with Akash's numbers."""

    SHARED_HTTP = 0
    RANDOM_PORT = 1
    LEASED_IP = 2


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Endpoint:
    kind: EndpointKind
    sequence_number: int = 0
    """Which declared IP, from 1; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one replica gets."""

    id: int
    """Number of the resource unit in its group, from 1."""
    cpu_millis: int
    memory_bytes: int
    gpu: GpuAsk = GpuAsk()
    storage: tuple[Volume, ...] = ()
    """By size, then the ``persistent`` attribute, then name."""
    endpoints: tuple[Endpoint, ...] = ()
    cpu_attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUnit:
    """``count`` replicas of the same resources at a highest price each, per block."""

    resources: Resources
    count: int
    price: Rate
