"""The parts list: which class is behind which port. The one place that knows all of them.

``open_agent`` makes them in order and gives them back in the opposite one; nothing is looked up
anywhere else.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from time import monotonic

from provider import __version__
from provider.adapters.clock import SystemClock
from provider.adapters.gateway.lease_service import LeaseWorld
from provider.adapters.gateway.operator_service import OperatorGateway, OperatorWorld
from provider.adapters.gateway.servers import OperatorServer
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.host import HostReserve, LinuxHost, node_name
from provider.adapters.ingress.ingress import Ingress
from provider.adapters.journal import SqliteJournal
from provider.adapters.ledger import SqliteLedger
from provider.adapters.power_file import PowerFile
from provider.adapters.runtime.docker import DockerRuntime
from provider.adapters.runtime.storage import disks
from provider.adapters.store.sqlite import SqliteStore
from provider.adapters.telemetry.dcgm import DcgmMetrics
from provider.adapters.telemetry.exposition import Exposition
from provider.adapters.telemetry.http import HttpSettings, Readiness, TelemetryServer
from provider.adapters.telemetry.metrics import Metrics
from provider.adapters.telemetry.tls import TlsFiles
from provider.adapters.telemetry.view import Feed
from provider.adapters.usage import CgroupUsage, SqliteTallies, TallySettings
from provider.app import addresses
from provider.app.config import ProviderConfig, TelemetryConfig
from provider.app.engine_settings import docker_settings, journal_settings, ledger_settings
from provider.app.gpu_findings import nvml_settings
from provider.app.idle_settings import idle_job
from provider.app.ingress_settings import ingress_settings
from provider.app.lease_news import LeaseNews
from provider.app.market_wiring import Joined, check_names, join_up, lease_server
from provider.app.measuring import Sizes, TimedPerformer, TimedPulls, TimedStore, watch_readings
from provider.app.memberships import Memberships, check_all_are_known
from provider.app.observing import Observing, telemetry_view
from provider.app.policy import health_rows, policy
from provider.app.pricers import LivePricer, pricer_of
from provider.app.reloading import Reloading
from provider.app.usage_settings import usage_interval
from provider.core.effects import Effect
from provider.core.ledger import Began, began
from provider.core.policy import Policy
from provider.domain.errors import ConfigError
from provider.domain.ids import LeaseId, MarketId, ProviderId
from provider.ports import CoordinatorLink, GpuProbe
from provider.shell.attributing import Attribution, Sources
from provider.shell.commits import PatientCommits
from provider.shell.health_watch import HealthSources, HealthWatch
from provider.shell.loop import Loop
from provider.shell.perform import Performer
from provider.shell.power_watch import PowerWatch
from provider.shell.sources import Machine
from provider.sim.gpu import SimulatedProbe

OPERATOR_SOCKET = "operator.sock"
"""In the state folder: where the daemon answers its operator."""
COLLECTED_AFTER = 20_000
"""New objects: some megabytes at most."""
DATABASE = "provider.db"
"""In the state folder: what must not be forgotten."""
ENGINE_ROOT = Path("/var/lib/docker")
"""Where an engine keeps its data unless it was told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Everything that ``shell.daemon.live`` needs, and what looks at it."""

    loop: Loop
    machine: Machine
    joined: tuple[Joined, ...]
    performer: TimedPerformer
    unfinished: tuple[Effect, ...]
    metrics: Metrics
    journal: SqliteJournal
    news: LeaseNews
    ledger: SqliteLedger
    attribution: Attribution
    health: HealthWatch
    power: PowerWatch
    reloading: Reloading

    @property
    def names(self) -> Mapping[MarketId, str]:
        return {each.membership.id: each.membership.market for each in self.joined}

    @property
    def links(self) -> Mapping[MarketId, CoordinatorLink]:
        return _links(self.joined)


def _links(joined: tuple[Joined, ...]) -> Mapping[MarketId, CoordinatorLink]:
    return {each.membership.id: each.link for each in joined}


MakeMachine = Callable[
    [ProviderConfig, ProviderId, Metrics, LeaseNews, AsyncExitStack],
    Awaitable[tuple[Machine, Callable[[LeaseId], int | None]]],
]
"""And how much disk a lease takes, as measured last. What is entered on the stack is left with the agent."""


@asynccontextmanager
async def open_agent(
    config: ProviderConfig,
    markets: Memberships,
    make_machine: MakeMachine | None = None,
    reread: Callable[[], ProviderConfig] | None = None,
) -> AsyncIterator[Agent]:
    """All parts, connected and listening. ``ConfigError`` where a setting or the machine forbids it.

    ``make_machine`` in place of this machine's engine and GPUs; ``reread`` reads the configuration again.
    """
    async with AsyncExitStack() as stack:
        clock, metrics = SystemClock(), Metrics(version=__version__)
        random = Random(secrets.randbits(64))  # noqa: S311 - jitter of retries, nothing secret
        check_names(config, markets)
        rules = replace(policy(config, markets.provider, markets.names), idle=idle_job(config.idle))
        store = _store(config, rules, metrics, stack)
        state, unfinished = store.load()
        check_all_are_known(state)
        journal = _journal(config, stack)
        news = LeaseNews(journal, clock)
        ledger = _ledger(config, metrics, began(state, clock.now()), stack)
        observing = Observing(metrics, clock, news, ledger)
        loop = Loop(state, store, clock, observing)
        make = make_machine or this_machine
        found, disk_bytes = await make(config, markets.provider, metrics, news, stack)
        machine, power = _measured(config, found)
        attribution = _attribution(config, loop, machine, disk_bytes, stack)
        observing.on_workloads = attribution.note_workloads
        joined = await _joined(config, markets, loop, random, stack)
        pricer = LivePricer(await pricer_of(config.pricing))
        agent = Agent(
            loop=loop,
            machine=machine,
            joined=joined,
            performer=_performer(machine, joined, pricer, random, metrics),
            unfinished=unfinished,
            metrics=metrics,
            journal=journal,
            news=news,
            ledger=ledger,
            attribution=attribution,
            health=_health(config, loop, machine, attribution),
            power=power,
            reloading=Reloading(config, reread or (lambda: config), loop, pricer),
        )
        await _open_doors(config, agent, stack)
        _calm_collector(stack)
        yield agent


def _calm_collector(stack: AsyncExitStack) -> None:
    """Values of the core have no cycles: to look for some among all that is new was a sixth of the work on a
    burst of orders (measured). What is there from the beginning stays, and is not looked at again."""
    stack.callback(gc.set_threshold, *gc.get_threshold())
    stack.callback(gc.unfreeze)
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, 10, 10)


def _store(config: ProviderConfig, rules: Policy, metrics: Metrics, stack: AsyncExitStack) -> TimedStore:
    opened = SqliteStore.open(config.state_dir / DATABASE, rules, config.secrets_key_file)
    stack.callback(opened.close)
    commits = PatientCommits(opened)
    stack.callback(commits.close)
    return TimedStore(opened, commits, metrics)


def _ledger(
    config: ProviderConfig, metrics: Metrics, starts_with: Began, stack: AsyncExitStack
) -> SqliteLedger:
    ledger = SqliteLedger(ledger_settings(config), metrics.ledger_lost)
    stack.callback(ledger.close)
    ledger.keep(starts_with)
    return ledger


def _measured(config: ProviderConfig, machine: Machine) -> tuple[Machine, PowerWatch]:
    """The machine with what its cards draw."""
    power = PowerWatch(machine.gpus.readings, PowerFile(config.state_dir), machine.clock)
    return replace(machine, load_watts=power.watts), power


def _performer(
    machine: Machine, joined: tuple[Joined, ...], pricer: LivePricer, random: Random, metrics: Metrics
) -> TimedPerformer:
    performer = Performer(machine.runtime, _links(joined), pricer, SystemClock(), random)
    return TimedPerformer(performer, metrics)


def _health(config: ProviderConfig, loop: Loop, machine: Machine, attribution: Attribution) -> HealthWatch:
    sources = HealthSources(
        gpus=machine.gpus,
        clock=machine.clock,
        lease_of=attribution.lease_of,
        rows=health_rows(config),
    )
    return HealthWatch(sources, loop)


def _journal(config: ProviderConfig, stack: AsyncExitStack) -> SqliteJournal:
    journal = SqliteJournal(journal_settings(config))
    stack.callback(journal.close)
    return journal


async def _joined(
    config: ProviderConfig, markets: Memberships, loop: Loop, random: Random, stack: AsyncExitStack
) -> tuple[Joined, ...]:
    """The markets, their links up or on their way."""
    clock = SystemClock()
    joined = tuple(join_up(config, each, lambda: loop.state, clock, random) for each in markets.all)
    for each in joined:
        await stack.enter_async_context(each.link)
    return joined


async def _open_doors(config: ProviderConfig, agent: Agent, stack: AsyncExitStack) -> None:
    """Where people and programs come in: telemetry, tenants' host names and leases, the operator."""
    exposition = await stack.enter_async_context(_telemetry(config, agent))
    ingress = ingress_settings(config)
    if ingress is not None:
        await stack.enter_async_context(
            Ingress(ingress, lambda: agent.loop.state, agent.machine.runtime, agent.machine.clock)
        )
    for each in agent.joined:
        await stack.enter_async_context(lease_server(config, each, _lease_world(agent)))
    await stack.enter_async_context(_operator_server(config, agent, exposition))


