"""An agent in a test's hand: builders of what happens to it, and what must hold after every step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from provider.core import metering
from provider.core.agent import next_due, transition
from provider.core.effects import (
    AskPrice,
    Effect,
    PlaceBid,
    RefuseLease,
    ReportUsage,
    StopWorkload,
    WithdrawBid,
)
from provider.core.events import (
    Event,
    Failed,
    LeaseAwarded,
    LeaseEnded,
    ManifestArrived,
    NodesRead,
    OrderClosed,
    OrderOpened,
    Performed,
    TimeReached,
    WorkloadsListed,
)
from provider.core.lease import Trigger
from provider.core.ledger import Record, Seen, began, records, seen
from provider.core.markets import lease_of as lease_of_effect
from provider.core.policy import Policy, PriceScale
from provider.core.space import free
from provider.core.state import AgentState, Lease, earliest_due, holdings, sum_of_holdings
from provider.core.step import LeaseMoved, Note, Step
from provider.domain.gpu import Gpu, GpuHealth, GpuInventory
from provider.domain.ids import EffectId, GpuUuid, LeaseId, NodeName, OrderId, Owner, ProviderId
from provider.domain.manifest import Expose, Manifest, ManifestGroup, Service
from provider.domain.market import Award, CloseReason, GroupSpec, Order, Requirements
from provider.domain.moment import Instant
from provider.domain.money import Denom, Rate
from provider.domain.node import HostCapacity, Node
from provider.domain.resources import (
    GIB,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Resources,
    ResourceUnit,
    Volume,
)
from provider.domain.workload import (
    Container,
    ContainerState,
    ExitCause,
    GpuAttachment,
    Launch,
    RuntimeCapabilities,
    Workload,
)
from tests.idle_jobs import check_idle_job

E = TypeVar("E", bound=Effect)
N = TypeVar("N", bound=Note)

START = Instant(1_700_000_000_000)
PROVIDER = ProviderId("frankfurt-1")
NODE = NodeName("node-1")
HASH = "ab" * 32
CAPABLE = RuntimeCapabilities(engine="fake", gpu_attachment=GpuAttachment.CDI)
ROOMY = HostCapacity(cpu_millis=16_000, memory_bytes=64 * GIB, storage_bytes=512 * GIB, boot_id="boot")
HTTP = Endpoint(kind=EndpointKind.SHARED_HTTP)
H100 = GpuAlternative(vendor="nvidia", model="h100")
PRICES = PriceScale(cpu_core_hour=Decimal(600), gpu_hour={"*": Decimal(6000)})
POLICY = Policy(provider=PROVIDER, price=PRICES, port_range=(31000, 31009))


def rate(amount: str | int = "11") -> Rate:
    return Rate(amount=Decimal(amount), denom=Denom.UACT)


def gpu(
    number: int, model: str = "h100", *, health: GpuHealth = GpuHealth.HEALTHY, memory: int | None = 79 * GIB
) -> Gpu:
    return Gpu(
        uuid=GpuUuid(f"GPU-{number}"),
        index=number,
        name=f"NVIDIA {model}",
        model=model,
        memory_bytes=memory,
        interface="sxm",
        health=health,
        problem=None if health is GpuHealth.HEALTHY else "fell off the bus",
    )


def node(*gpus: Gpu, name: NodeName = NODE, capacity: HostCapacity = ROOMY) -> Node:
    return Node(name=name, capacity=capacity, inventory=GpuInventory(gpus=gpus))


def nodes_read(*nodes: Node) -> NodesRead:
    return NodesRead(nodes=nodes, runtime=CAPABLE)


def ask(units: int = 1, *alternatives: GpuAlternative) -> GpuAsk:
    return GpuAsk(units=units, alternatives=alternatives or (H100,))


def resources(number: int = 1, *, gpus: GpuAsk | None = None, cpu_millis: int = 500) -> Resources:
    return Resources(
        id=number,
        cpu_millis=cpu_millis,
        memory_bytes=GIB,
        gpu=ask() if gpus is None else gpus,
        storage=(Volume(name="default", size_bytes=GIB),),
        endpoints=(HTTP,),
    )


def unit(of: Resources | None = None, *, count: int = 1, price: str | int = 100) -> ResourceUnit:
    return ResourceUnit(resources=of or resources(), count=count, price=rate(price))


def group(*units: ResourceUnit, requirements: Requirements | None = None) -> GroupSpec:
    return GroupSpec(name="web", units=units or (unit(),), requirements=requirements or Requirements())


def manifest(of: GroupSpec) -> Manifest:
    """One service a unit, each with the one global port that its endpoint is for."""
    services = tuple(
        Service(
            name=f"service{each.resources.id}",
            image="hello",
            resources=each.resources,
            count=each.count,
            expose=tuple(Expose(port=80, is_global=True) for _ in each.resources.endpoints),
        )
        for each in of.units
    )
    return Manifest(groups=(ManifestGroup(name=of.name, services=services),))


def order(number: int = 1, of: GroupSpec | None = None, owner: str = "alice") -> Order:
    order_id = OrderId(owner=Owner(owner), dseq=number, gseq=1, oseq=1)
    return Order(id=order_id, group=of or group(), manifest_hash=HASH)


def lease_of(number: int = 1, owner: str = "alice") -> LeaseId:
    return order(number, owner=owner).id.lease(PROVIDER)


def workload(
    launch: Launch, *, started_at: Instant, exited_at: Instant | None = None, missing: int = 0
) -> Workload:
    """What an engine says runs for ``launch``; all containers exited if ``exited_at`` is given."""
    containers = tuple(
        Container(
            service=each.service.name,
            replica=each.replica,
            state=ContainerState.RUNNING if exited_at is None else ContainerState.EXITED,
            id=f"{each.service.name}-{each.replica}",
            generation=each.generation,
            exit_code=None if exited_at is None else 1,
            cause=None if exited_at is None else ExitCause.OWN,
            started_at=started_at,
            finished_at=exited_at,
        )
        for each in launch.replicas
    )
    return Workload(lease=launch.lease, containers=containers[: len(containers) - missing])


class Agent:
    """A state, a clock that only tests turn, and everything that was ever wanted. Checks every step."""

    def __init__(self, *gpus: Gpu, policy: Policy = POLICY) -> None:
        self.state = AgentState(policy=policy)
        self.at = START
        self.wanted: list[Effect] = []
        self.open: dict[EffectId, Effect] = {}
        """Wanted, and no result yet."""
        self.notes: list[Note] = []
        self.records: list[Record] = []
        """As the ledger would get them."""
        self._seen: Seen | None = None
        self.version = 0
        self._ids: set[EffectId] = set()
        self._billed: dict[LeaseId, int] = {}
        if gpus:
            self.take(nodes_read(node(*gpus)))

    def take(self, event: Event) -> Step:
        step = transition(self.state, event, self.at)
        self._check(event, step)
        self.state = step.state
        there_is = seen(event, step, self.at, self._seen)
        if there_is is not None:
            self._seen = there_is
            self.records.append(there_is)
        self.records += records(event, step, self.at, 40)
        self.wanted += step.effects
        self.open |= {effect.id: effect for effect in step.effects}
        for settled in step.settled:
            self.open.pop(settled, None)
        self.notes += step.notes
        return step

    def starts_again(self) -> None:
        """The daemon tells the ledger what it has in its store."""
        self._seen = None
        self.records.append(began(self.state, self.at))

    def passes(self, span: int) -> None:
        """Time goes by, and nobody wakes the core."""
        self.at = Instant(self.at + span)

    def later(self, span: int) -> Step:
        self.passes(span)
        return self.take(TimeReached())

    # --- the market

    def _next(self) -> int:
        self.version += 1
        return self.version

    def opens(self, number: int = 1, of: GroupSpec | None = None) -> Step:
        return self.take(OrderOpened(order=order(number, of), version=self._next()))

    def closes(self, number: int = 1) -> Step:
        return self.take(OrderClosed(order=order(number).id, version=self._next()))

    def awards(self, number: int = 1, *, price: Rate | None = None, within: int = 10_000) -> Step:
        lease = lease_of(number)
        if price is None:
            price = self.state.bids[lease].bid.rate if lease in self.state.bids else rate()
        award = Award(id=lease, rate=price, manifest_hash=HASH, confirm_by=Instant(max(self.at + within, 0)))
        return self.take(LeaseAwarded(award=award, version=self._next()))

    def ends(self, number: int = 1, reason: CloseReason = CloseReason.TENANT_CLOSED) -> Step:
        return self.take(LeaseEnded(lease=lease_of(number), reason=reason, version=self._next()))

    # --- the tenant and the engine

    def sends(self, number: int = 1, of: GroupSpec | None = None, *, hashed: str = HASH) -> Step:
        lease = self.state.leases.get(lease_of(number))
        content = manifest(of or (lease.group if lease else group()))
        return self.take(ManifestArrived(lease=lease_of(number), manifest=content, manifest_hash=hashed))

    def done(self, effect: Effect, *, started_at: Instant | None = None) -> Step:
        runs = None
        if hasattr(effect, "launch"):
            runs = workload(effect.launch, started_at=self.at if started_at is None else started_at)
        return self.take(Performed(effect=effect, workload=runs))

    def fails(self, effect: Effect, *, final: bool = False, reason: CloseReason | None = None) -> Step:
        return self.take(Failed(effect=effect, what="it broke", is_final=final, reason=reason))

    def lists(self, *workloads: Workload, as_of: Instant | None = None) -> Step:
        return self.take(WorkloadsListed(workloads=workloads, as_of=self.at if as_of is None else as_of))

    # --- ways to a phase

    def lease(self, number: int = 1) -> Lease:
        return self.state.leases[lease_of(number)]

    def last(self, kind: type[E]) -> E:
        return next(effect for effect in reversed(self.wanted) if isinstance(effect, kind))

    def kinds(self, step: Step | None = None) -> list[str]:
        return [type(effect).__name__ for effect in (self.wanted if step is None else step.effects)]

    def launch(self) -> Launch:
        """The last one wanted."""
        return next(effect.launch for effect in reversed(self.wanted) if hasattr(effect, "launch"))

    def begin(self, number: int = 1, of: GroupSpec | None = None) -> None:
        """To AWARDED."""
        self.opens(number, of)
        self.awards(number)

    def start(self, number: int = 1, of: GroupSpec | None = None) -> Effect:
        """To STARTING."""
        self.begin(number, of)
        self.sends(number)
        return self.wanted[-2]

    def run(self, number: int = 1, of: GroupSpec | None = None) -> Launch:
        """To RUNNING, from now."""
        self.done(self.start(number, of))
        return self.launch()

    # --- what must hold

    def _check(self, event: Event, step: Step) -> None:
        for effect in step.effects:
            assert effect.id not in self._ids, f"{effect.id} is used twice"
            self._ids.add(effect.id)
            if not lease_of_effect(effect).is_idle:
                check_subject(effect, step)
        check_idle_job(step)
        check_held_once(step.state)
        kept = holdings(step.state), step.state.due_at
        assert kept == (sum_of_holdings(step.state), earliest_due(step.state)), "what is kept"
        check_capacity(step.state)
        self._check_meters(step)
        if isinstance(event, Performed | Failed):
            assert step.settled == (event.effect.id,)
        else:
            assert step.settled == ()
        if isinstance(event, TimeReached):
            assert (next_due(step.state) or self.at + 1) > self.at, "woken for what it has just done"
        for note in step.notes:
            if isinstance(note, LeaseMoved) and note.before is not None:
                assert note.before is not note.after or note.trigger is Trigger.CHANGED

    def _check_meters(self, step: Step) -> None:
        for lease in step.state.leases.values():
            total = metering.total_ms(lease.meter, self.at)
            assert 0 <= total <= self.at - START
            if lease.meter.since is None:
                assert total >= self._billed.get(lease.id, 0), "a meter runs back below what was billed"
        for effect in step.effects:
            if isinstance(effect, ReportUsage):
                assert effect.usage.running_ms >= self._billed.get(effect.usage.lease, 0)
                self._billed[effect.usage.lease] = effect.usage.running_ms


def check_held_once(state: AgentState) -> None:
    """No GPU and no port is held twice."""
    placements = [bid.placement for bid in state.bids.values()]
    placements += [lease.placement for lease in state.leases.values()]
    gpus = [uuid for placement in placements for uuid in placement.gpus]
    ports = [(placement.node, port) for placement in placements for port in placement.host_ports]
    assert len(set(gpus)) == len(gpus), f"a GPU is held twice: {sorted(gpus)}"
    assert len(set(ports)) == len(ports), f"a port is held twice: {sorted(ports)}"


def check_capacity(state: AgentState) -> None:
    for each in state.nodes:
        left = free(state, each)
        assert min(left.cpu_millis, left.memory_bytes, left.storage_bytes, left.ports) >= 0, left


def check_subject(effect: Effect, step: Step) -> None:
    """An effect is for something that is there, or that ends with this very step."""
    match effect:
        case AskPrice(bid=asked):
            assert step.state.bids[asked].is_asking
        case PlaceBid(bid=bid):
            assert bid.id in step.state.bids
            assert not step.state.bids[bid.id].is_asking
        case WithdrawBid(bid=withdrawn):
            assert withdrawn not in step.state.bids
        case RefuseLease(lease=refused):
            assert refused not in step.state.leases
        case StopWorkload(lease=stopped):
            assert stopped in step.state.orphans or stopped in step.state.leases
        case ReportUsage(usage=usage):
            assert usage.lease in step.state.leases
        case _:
            lease = effect.launch.lease if hasattr(effect, "launch") else effect.lease
            assert lease in step.state.leases, f"{effect} is for nobody"


def run_for(agent: Agent, launch: Launch, span: int, every: int = 15_000) -> None:
    """``span`` goes by, with a look at the engine ``every`` so often and every report taken."""
    began = agent.lease().started_at
    assert began is not None
    for instant in range(agent.at + every, agent.at + span + 1, every):
        agent.at = Instant(instant)
        agent.lists(workload(launch, started_at=began))
        agent.take(TimeReached())
        settle(agent, ReportUsage)


def settle(agent: Agent, *kinds: type[Effect]) -> None:
    """Every open effect of ``kinds`` was performed."""
    for effect in list(agent.open.values()):
        if isinstance(effect, kinds):
            agent.done(effect)


def sole(items: Iterable[Note], kind: type[N]) -> N:
    (found,) = [item for item in items if isinstance(item, kind)]
    return found


def healthy(*numbers: int) -> Sequence[Gpu]:
    return tuple(gpu(number) for number in numbers)


def sick(number: int) -> Gpu:
    return replace(gpu(number), health=GpuHealth.UNHEALTHY, problem="XID 79")
