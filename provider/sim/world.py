"""One simulated world from one seed: one market or two, agents, tenants, weather and disasters, then peace.

It is disturbed, then healed and required to converge (what is leased runs, and nothing else), then closed and
required to be empty. Checkers look at every step. Invariant: the same seed gives the same trace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from random import Random

from provider.coordinator.book import Book
from provider.coordinator.market.requests import Enrol, Fund, Invite
from provider.coordinator.rows import MemberId, Role
from provider.core.bid_policy import BidPolicy
from provider.core.effects import StartWorkload
from provider.core.events import Event, GpuUncordoned, ManifestArrived
from provider.core.idling import job_of
from provider.core.policy import Policy, PriceScale, PriceStrategy
from provider.core.step import Step
from provider.domain.gpu import GpuHealth
from provider.domain.idle import IdleJob
from provider.domain.ids import HOME, LeaseId, MarketId, OrderId, Owner, ProviderId
from provider.domain.manifest import Service
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span
from provider.domain.money import Denom, Money
from provider.domain.resources import GIB, GpuAlternative, GpuAsk, Resources
from provider.sim import checkers
from provider.sim.agenda import Agenda
from provider.sim.checkers import Broken, Witness, provider_of
from provider.sim.faults import CALM, STORM, Chance, Disaster, Fault, disasters
from provider.sim.world_agent import WorldAgent
from provider.sim.world_market import Surroundings, WorldMarket
from provider.sim.world_tenant import Kind, Tenant, Wish

DISTURBED = Span(3 * MINUTE)
HEALED = Span(90 * SECOND)
CLOSED = Span(90 * SECOND)
UNIDLED = Span(20 * SECOND)
MARKETS = (HOME, MarketId("elsewhere"))
"""As the agents, who are in all of them, name them."""
DIES_AFTER = Span(4 * SECOND)
"""How long containers of a dying image run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many there are of each."""

    markets: int
    agents: int
    tenants: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a seed came to."""

    seed: int
    trace: str
    turns: int
    leases: int
    disasters: tuple[Disaster, ...]


