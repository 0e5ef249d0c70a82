"""The whole outside world on one page.

Every outside thing is behind one of these small protocols; each has a fake in ``provider.sim`` and a
real adapter in ``provider.adapters``, and one contract suite in ``tests/contract`` runs on both.
All of them raise only what ``domain.errors`` names. Long-lived ones are async context managers:
entering connects or spawns, leaving releases everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from provider.core.attribution import Tally
from provider.core.effects import Effect
from provider.core.events import Event
from provider.core.ledger import LedgerQuery, Record, Story
from provider.core.markets import Heard
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.gpu import GpuFault, GpuInventory, GpuReading
from provider.domain.ids import EffectId, LeaseId, OrderId
from provider.domain.journal import Happening, LeaseEvent
from provider.domain.market import Bid, CloseReason, LeaseHealth, Refused, Usage
from provider.domain.moment import Instant
from provider.domain.money import Rate
from provider.domain.node import HostCapacity
from provider.domain.price import PriceQuestion
from provider.domain.usage import ContainersRead
from provider.domain.workload import (
    Container,
    ExecOutput,
    Launch,
    LogBatch,
    PortBinding,
    RuntimeCapabilities,
    Workload,
)


class Clock(Protocol):
    """The only time."""

    def now(self) -> Instant:
        """UTC, milliseconds."""

    async def sleep_until(self, instant: Instant) -> None:
        """Return at ``instant``, or at once if it is past; earlier where the clock is set back meanwhile."""


class GpuProbe(Protocol):
    """Reads GPUs. Never raises for one sick GPU, nor for all of them: health is data."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def discover(self) -> GpuInventory:
        """What there is, read afresh. A host without a driver is an empty inventory with a ``problem``."""

    def readings(self) -> tuple[GpuReading, ...]:
        """The newest sample of each GPU, sorted by index; empty when none is fresh. Never blocks."""

    def changes(self) -> AsyncIterator[GpuInventory]:
        """Every later inventory that differs from the one before: a GPU came, went, or fell ill."""

    def faults(self) -> AsyncIterator[GpuFault]:
        """Every error that the driver reports, once, as it happens; those before it, newest 256, first.

        Where the kernel's log can be read these begin at boot, so that a new daemon hears them again, at
        the same instants give or take a step of the clock. Each call gets all of them.
        """


class HostProbe(Protocol):
    """Reads the machine's CPUs, memory, disk and ports."""

    def capacity(self) -> HostCapacity:
        """What there is to sell besides GPUs."""

    def busy_ports(self) -> frozenset[int]:
        """Ports on which somebody on this machine listens now, TCP or UDP, at whatever address."""


class ExecSession(Protocol):
    """A command running inside a container. Leaving it without reading to the end kills the command."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def output(self) -> AsyncIterator[ExecOutput]:
        """What it prints, in order; the last item carries the exit status."""

    async def write(self, data: bytes) -> None:
        """To its standard input."""

    async def close_input(self) -> None:
        """End of its standard input."""

    async def resize(self, rows: int, columns: int) -> None:
        """The terminal's new size; nothing without a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """Which lines of a lease's log: of one replica, one service or all."""

    service: str | None = None
    replica: int | None = None
    """Of ``service``; None for all of them."""
    follow: bool = False
    tail: int | None = None
    """Of each replica so many lines from the end; None for all that are kept."""
    since_ns: int = 0
    """UTC nanoseconds: lines written after this instant, so that the last line's goes on without a double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """A place in one replica of a service, running or not. ``path`` is absolute."""

    service: str
    path: str
    replica: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """A command for one replica of a service. ``rows`` and ``columns`` matter only with a terminal."""

    service: str
    argv: tuple[str, ...]
    replica: int = 0
    tty: bool = False
    rows: int = 24
    columns: int = 80