async def this_machine(
    config: ProviderConfig, provider: ProviderId, metrics: Metrics, news: LeaseNews, stack: AsyncExitStack
) -> tuple[Machine, Callable[[LeaseId], int | None]]:
    """And how much disk a lease takes, as the runtime measured it last."""
    clock, node = SystemClock(), node_name()
    probe: GpuProbe
    if config.gpu.simulate:
        probe = SimulatedProbe(config.gpu.simulate, clock, seed=f"{provider}@{node}")
    else:
        probe = NvmlProbe(nvml_settings(config), clock, on_sweep=metrics.nvml_sweep)
    reserve = HostReserve(
        cpu_millis=config.reserve.cpu_millis,
        memory_bytes=config.reserve.memory_bytes,
        storage_bytes=config.reserve.storage_bytes,
    )
    settings = docker_settings(config, provider)
    data_root = ENGINE_ROOT if ENGINE_ROOT.exists() else config.state_dir
    held_bytes = disks.held_bytes(settings.storage, settings.storage.root / provider, data_root)
    runtime = DockerRuntime(settings, clock, pulls=TimedPulls(news, metrics), requests=metrics.engine_asked)
    held = await stack.enter_async_context(runtime)
    await stack.enter_async_context(_beside(held.keep_images()))
    machine = Machine(
        name=node,
        gpus=await stack.enter_async_context(probe),
        host=LinuxHost(data_root, reserve=reserve, held_bytes=held_bytes),
        runtime=held,
        clock=clock,
        looked=metrics.looked,
    )
    return machine, held.disk_bytes