class World:
    """``run`` it once."""

    def __init__(self, seed: int, size: Size | None = None) -> None:
        self.seed = seed
        self.agenda = Agenda(seed)
        random = self.agenda.random
        self.chance = Chance(random, STORM)
        size = size or _size(random)
        self.markets = [WorldMarket(self.agenda, self.chance, market) for market in MARKETS[: size.markets]]
        self._around = {
            market.id: Surroundings(agenda=self.agenda, chance=self.chance, market=market)
            for market in self.markets
        }
        self.agents = [self._agent(number, random) for number in range(size.agents)]
        self.tenants = [self._tenant(number, random) for number in range(size.tenants)]
        self.disasters = disasters(random, len(self.agents), DISTURBED)
        self.witness = Witness()
        for market in self.markets:
            market.watch = partial(self._market_stepped, market)

    def run(self) -> Outcome:
        """Disturb, heal, close. Whatever it raises has a note how to see it again."""
        try:
            self._begin()
            self.agenda.run_for(DISTURBED)
            self._heal()
            self.agenda.run_for(HEALED)
            self._check_converged()
            closes_at = self.agenda.at
            for tenant in self.tenants:
                tenant.leave()
            self.agenda.run_for(CLOSED)
            self._check_over(closes_at)
            self._check_nothing_idles()
        except Exception as error:
            error.add_note(again(self.seed))
            raise
        return Outcome(
            seed=self.seed,
            trace=self.agenda.trace,
            turns=self.agenda.turns,
            leases=sum(len(market.book.leases) for market in self.markets),
            disasters=self.disasters,
        )

    # --- who lives in it

    def _agent(self, number: int, random: Random) -> WorldAgent:
        policy = Policy(
            provider=ProviderId(f"provider-{number}"),
            names={market.id: ProviderId(f"{number}-elsewhere") for market in self.markets[1:]},
            price=PriceScale(gpu_hour={"*": Decimal(60_000 + number)}, minimum_hour=Decimal(30_000)),
            strategy=PriceStrategy.SCRIPT if number % 2 else PriceStrategy.SCALE,
            bid_lifetime=MINUTE,
            manifest_patience=MINUTE,
            retry_most=Span(10 * SECOND),
            checks_gpus=True,
            bids=BidPolicy(overbid=random.choice((1, 1, 2, 3)), bids_per_minute=random.choice((0, 0, 20))),
            idle=(_idle_job("folding"), _idle_job(Kind.DYING), None)[(self.seed + number) % 3],
        )
        skew = Span(random.choice((0, 0, -30_000, 30_000, HOUR)))
        agent = WorldAgent(self._around, policy, gpus=random.randint(1, 4), skew=skew)
        agent.watch = partial(self._agent_stepped, agent)
        agent.starting = partial(self._starts, agent)
        return agent

    def _tenant(self, number: int, random: Random) -> Tenant:
        """Of one market after the other; those of different ones have the same names."""
        market = self.markets[number % len(self.markets)].id
        wish = self._wish(f"tenant-{number // len(self.markets)}", random)
        return Tenant(self._around[market], wish, partial(self._bring, market))

    def _wish(self, name: str, random: Random) -> Wish:
        kind = random.choice((*[Kind.PLAIN] * len(Kind), *Kind))
        return Wish(
            owner=Owner(name),
            kind=kind,
            updates=kind is Kind.PLAIN and random.choice((True, False)),
            gpus=random.randint(0, 2),
            replicas=random.choice((1, 1, 2)),
            stays=random.choice((20 * SECOND, MINUTE, HOUR)),
        )

    def _begin(self) -> None:
        for market in self.markets:
            for agent in self.agents:
                _enrol(market, Role.PROVIDER, agent.name_in(market.id))
        for tenant in self.tenants:
            owner = tenant.wish.owner
            _enrol(tenant.market, Role.TENANT, owner)
            funds = Money(amount=100_000_000, denom=Denom.UACT)
            tenant.market.ask(Fund(key=f"fund {owner}", owner=owner, amount=funds))
            self.agenda.later(self.agenda.random.randrange(2 * MINUTE), "tenant comes", tenant.arrive)
        for agent in self.agents:
            agent.start()
        for disaster in self.disasters:
            self.agenda.later(disaster.after, disaster.fault, partial(self._strike, disaster))

    def _bring(self, market: MarketId, provider: ProviderId, event: ManifestArrived) -> Step | None:
        """As the door for that market's tenants does."""
        ours = replace(event, lease=event.lease.within(market))
        return provider_of(self.agents, market, provider).take(ours)

    # --- what goes wrong

    def _strike(self, disaster: Disaster) -> None:
        agent = self.agents[disaster.agent]
        match disaster.fault:
            case Fault.AGENT_CRASHES:
                agent.crash(disaster.lasts)
            case Fault.HOST_REBOOTS:
                self._end_containers(agent)
                agent.crash(disaster.lasts)
            case Fault.MARKET_RESTARTS:
                self.agenda.random.choice(self.markets).restart(disaster.lasts)
            case Fault.LINK_IS_CUT:
                market = self.agenda.random.choice(self.markets).id
                agent.cut_off(market)
                restore = partial(agent.cut_off_from.discard, market)
                self.agenda.later(disaster.lasts, "line is back", restore)
            case Fault.ENGINE_IS_AWAY:
                agent.engine.is_away = True
                self.agenda.later(disaster.lasts, "engine is back", partial(_restore_engine, agent))
            case Fault.GPU_DIES | Fault.GPU_SICKENS | Fault.GPU_REPORTS:
                self._strike_card(agent, disaster)
            case Fault.CONTAINER_DIES:
                self._end_containers(agent)
                agent.look()
            case Fault.CONTAINER_VANISHES:
                self._end_containers(agent)
                for lease in sorted(agent.engine.leases):
                    agent.engine.vanish(lease, agent.now())

    def _strike_card(self, agent: WorldAgent, disaster: Disaster) -> None:
        number = self.agenda.random.randrange(8)
        match disaster.fault:
            case Fault.GPU_DIES:
                self.witness.failed_gpus.add(agent.cards.judge_as(number, GpuHealth.UNHEALTHY))
                agent.read_again()
            case Fault.GPU_SICKENS:
                sick = agent.cards.sicken(number)
                self.agenda.later(disaster.lasts, "card is well", partial(agent.cards.mend, sick))
            case _:
                # Of a program, of a card perhaps (the second may be too much), or of a card for certain.
                xid = self.agenda.random.choice((13, 31, 32, 94, 62))
                seen = agent.cards.fault(number, xid, agent.now())
                if agent.take(seen) is not None and xid not in (13, 31):
                    self.witness.failed_gpus.add(seen.fault.uuid)

    def _end_containers(self, agent: WorldAgent) -> None:
        for lease in sorted(agent.engine.leases):
            self._kill(agent, lease)

    def _kill(self, agent: WorldAgent, lease: LeaseId) -> None:
        running = agent.engine.leases[lease]
        if running.ended_at is None:
            self.witness.deaths[lease] += 1
            agent.engine.end(lease, agent.now())

    def _die_by_itself(self, agent: WorldAgent, lease: LeaseId) -> None:
        if lease in agent.engine.leases:
            self._kill(agent, lease)
            agent.look()

    def _heal(self) -> None:
        self.chance.weather = CALM
        for market in self.markets:
            market.start()
        for agent in self.agents:
            agent.cut_off_from.clear()
            _restore_engine(agent)
            agent.cards.heal()
            agent.start()
            agent.read_again()
            for gpu in agent.cards.gpus:
                agent.take(GpuUncordoned(gpu=gpu.uuid))

    # --- what must hold

    def _agent_stepped(self, agent: WorldAgent, event: Event, step: Step) -> None:
        checkers.gpus_are_held_once(step.state)
        checkers.holdings_are_the_sum(step.state)
        checkers.remember_ends(self.witness, step)
        checkers.nothing_sick_is_sold(step)
        checkers.the_idle_job_yields(step)
        checkers.only_the_sick_are_given_up(step)
        checkers.answers_were_kept(event, self.markets)
        checkers.reports_are_of_what_ran(agent, step)

    def _starts(self, agent: WorldAgent, effect: StartWorkload) -> None:
        checkers.gpus_run_for_one(agent, effect)
        if effect.launch.lease.is_idle:
            if effect.launch.replicas[0].service.image == Kind.DYING:
                self._dies_later(agent, effect.launch.lease)
            return
        checkers.what_starts_was_ordered(agent, effect, self._by_order())
        if self._by_order()[effect.launch.lease.order].wish.kind is Kind.DYING:
            self._dies_later(agent, effect.launch.lease)

    def _dies_later(self, agent: WorldAgent, lease: LeaseId) -> None:
        self.agenda.later(DIES_AFTER, "container exits", partial(self._die_by_itself, agent, lease))

    def _market_stepped(self, market: WorldMarket, before: Book, after: Book) -> None:
        if after.ledger is not before.ledger or after.leases is not before.leases:
            checkers.money_is_conserved(before, after)
            for row in after.leases.values():
                agent = provider_of(self.agents, market.id, row.id.provider)
                checkers.bills_are_of_what_ran(agent, market, row)

    def _by_order(self) -> dict[OrderId, Tenant]:
        """In the agents' ids."""
        found = {}
        for tenant in self.tenants:
            if tenant.deployment is not None:
                dseq = tenant.deployment.dseq
                order = OrderId(owner=tenant.wish.owner, dseq=dseq, gseq=1, oseq=1)
                found[order.within(tenant.market.id)] = tenant
        return found

    def _check_converged(self) -> None:
        steady = frozenset(
            order.lease(agent.name_in(order.market))
            for order, tenant in self._by_order().items()
            if tenant.wish.kind is not Kind.DYING
            for agent in self.agents
        )
        for agent in self.agents:
            checkers.what_runs_is_leased(agent, self.markets)
            checkers.what_is_leased_runs(agent, steady)
            checkers.what_is_ordered_is_known(agent, self.markets)
            self._check_idle_job(agent)
        for market in self.markets:
            checkers.ends_have_causes(market, self._by_order(), self.witness)

    def _check_over(self, since: Instant) -> None:
        for agent in self.agents:
            checkers.what_runs_is_leased(agent, self.markets)
            self._check_idle_job(agent)
            checkers.nothing_is_held(agent)
        for market in self.markets:
            self._check_bills(market, since)
            checkers.every_lease_ended_once(market, self.witness)
            checkers.ends_have_causes(market, self._by_order(), self.witness)
            if market.book.live:
                raise Broken(f"deployments are still open: {sorted(market.book.live)}")
        checkers.what_began_has_closed(self.witness)

    def _check_idle_job(self, agent: WorldAgent) -> None:
        """It is on every card that nobody has, running or about to."""
        state, _ = agent.stored
        leased = {uuid for lease in state.leases.values() for uuid in lease.placement.gpus}
        free = [gpu.uuid for gpu in agent.cards.gpus if gpu.uuid not in leased]
        checkers.the_idle_job_is_on(agent, free if agent.has_idle_job else ())

    def _check_nothing_idles(self) -> None:
        """Without it in the configuration nothing of it is left."""
        for agent in self.agents:
            agent.without_idle_job()
        self.agenda.run_for(UNIDLED)
        for agent in self.agents:
            checkers.the_idle_job_is_on(agent, ())
            checkers.nothing_is_left_to_do(agent)

    def _check_bills(self, market: WorldMarket, since: Instant) -> None:
        tenants = self._by_order()
        for row in market.book.leases.values():
            has_ended_in_peace = row.closed_at is not None and row.closed_at >= since
            # While it changes, only what was seen to run whole is billed, which may be less than what ran.
            if has_ended_in_peace and not tenants[row.id.within(market.id).order].wish.updates:
                agent = provider_of(self.agents, market.id, row.id.provider)
                checkers.what_ran_was_billed(agent, market.id, row, self.witness)


def _idle_job(image: str) -> IdleJob:
    alternative = GpuAlternative(vendor="nvidia", model="h100")
    gpu = GpuAsk(units=1, alternatives=(alternative,))
    resources = Resources(id=1, cpu_millis=1_000, memory_bytes=GIB, gpu=gpu)
    return job_of(Service(name="idle", image=image, resources=resources), grace_s=10)


def _size(random: Random) -> Size:
    return Size(
        markets=random.randint(1, len(MARKETS)), agents=random.randint(1, 3), tenants=random.randint(4, 12)
    )


def _enrol(market: WorldMarket, role: Role, name: str) -> None:
    member = MemberId(role=role, name=name)
    market.ask(Invite(key=f"invite {member}", member=member, digest=str(member), ttl=HOUR))
    market.ask(Enrol(key=f"enrol {member}", digest=str(member), csr="csr"))


def _restore_engine(agent: WorldAgent) -> None:
    agent.engine.is_away = False


def again(seed: int) -> str:
    """How to see it again."""
    return f"see it again with: make sim SEED={seed} RUNS=1"
