"""One agent in a simulated world: the real core over a store, with its machine and its lanes.

Does what the shell does (transition, commit, perform, look, wake) as acts on the agenda, so that a crash can
come between any two of them. What survives a crash is the store, the engine and the machine; all else is of
one life, and acts of an earlier life find that it is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from provider.coordinator.market import notices
from provider.coordinator.market.notices import Notice
from provider.core.agent import next_due, transition
from provider.core.effects import AskPrice, Effect, RestartService, StartWorkload, StopWorkload
from provider.core.events import (
    CoordinatorConnected,
    CoordinatorLost,
    Event,
    Failed,
    LeaseAwarded,
    LeaseEnded,
    LeaseUpdated,
    NodesRead,
    OrderClosed,
    OrderOpened,
    Performed,
    PolicyChanged,
    TimeReached,
    WorkloadsListed,
)
from provider.core.health_looks import CardWatch
from provider.core.markets import MarketEvent, as_told, lease_of, within
from provider.core.policy import Policy
from provider.core.state import AgentState
from provider.core.step import Step
from provider.domain.errors import ImageUnavailable, Permanent, Temporary
from provider.domain.ids import HOME, GpuUuid, MarketId, NodeName, ProviderId
from provider.domain.market import CloseReason
from provider.domain.moment import SECOND, Instant, Span
from provider.domain.node import HostCapacity, Node
from provider.domain.workload import GpuAttachment, RuntimeCapabilities, Workload
from provider.shell.lanes import OVERTAKES
from provider.shell.sources import LIST_EVERY
from provider.sim.agenda import Act
from provider.sim.pricer import half
from provider.sim.store import MemoryStore
from provider.sim.world_cards import LOOK_EVERY, WorldCards
from provider.sim.world_engine import WorldEngine
from provider.sim.world_market import Line, Surroundings
from provider.sim.world_telling import TRY_AGAIN, Telling

CAPABLE = RuntimeCapabilities(engine="world", gpu_attachment=GpuAttachment.CDI)


@dataclass(slots=True)
class _Life:
    """What a crash takes away."""

    state: AgentState
    lanes: dict[str, deque[Effect]] = field(default_factory=dict)
    """The first of each is under way."""
    lines: dict[MarketId, Line] = field(default_factory=dict)
    woken_for: Instant | None = None
    watches: dict[GpuUuid, CardWatch] = field(default_factory=dict)


class WorldAgent:
    """In every market of ``around``. ``skew`` is how far its clock is ahead of theirs."""

    def __init__(
        self, around: Mapping[MarketId, Surroundings], policy: Policy, *, gpus: int, skew: Span
    ) -> None:
        self.provider: ProviderId = policy.provider
        self.engine = WorldEngine()
        self.watch: Callable[[Event, Step], None] = lambda _event, _step: None
        """Called after every commit."""
        self.starting: Callable[[StartWorkload], None] = lambda _effect: None
        """Called before every start that the engine is asked for."""
        self.cut_off_from: set[MarketId] = set()
        """No line to these can be had."""
        self._around = around
        self._agenda, self._chance = around[HOME].agenda, around[HOME].chance
        self._policy, self._skew = policy, skew
        self.cards = WorldCards(policy.provider, gpus)
        self._memory = MemoryStore(policy)
        self._life: _Life | None = None

    @property
    def state(self) -> AgentState | None:
        """None while it is down."""
        return self._life.state if self._life else None

    @property
    def stored(self) -> tuple[AgentState, tuple[Effect, ...]]:
        return self._memory.load()

    @property
    def has_idle_job(self) -> bool:
        return self._policy.idle is not None

    def without_idle_job(self) -> None:
        """The operator takes it out of the configuration."""
        self._policy = replace(self._policy, idle=None)
        self.take(PolicyChanged(policy=self._policy))

    def name_in(self, market: MarketId) -> ProviderId:
        """What it is called there."""
        return self._policy.name_in(market)

    def now(self) -> Instant:
        return Instant(self._agenda.at + self._skew)

    # --- lives

    def start(self) -> None:
        if self._life is not None:
            return
        self._memory = self._memory.restarted(self._policy)
        state, unfinished = self._memory.load()
        self._life = _Life(state=state)
        self._wake_when_due()
        self._perform(unfinished)
        self._later(1, "machine", self._read_machine)
        self._later(1, "look", self._look)
        self._later(2, "cards", self._look_at_cards)
        for number, market in enumerate(self._around):
            self._later(5 + number, f"dial {market}", partial(self._dial, market))

    def crash(self, lasts: int) -> None:
        """kill -9, and a start ``lasts`` milliseconds later."""
        if self._life is None:
            return
        for line in self._life.lines.values():
            line.is_cut = True
        self._life = None
        self._agenda.later(lasts, f"{self.provider} starts", self.start)

    def _later(self, span: int, label: str, act: Act) -> None:
        """Only if this life goes on."""
        self._agenda.later(span, f"{self.provider} {label}", partial(self._if_alive, self._life, act))

    def _if_alive(self, life: _Life | None, act: Act) -> None:
        if life is self._life:
            act()

    # --- the loop

    def take(self, event: Event) -> Step | None:
        """Transition, commit, observe, perform; None while it is down."""
        life = self._life
        if life is None:
            return None
        step = transition(life.state, event, self.now())
        self._memory.commit([step])
        life.state = step.state
        self._agenda.note(f"{self.provider} {type(event).__name__} {[effect.id for effect in step.effects]}")
        self.watch(event, step)
        self._perform(step.effects)
        self._wake_when_due()
        return step

    def _wake_when_due(self) -> None:
        assert self._life is not None, "only a live agent is woken"
        due = next_due(self._life.state)
        if due != self._life.woken_for and due is not None:
            self._later(due - self.now(), "wakes", partial(self._wake, due))
        self._life.woken_for = due

    def _wake(self, due: Instant) -> None:
        if self._life is not None and self._life.woken_for == due:
            self._life.woken_for = None
            self.take(TimeReached())

    # --- the lanes, as ``shell.lanes`` has them

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        assert self._life is not None, "only a live agent performs"
        for effect in effects:
            lane = self._life.lanes.setdefault(effect.lane, deque())
            lane.append(effect)
            if len(lane) == 1:
                self._later(1, "begins", partial(self._begin, effect.lane))

    def _begin(self, name: str) -> None:
        assert self._life is not None, "only a live agent performs"
        effect = self._life.lanes[name][0]
        done = partial(self._finish, name)
        match effect:
            case StartWorkload():
                self._later(self._chance.delay() * 3, "started", partial(self._start_workload, effect, done))
            case RestartService():
                self._later(self._chance.delay() * 3, "restarted", partial(self._restart, effect, done))
            case AskPrice():
                self._later(self._chance.delay() * 3, "priced", partial(self._price, effect, done))
            case StopWorkload():
                self._later(self._chance.delay(), "stopped", partial(self._stop_workload, effect, done))
            case _:
                market = lease_of(effect).market
                telling = Telling(self._around[market], as_told(effect), partial(self._told, effect, done))
                telling.begin(self.name_in(market), partial(self._lives_on, self._life, market))

    def _told(
        self, effect: Effect, done: Callable[[Performed | Failed], None], result: Performed | Failed
    ) -> None:
        """The core hears of its own effect, in its own ids."""
        done(replace(result, effect=effect))

    def _lives_on(self, life: _Life, market: MarketId) -> bool | None:
        """Whether a message can be sent; None once it need not be: the life that wanted it is over."""
        if life is not self._life:
            return None
        line = life.lines.get(market)
        return line is not None and not line.is_cut

    def _price(self, effect: AskPrice, done: Callable[[Performed | Failed], None]) -> None:
        if self._chance.fails_a_start():
            done(Failed(effect=effect, what="the script gave no price", is_final=True))
        else:
            done(Performed(effect=effect, price=half(effect.question)))

    def _start_workload(self, effect: StartWorkload, done: Callable[[Performed | Failed], None]) -> None:
        if self._is_overtaken(effect):
            done(Failed(effect=effect, what="something newer was wanted", is_final=False))
            return
        if self._chance.fails_a_start():
            done(Failed(effect=effect, what="the registry is away", is_final=False))
            return
        try:
            self.starting(effect)
            runs = self.engine.start(effect.launch, self.now())
        except Temporary as failure:
            done(Failed(effect=effect, what=failure.what, is_final=False))
        except ImageUnavailable as failure:
            reason = CloseReason.IMAGE_UNAVAILABLE
            done(Failed(effect=effect, what=failure.what, is_final=True, reason=reason))
        except Permanent as failure:
            done(Failed(effect=effect, what=failure.what, is_final=True, reason=CloseReason.WORKLOAD_REFUSED))
        else:
            # The engine has it; the agent hears of it a little later, if it lives.
            self._later(self._chance.delay(), "heard", partial(self._heard, effect, runs, done))

    def _restart(self, effect: RestartService, done: Callable[[Performed | Failed], None]) -> None:
        try:
            runs = self.engine.restart(effect.lease, self.now())
        except Temporary as failure:
            done(Failed(effect=effect, what=failure.what, is_final=False))
        else:
            self._later(self._chance.delay(), "heard", partial(self._heard, effect, runs, done))

    def _is_overtaken(self, effect: Effect) -> bool:
        assert self._life is not None, "only a live agent performs"
        _, *later = self._life.lanes[effect.lane]
        return any(isinstance(each, OVERTAKES) for each in later)

    def _heard(self, effect: Effect, runs: Workload, done: Callable[[Performed | Failed], None]) -> None:
        if self._is_overtaken(effect):
            done(Failed(effect=effect, what="something newer was wanted", is_final=False))
        else:
            done(Performed(effect=effect, workload=runs))

    def _stop_workload(self, effect: StopWorkload, done: Callable[[Performed | Failed], None]) -> None:
        try:
            self.engine.stop(effect.lease, self.now())
        except Temporary:
            self._later(TRY_AGAIN, "stops again", partial(self._stop_workload, effect, done))
        else:
            self._later(self._chance.delay(), "heard", partial(done, Performed(effect=effect)))

    def _finish(self, name: str, result: Performed | Failed) -> None:
        if self._life is None or name not in self._life.lanes:
            return
        lane = self._life.lanes[name]
        lane.popleft()
        if lane:
            self._later(1, "begins", partial(self._begin, name))
        else:
            del self._life.lanes[name]
        self.take(result)

    # --- the sources, as ``shell.sources`` has them

    def _read_machine(self) -> None:
        if self.engine.is_away:
            self._later(2 * SECOND, "machine", self._read_machine)
            return
        node = Node(name=NodeName(f"{self.provider}-node"), capacity=_ROOMY, inventory=self.cards.inventory())
        self.take(NodesRead(nodes=(node,), runtime=CAPABLE))

    def read_again(self) -> None:
        """The probe has news of the cards."""
        if self._life is not None:
            self._later(self._chance.delay(), "machine", self._read_machine)

    def _look_at_cards(self) -> None:
        assert self._life is not None, "only a live agent looks"
        self._later(LOOK_EVERY, "cards", self._look_at_cards)
        if not self._life.state.nodes_as_read:
            return
        running = {lease: each.gpus for lease, each in self.engine.leases.items() if each.ended_at is None}
        for news in self.cards.look(self._life.state, self.now(), self._life.watches, running):
            self.take(news)

    def _look(self) -> None:
        self._later(LIST_EVERY, "look", self._look)
        self.look()

    def look(self) -> None:
        """At the engine; what it says is taken in a moment later."""
        if self._life is None or self.engine.is_away:
            return
        listed = WorkloadsListed(workloads=self.engine.list(), as_of=self.now())
        self._later(self._chance.delay() // 10 + 1, "listed", partial(self._take, listed))

    def _take(self, event: Event) -> None:
        self.take(event)

    # --- the line

    def _dial(self, market: MarketId) -> None:
        assert self._life is not None, "only a live agent dials"
        line = self._life.lines.get(market)
        if line is None or line.is_cut:
            self._life.lines.pop(market, None)
            known = self._life.state.market(market)
            if known.connected:
                self.take(CoordinatorLost(why="the connection was cut", market_id=market))
            if market not in self.cut_off_from:
                self._connect(market, known.position)
        self._later(SECOND, f"dial {market}", partial(self._dial, market))

    def _connect(self, market: MarketId, position: tuple[str, int]) -> None:
        there = self._around[market].market
        found = there.connect(self.name_in(market), position, partial(self._deliver, market))
        if found is not None and self._life is not None:
            epoch, self._life.lines[market] = found
            event = CoordinatorConnected(market=there.book.market, epoch=epoch)
            self.take(within(event, market))

    def cut_off(self, market: MarketId) -> None:
        """No line to it, until that is taken back."""
        self.cut_off_from.add(market)
        if self._life is not None and market in self._life.lines:
            self._life.lines[market].is_cut = True

    def _deliver(self, market: MarketId, told: Notice) -> None:
        self.take(within(event_of(told), market))


def event_of(told: Notice) -> MarketEvent:
    """What the wire makes of a notice."""
    match told:
        case notices.OrderOpened(order=order, version=version):
            return OrderOpened(order=order, version=version)
        case notices.OrderClosed(order=closed, version=version, won_at=won_at):
            return OrderClosed(order=closed, version=version, won_at=won_at)
        case notices.LeaseAwarded(award=award, version=version):
            return LeaseAwarded(award=award, version=version)
        case notices.LeaseUpdated(lease=lease, manifest_hash=ordered, version=version):
            return LeaseUpdated(lease=lease, manifest_hash=ordered, version=version)
        case notices.LeaseEnded(lease=lease, reason=reason, version=version):
            return LeaseEnded(lease=lease, reason=reason, version=version)


_ROOMY = HostCapacity(cpu_millis=64_000, memory_bytes=2**38, storage_bytes=2**42, boot_id="world")
