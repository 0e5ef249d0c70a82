"""One simulated world from one seed: a market, agents, tenants, weather and disasters, then peace.

It is disturbed, then healed and required to converge (what is leased runs, and nothing else), then closed and
required to be empty. Checkers look at every step. Invariant: the same seed gives the same trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from random import Random

from provider.coordinator.book import Book
from provider.coordinator.market.requests import Enrol, Fund, Invite
from provider.coordinator.rows import MemberId, Role
from provider.core.effects import StartWorkload
from provider.core.events import Event, ManifestArrived
from provider.core.policy import Policy, PriceScale
from provider.core.step import Step
from provider.domain.gpu import GpuHealth
from provider.domain.ids import LeaseId, OrderId, Owner, ProviderId
from provider.domain.moment import HOUR, MINUTE, SECOND, Instant, Span
from provider.domain.money import Denom, Money
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
DIES_AFTER = Span(4 * SECOND)
"""How long containers of a dying image run."""


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

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.agenda = Agenda(seed)
        random = self.agenda.random
        self.chance = Chance(random, STORM)
        self.market = WorldMarket(self.agenda, self.chance)
        self._around = Surroundings(agenda=self.agenda, chance=self.chance, market=self.market)
        self.agents = [self._agent(number, random) for number in range(random.randint(1, 3))]
        wishes = [self._wish(number, random) for number in range(random.randint(4, 12))]
        self.tenants = [Tenant(self._around, wish, self._bring) for wish in wishes]
        self.disasters = disasters(random, len(self.agents), DISTURBED)
        self.witness = Witness()
        self.market.watch = self._market_stepped

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
        except Exception as error:
            error.add_note(again(self.seed))
            raise
        return Outcome(
            seed=self.seed,
            trace=self.agenda.trace,
            turns=self.agenda.turns,
            leases=len(self.market.book.leases),
            disasters=self.disasters,
        )

    # --- who lives in it

    def _agent(self, number: int, random: Random) -> WorldAgent:
        policy = Policy(
            provider=ProviderId(f"provider-{number}"),
            price=PriceScale(gpu_hour={"*": Decimal(60_000 + number)}, minimum_hour=Decimal(30_000)),
            bid_lifetime=MINUTE,
            manifest_patience=MINUTE,
            retry_most=Span(10 * SECOND),
        )
        skew = Span(random.choice((0, 0, -30_000, 30_000, HOUR)))
        agent = WorldAgent(self._around, policy, gpus=random.randint(1, 4), skew=skew)
        agent.watch = partial(self._agent_stepped, agent)
        agent.starting = partial(self._starts, agent)
        return agent

    def _wish(self, number: int, random: Random) -> Wish:
        kind = random.choice((*[Kind.PLAIN] * len(Kind), *Kind))
        return Wish(
            owner=Owner(f"tenant-{number}"),
            kind=kind,
            updates=kind is Kind.PLAIN and random.choice((True, False)),
            gpus=random.randint(0, 2),
            replicas=random.choice((1, 1, 2)),
            stays=random.choice((20 * SECOND, MINUTE, HOUR)),
        )

    def _begin(self) -> None:
        for agent in self.agents:
            self._enrol(Role.PROVIDER, agent.provider)
        for tenant in self.tenants:
            owner = tenant.wish.owner
            self._enrol(Role.TENANT, owner)
            funds = Money(amount=100_000_000, denom=Denom.UACT)
            self.market.ask(Fund(key=f"fund {owner}", owner=owner, amount=funds))
            self.agenda.later(self.agenda.random.randrange(2 * MINUTE), "tenant comes", tenant.arrive)
        for agent in self.agents:
            agent.start()
        for disaster in self.disasters:
            self.agenda.later(disaster.after, disaster.fault, partial(self._strike, disaster))

    def _enrol(self, role: Role, name: str) -> None:
        member = MemberId(role=role, name=name)
        self.market.ask(Invite(key=f"invite {member}", member=member, digest=str(member), ttl=HOUR))
        self.market.ask(Enrol(key=f"enrol {member}", digest=str(member), csr="csr"))

    def _bring(self, provider: ProviderId, event: ManifestArrived) -> Step | None:
        return provider_of(self.agents, provider).take(event)

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
                self.market.restart(disaster.lasts)
            case Fault.LINK_IS_CUT:
                agent.cut_off()
                self.agenda.later(disaster.lasts, "line is back", partial(_restore_line, agent))
            case Fault.ENGINE_IS_AWAY:
                agent.engine.is_away = True
                self.agenda.later(disaster.lasts, "engine is back", partial(_restore_engine, agent))
            case Fault.GPU_DIES:
                number = self.agenda.random.randrange(8)
                self.witness.failed_gpus.add(agent.change_gpu(number, GpuHealth.UNHEALTHY))
            case Fault.CONTAINER_DIES:
                self._end_containers(agent)
                agent.look()
            case Fault.CONTAINER_VANISHES:
                self._end_containers(agent)
                for lease in sorted(agent.engine.leases):
                    agent.engine.vanish(lease, agent.now())

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
        self.market.start()
        for agent in self.agents:
            _restore_line(agent)
            _restore_engine(agent)
            agent.start()

    # --- what must hold

    def _agent_stepped(self, agent: WorldAgent, event: Event, step: Step) -> None:
        checkers.gpus_are_held_once(step.state)
        checkers.holdings_are_the_sum(step.state)
        checkers.remember_ends(self.witness, step)
        checkers.answers_were_kept(event, self.market.book)
        checkers.reports_are_of_what_ran(agent, step)

    def _starts(self, agent: WorldAgent, effect: StartWorkload) -> None:
        checkers.gpus_run_for_one(agent, effect)
        checkers.what_starts_was_ordered(agent, effect, self._by_order())
        if self._by_order()[effect.launch.lease.order].wish.kind is Kind.DYING:
            act = partial(self._die_by_itself, agent, effect.launch.lease)
            self.agenda.later(DIES_AFTER, "container exits", act)

    def _market_stepped(self, before: Book, after: Book) -> None:
        if after.ledger is not before.ledger or after.leases is not before.leases:
            checkers.money_is_conserved(before, after)
            for row in after.leases.values():
                checkers.bills_are_of_what_ran(provider_of(self.agents, row.id.provider), row)

    def _by_order(self) -> dict[OrderId, Tenant]:
        found = {}
        for tenant in self.tenants:
            if tenant.deployment is not None:
                dseq = tenant.deployment.dseq
                found[OrderId(owner=tenant.wish.owner, dseq=dseq, gseq=1, oseq=1)] = tenant
        return found

    def _check_converged(self) -> None:
        steady = frozenset(
            order.lease(agent.provider)
            for order, tenant in self._by_order().items()
            if tenant.wish.kind is not Kind.DYING
            for agent in self.agents
        )
        for agent in self.agents:
            checkers.what_runs_is_leased(agent, self.market.book)
            checkers.what_is_leased_runs(agent, steady)
            checkers.what_is_ordered_is_known(agent, self.market.book)
        checkers.ends_have_causes(self.market.book, self._by_order(), self.witness)

    def _check_over(self, since: Instant) -> None:
        tenants = self._by_order()
        for row in self.market.book.leases.values():
            # While it changes, only what was seen to run whole is billed, which may be less than what ran.
            if not tenants[row.id.order].wish.updates:
                agent = provider_of(self.agents, row.id.provider)
                checkers.what_ran_was_billed(agent, row, since, self.witness)
        for agent in self.agents:
            checkers.what_runs_is_leased(agent, self.market.book)
            checkers.nothing_is_left_to_do(agent)
            checkers.nothing_is_held(agent)
        checkers.every_lease_ended_once(self.market.book, self.market.records, self.witness)
        checkers.ends_have_causes(self.market.book, self._by_order(), self.witness)
        if self.market.book.live:
            raise Broken(f"deployments are still open: {sorted(self.market.book.live)}")


def _restore_line(agent: WorldAgent) -> None:
    agent.is_cut_off = False


def _restore_engine(agent: WorldAgent) -> None:
    agent.engine.is_away = False


def again(seed: int) -> str:
    """How to see it again."""
    return f"see it again with: make sim SEED={seed} RUNS=1"