class Runtime(Protocol):
    """Runs leases, and the operator's idle job under a name like theirs (``domain.idle``).

    Keyed by lease and idempotent: start twice is once, stop of absent is fine.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def capabilities(self) -> RuntimeCapabilities:
        """What the engine can do, probed now. ``Temporary`` when the engine is away."""

    async def start(self, launch: Launch) -> Workload:
        """Pull, create and start all of ``launch``; return what runs once every container does.

        A container that already runs at its replica's generation is left as it is; one of an older
        generation is replaced. A service is started after those that it needs, once they are ready or have
        had their time. ``Temporary``: engine or registry away. ``ImageUnavailable``: no such image, or not
        ours to pull. ``Permanent``: the engine cannot run it so. After a failure nothing that this call
        began is left running; an older generation serves on until the newer one's images are there, and
        what was made may remain until ``stop``.
        """

    async def restart(self, lease: LeaseId, service: str, grace_s: int) -> Workload:
        """Stop and start the containers of ``service`` as they are; what runs of the lease then.

        ``Temporary`` when the engine is away or one of them is not there.
        """

    async def stop(self, lease: LeaseId, grace_s: int) -> None:
        """Remove the lease's containers, network and volumes. Fine when there are none."""

    async def look(self, lease: LeaseId) -> Workload | None:
        """One lease afresh, with readiness; None when nothing of it exists."""

    async def list(self) -> tuple[Workload, ...]:
        """All that exists of our leases, running or not, sorted by lease: the truth after a crash."""

    def hints(self) -> AsyncIterator[None]:
        """Yields when something may have changed and ``list`` is worth a look. May miss, may repeat."""

    def logs(self, lease: LeaseId, request: LogRequest) -> AsyncIterator[LogBatch]:
        """Lines in order per replica, those of replaced and removed containers first, as far as they are
        kept. Following ends when the containers have. ``Permanent`` if nothing of it is here."""

    async def exec(self, lease: LeaseId, request: ExecRequest) -> ExecSession:
        """Start a command in a running replica. ``Permanent`` if there is no such replica."""

    async def copy_in(self, lease: LeaseId, request: CopyRequest, archive: AsyncIterator[bytes]) -> int:
        """Unpack a tar archive in the folder ``request.path``; how many bytes of archive that were.

        Nothing in it leaves the container, whatever its names and links say. ``Permanent``: no such
        replica or folder, no archive, more than is allowed. A failure may leave a part unpacked.
        """

    def copy_out(self, lease: LeaseId, request: CopyRequest) -> AsyncIterator[bytes]:
        """The file or folder at ``request.path`` as a tar archive, under its own name. ``Permanent``: no
        such replica or path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event from a coordinator; ``committed`` is called once its step is, and acknowledges it."""

    event: Heard
    """In the market's own ids."""
    committed: Callable[[], None] | None = None


class Pricer(Protocol):
    """A price made by the operator's own: a script, a function. Asking twice is harmless."""

    async def price(self, question: PriceQuestion) -> Rate:
        """In the order's currency, not yet held to floor or maximum. ``Permanent`` or ``Temporary`` with the
        reason, one line, where none was given; it takes no longer than the operator allows."""


class CoordinatorLink(Protocol):
    """One outgoing stream to a market, kept up for ever. At least once, every message has an id.

    A disconnect is data (``CoordinatorLost``), not an exception. The methods that tell something wait
    until the coordinator has it committed, over any number of reconnects; their ids make a repeat
    harmless. ``Permanent`` when the coordinator refused, for good. All ids are the market's own, both ways.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def inbound(self) -> AsyncIterator[Delivery]:
        """Events in the market's order. Ends only when the link is left."""

    async def place_bid(self, key: EffectId, bid: Bid) -> None:
        """``Permanent`` if the market does not take it: closed, too dear, too late."""

    async def withdraw_bid(self, key: EffectId, bid: LeaseId) -> None:
        """Fine if it is gone already."""

    async def report_usage(self, key: EffectId, usage: Usage) -> None: ...

    async def confirm_lease(self, key: EffectId, lease: LeaseId) -> None: ...

    async def refuse_lease(self, key: EffectId, lease: LeaseId, why: Refused) -> None: ...

    async def report_lease(
        self, key: EffectId, lease: LeaseId, health: LeaseHealth, ports: tuple[PortBinding, ...], detail: str
    ) -> None: ...

    async def end_lease(self, key: EffectId, lease: LeaseId, reason: CloseReason, detail: str) -> None: ...