def _attribution(
    config: ProviderConfig,
    loop: Loop,
    machine: Machine,
    disk_bytes: Callable[[LeaseId], int | None],
    stack: AsyncExitStack,
) -> Attribution:
    tallies = SqliteTallies(TallySettings(path=config.state_dir / "usage.db"))
    stack.callback(tallies.close)
    return Attribution(
        Sources(
            state=lambda: loop.state,
            readings=machine.gpus.readings,
            probe=CgroupUsage(),
            book=tallies,
            clock=machine.clock,
            steady_s=monotonic,
            disk_bytes=disk_bytes,
        ),
        every=usage_interval(config),
    )


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """``work`` goes on until this is left."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _lease_world(agent: Agent) -> LeaseWorld:
    return LeaseWorld(
        agent=agent.loop,
        runtime=agent.machine.runtime,
        clock=agent.machine.clock,
        journal=agent.journal,
        pulls=agent.news.pulls,
        usage=agent.attribution.of,
    )


def _operator_server(config: ProviderConfig, agent: Agent, exposition: Exposition) -> OperatorServer:
    world = OperatorWorld(
        agent=agent.loop,
        probe=agent.machine.gpus,
        clock=agent.machine.clock,
        markets=tuple(each.seen for each in agent.joined),
        started_at=agent.machine.clock.now(),
        software=__version__,
        ledger=agent.ledger,
        exposition=lambda: exposition.page("", gzipped=False).body,
        usage=agent.attribution.of,
        usage_problem=lambda: agent.attribution.problem,
        reload=agent.reloading.reload,
    )
    return OperatorServer(config.state_dir / OPERATOR_SOCKET, OperatorGateway(world))


@asynccontextmanager
async def _telemetry(config: ProviderConfig, agent: Agent) -> AsyncIterator[Exposition]:
    host, port = addresses.split(config.telemetry.listen, "telemetry.listen")
    probe, runtime = agent.machine.gpus, agent.machine.runtime
    sizes = Sizes(
        config.state_dir / DATABASE,
        lambda: runtime.image_bytes if isinstance(runtime, DockerRuntime) else None,
    )
    feed = Feed(
        view=lambda: telemetry_view(
            agent.loop.state, agent.machine.clock, agent.names, agent.attribution.usages
        ),
        readings=probe.readings,
        probe=probe.status if isinstance(probe, NvmlProbe) else lambda: None,
        links=lambda: tuple(each.facts for each in agent.joined),
        held=sizes.now,
    )
    settings = HttpSettings(host=host, port=port, token=config.telemetry.token, tls=_tls(config.telemetry))
    exposition = Exposition(agent.metrics, feed)
    dcgm = Exposition(DcgmMetrics(agent.metrics.xids), feed) if config.telemetry.dcgm else None
    sampling = watch_readings(probe, agent.metrics, agent.attribution.lease_of, every_s=config.gpu.interval_s)
    async with (
        _beside(sizes.watch()),
        _beside(sampling),
        TelemetryServer(settings, exposition, lambda: readiness(agent), dcgm),
    ):
        yield exposition


def _tls(config: TelemetryConfig) -> TlsFiles | None:
    if config.certificate is not None and config.key is not None:
        return TlsFiles(certificate=config.certificate, key=config.key, client_ca=config.client_ca)
    if config.certificate is config.key is config.client_ca:  # none of them
        return None
    raise ConfigError(
        "telemetry.certificate and telemetry.key are wanted together, telemetry.client_ca only with both",
        remedy="set what is missing, or none of them",
    )


def readiness(agent: Agent) -> Readiness:
    """Ready is: the engine answered, and a market is connected."""
    state = agent.loop.state
    if state.runtime is None:
        return Readiness(is_ready=False, reason="the container engine has not been reached yet")
    if not state.connected:
        return Readiness(is_ready=False, reason=f"no market is connected: {state.link_problem or 'not yet'}")
    return Readiness(is_ready=True, reason="bidding")