class Store(Protocol):
    """What was committed is there after kill -9, at any instruction."""

    def load(self) -> tuple[AgentState, tuple[Effect, ...]]:
        """The last committed state and the effects whose results were not, in the order they were wanted."""

    def commit(self, steps: Sequence[Step]) -> None:
        """States, new effects and settled ones of all ``steps``, in one transaction."""


class Observer(Protocol):
    """The one place where logs, metrics and the ledger come from. May not fail the loop."""

    def step(self, event: Event, step: Step, at: Instant, took_us: int) -> None:
        """One step, after its commit. ``took_us``: the transition alone, microseconds."""


class Journal(Protocol):
    """What happened to each lease, for its tenant. May not fail the loop: what cannot be written is lost."""

    def append(self, lease: LeaseId, happening: Happening) -> None:
        """Never raises. The oldest go first; ``EventKind.CLOSED`` is the last, and what is left is kept for
        a while after it."""

    def knows(self, lease: LeaseId, at: Instant) -> bool:
        """Whether there is something of ``lease``: it is here, or has closed not long before ``at``."""

    def read(self, lease: LeaseId, after: int) -> tuple[LeaseEvent, ...]:
        """Events with a greater number than ``after``, in order."""

    def follow(self, lease: LeaseId, after: int) -> AsyncIterator[LeaseEvent]:
        """The same, and those that come; ends with the lease's last one."""


class Ledger(Protocol):
    """Every decision on an order and what came of it, bounded. May not fail the loop, nor slow it down: what
    cannot be written is lost, and counted."""

    def keep(self, record: Record) -> None:
        """Never raises, never waits."""

    async def stories(self, query: LedgerQuery) -> tuple[Story, ...]:
        """Of bids that are open first, then the newest first. ``Temporary`` if they cannot be read."""

    async def of_order(self, order: OrderId) -> tuple[Story, ...]:
        """Every decision on ``order`` that is kept, oldest first. ``Temporary`` if they cannot be read."""


class UsageProbe(Protocol):
    """Reads what containers have used, from the kernel's own books: the engine is not asked."""

    async def read(self, containers: Sequence[Container]) -> ContainersRead:
        """Those of ``containers`` that run. Never raises: what cannot be read is missing, with a reason."""

    def containers_of(self, pid: int) -> tuple[str, ...]:
        """Ids of the containers in which a process runs, the outermost first; none for one of the machine's
        own, or that is gone. Quick enough for the event loop."""


class TallyBook(Protocol):
    """Keeps what leases have used so far. What was saved is there after kill -9; a power cut may take the
    last of it. Never raises: what cannot be kept is said and lost, and the lease goes on."""

    async def load(self) -> tuple[Tally, ...]:
        """Of leases that have not closed, by lease; read once, at the start."""

    async def save(self, tallies: Sequence[Tally]) -> None:
        """In one transaction."""

    async def close_lease(self, lease: LeaseId, at: Instant) -> None:
        """It has ended: kept for a while, then forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What came of reading the configuration again."""

    changes: tuple[str, ...] = ()
    """What counts from now on, a line each."""
    waits: tuple[str, ...] = ()
    """What counts from the next start of the daemon, a line each."""
    problem: str = ""
    """Why nothing was changed; it may have several lines."""
    remedy: str = ""


class LiveAgent(Protocol):
    """The running agent as the gateway sees it: a state to read, a queue to put events in."""

    @property
    def state(self) -> AgentState:
        """As last committed."""

    async def submit(self, event: Event) -> Step:
        """Take ``event`` in; return its step once it is committed. ``Temporary`` when too much waits."""
