"""The demo, from beginning to end: a market, a provider, a tenant, one lease, the bill.

Every step goes the way that the README describes for the three roles: the same programs, the same
wire, a real pull, a real container. Nothing here waits for time to pass; each step waits for its result.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.adapters.runtime.advisories import Part
from provider.adapters.runtime.egress.warden import FILTER
from provider.app import manifest_files, render
from provider.app.demo import look
from provider.app.demo.receipt import Receipt, Show
from provider.app.demo.stage import Stage, free_port, program_argv, shown_program
from provider.app.enrolling import join, token_for
from provider.app.loopback_registry import loopback_registry
from provider.app.market_client import Admin, Daemon, Market
from provider.app.tenancy import Tenancy, plan_of
from provider.coordinator.settings import SOCKET
from provider.domain.errors import ConfigError, Permanent, Temporary
from provider.domain.ids import LeaseId
from provider.domain.money import Denom, Money
from provider.rpc import identity
from provider.rpc.member import Role
from provider.rpc.v1 import admin_pb2, operator_pb2, tenant_pb2

TENANT, MARKET = "demo-tenant", "demo-market"
SIMULATED = "h100:2"
"""What is offered where NVML finds nothing."""
FUNDS = Money(amount=20_000_000, denom=Denom.UACT)
DEPOSIT = Money(amount=5_000_000, denom=Denom.UACT)
WAIT_S = 60.0
CLOSE_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    docker: str = "unix:///var/run/docker.sock"
    keep: bool = False
    quiet: bool = False
    """No live steps: only JSON is wanted."""


class Story:
    """Tells it once. ``receipt`` is filled in as it goes."""

    def __init__(self, options: Options, root: Path) -> None:
        self.receipt = Receipt()
        self._options = options
        self._root = root
        """The project's folder: manifests/ and build/tools/ are there."""
        self._show = Show(self.receipt, quiet=options.quiet)
        self._stage = Stage(
            folder=Path(tempfile.mkdtemp(prefix="provider-demo-")),
            docker=options.docker,
            # A name of its own: two demos on one engine do not see each other.
            provider=f"demo-{secrets.token_hex(3)}",
        )
        self._provider = self._stage.provider
        self._port, self._tenants_port = free_port(), free_port()
        """Of the provider's LeaseService, and of the service that it will run."""
        self._metrics = f"127.0.0.1:{free_port()}"
        self._unsafe: list[str] = []
        self._filters = True
        """Parts of the engine that are not fit for strangers."""

    async def tell(self) -> Receipt:
        """All of it. Whatever happens, nothing is left behind, unless everything is to be kept."""
        keep = False
        try:
            async with AsyncExitStack() as stack:
                await self._set_up(stack)
                lease = await self._rent(stack)
                await self._use(lease)
                keep = self._options.keep
                if keep:
                    self._keep()
                    return self.receipt
                await self._settle()
        finally:
            if not keep:
                with self._show.step("clean", "Stopping the programs and removing everything they made"):
                    self.receipt.left_behind += await self._stage.strike()
                    self.receipt.left_behind += await look.clear_engine(
                        self._options.docker, self._provider, self.receipt.image
                    )
        self._show.receipt()
        return self.receipt

    # --- setting up

    async def _set_up(self, stack: AsyncExitStack) -> None:
        with self._show.step("engine", "Looking for a container engine and for GPUs"):
            simulate = await self._look_around()
        with self._show.step(
            "image", "Making the image from this machine's busybox, into a registry on loopback"
        ):
            tools = self._root / "build" / "tools"
            registry = await stack.enter_async_context(loopback_registry(tools))
            self.receipt.image = self._stage.image = await registry.push_hello(tools)
            self._show.detail(self.receipt.image)
        with self._show.step("market", "Starting a coordinator; funding a tenant"):
            await self._open_market()
        with self._show.step("provider", "Setting up a provider: init, enroll, run"):
            await self._open_provider(simulate)

    async def _look_around(self) -> bool:
        engine = await look.engine(self._options.docker)
        self._show.detail(f"engine: {engine.engine}")
        self._unsafe = [each.part for each in engine.unfit if each.part in list(Part)]
        self._filters = all(each.part != FILTER for each in engine.unfit)
        for each in engine.unfit:
            self._show.detail(f"[yellow]not for strangers[/yellow]: {each.part} {each.found}, {each.why}")
        if engine.unfit:
            self._show.detail(
                "here everybody is you, so the demo allows it: runtime.allow_unsafe"
                + ("" if self._filters else ", network.filter: off")
            )
        async with NvmlProbe(NvmlSettings(), SystemClock()) as probe:
            inventory = await probe.discover()
        if inventory.gpus:
            self._show.detail(f"GPUs: {len(inventory.gpus)}, driver {inventory.driver_version}")
            return False
        self._show.detail(f"GPUs: {inventory.problem}")
        self._show.detail(
            f"so {SIMULATED.replace(':', ' x ')} is [yellow]SIMULATED[/yellow], and labelled so everywhere"
        )
        return True

    async def _open_market(self) -> None:
        state = self._stage.folder / "coordinator"
        running = self._stage.run(
            "coordinator",
            [
                *program_argv("coordinator"),
                *("--state", str(state), "run", "--market", MARKET, "--advertise", "127.0.0.1"),
                *("--listen", "127.0.0.1:0", "--enrolment-listen", "127.0.0.1:0"),
            ],
        )
        await self._stage.until(running, self._ask_market, "the market did not open")
        home = str(self._stage.folder / "tenant")
        invited = await self._stage.command("coordinator", "--state", str(state), "invite", "tenant", TENANT)
        await join(token_for(invited.strip().splitlines()[-1], Role.TENANT), Path(home))
        await self._stage.command("coordinator", "--state", str(state), "fund", TENANT, str(FUNDS))
        self.receipt.tenant_before_micros = FUNDS.amount
        self._show.detail(f"{TENANT} has {FUNDS}")

    async def _ask_market(self) -> admin_pb2.GetMarketResponse:
        async with Admin(self._stage.folder / "coordinator" / SOCKET) as admin:
            return await admin.market()

    async def _open_provider(self, simulate: bool) -> None:
        config = str(self._stage.folder / "provider.yaml")
        init = ["--state-dir", str(self._stage.folder / "provider"), "--advertise", f"127.0.0.1:{self._port}"]
        init += ["--simulate", SIMULATED] if simulate else []
        await self._stage.command("provider", "--config", config, "init", *init)
        state = str(self._stage.folder / "coordinator")
        invited = await self._stage.command(
            "coordinator", "--state", state, "invite", "provider", self._provider
        )
        token = invited.strip().splitlines()[-1]
        await self._stage.command("provider", "--config", config, "enroll", token)
        running = self._stage.run(
            "provider",
            [*program_argv("provider"), "--config", config, "run"],
            {
                "PROVIDER_RUNTIME__DOCKER": self._options.docker,
                "PROVIDER_IMAGES__PRIVATE_REGISTRIES": json.dumps([self.receipt.image.partition("/")[0]]),
                "PROVIDER_RUNTIME__ALLOW_UNSAFE": f"[{', '.join(self._unsafe)}]",
                "PROVIDER_NETWORK__FILTER": "on" if self._filters else "off",
                "PROVIDER_RUNTIME__PUBLISH_ADDRESS": "127.0.0.1",
                "PROVIDER_RUNTIME__PORTS": f"{self._tenants_port}-{self._tenants_port}",
                "PROVIDER_LEASE__LISTEN": f"127.0.0.1:{self._port}",
                "PROVIDER_TELEMETRY__LISTEN": self._metrics,
                "PROVIDER_BIDDING__USAGE_INTERVAL_S": "1",
                "PROVIDER_BIDDING__STOP_GRACE_S": "2",
                "PROVIDER_RESERVE__CPU_MILLIS": "0",
                "PROVIDER_RESERVE__STORAGE_BYTES": "0",
            },
        )
        status = await self._stage.until(running, self._ready_daemon, "the provider did not come up")
        self.receipt.engine, self.receipt.gpu_attachment = status.engine, status.gpu_attachment
        self.receipt.simulated_gpus = any(node.simulated_gpus for node in status.nodes)
        for node in status.nodes:
            for gpu in node.gpus:
                label = " [yellow]SIMULATED[/yellow]" if gpu.simulated else ""
                self._show.detail(f"{gpu.uuid}  {gpu.name}{label}")
        self._show.detail(f"GPUs are attached by {status.gpu_attachment}; engine {status.engine}")

    async def _ready_daemon(self) -> operator_pb2.GetStatusResponse:
        async with Daemon(self._stage.folder / "provider" / "operator.sock") as daemon:
            status = await daemon.status()
        if not (status.connected and status.engine):
            raise Temporary(status.link_problem or "it has not reached its engine and its market yet")
        return status

    # --- renting

    async def _rent(self, stack: AsyncExitStack) -> LeaseId:
        home = self._stage.folder / "tenant"
        who = identity.load(home, Role.TENANT, at=SystemClock().now())
        market = await stack.enter_async_context(Market(who))
        self._tenancy = Tenancy(market, home)
        parsed = manifest_files.load(str(self._root / "manifests" / "hello-gpu.yaml"))
        plan = plan_of(parsed, {"hello": self.receipt.image})
        with self._show.step(
            "order", "Deploying manifests/hello-gpu.yaml: deposit into escrow, an order opens"
        ):
            self._dseq = self._stage.dseq = await self._tenancy.deploy(plan, DEPOSIT)
            self.receipt.deposit_micros = DEPOSIT.amount
        with self._show.step("bid", "The provider bids"):
            await self._show_bid(await self._tenancy.first_bids(self._dseq, WAIT_S))
        with self._show.step("lease", "Accepting the bid; the provider confirms"):
            (lease,) = await self._tenancy.accept(self._dseq, None, WAIT_S)
            self.receipt.lease = str(lease)
        with self._show.step(
            "manifest", "Sending the manifest to the provider, which checks it against the order"
        ):
            await self._tenancy.send_manifest(lease)
        with self._show.step("running", "Pulling the image and starting the container"):
            await self._tenancy.running(self._dseq, WAIT_S)
        return lease

    async def _show_bid(self, view: tenant_pb2.Deployment) -> None:
        (bid,) = view.orders[0].bids
        self.receipt.price_per_block = bid.rate.amount
        self.receipt.price_per_hour = render.hourly(bid.rate)
        offered = ", ".join(render.gpu_offer(gpu) for gpu in bid.gpus)
        self._show.detail(f"{bid.id.provider} offers {offered} for {self.receipt.price_per_hour}")

    # --- using

    async def _use(self, lease: LeaseId) -> None:
        with self._show.step("http", "Asking the service over HTTP"):
            status = await look.lease_status(self._tenancy, lease)
            self.receipt.gpus = list(status.gpu_uuids)
            self.receipt.url = f"http://{status.host}:{status.ports[0].host_port}/"
            for line in await look.page(self.receipt.url, WAIT_S):
                self._show.detail(line)
        with self._show.step("logs", "Following its log"):
            for line in await look.log_lines(self._tenancy, lease, "hello", 3):
                self._show.detail(line)
        with self._show.step("exec", "Running a command in it: nproc; cat /etc/hostname"):
            for line in await look.executed(
                self._tenancy, lease, "hello", ("sh", "-c", "nproc; cat /etc/hostname")
            ):
                self._show.detail(line)
        with self._show.step("metrics", f"Scraping http://{self._metrics}/metrics"):
            for line in await look.series(f"http://{self._metrics}/metrics", lease.key):
                self._show.detail(line)

    # --- the end

    async def _settle(self) -> None:
        with self._show.step("close", "Closing the lease: the container is removed, the money is settled"):
            view = await self._tenancy.close(self._dseq, CLOSE_S)
            await look.agent_is_idle(self._ready_daemon, WAIT_S)
            (lease,) = view.leases
            self.receipt.ran_ms, self.receipt.billed_micros = lease.running_ms, lease.settled.amount_micros
            await self._balances()

    async def _balances(self) -> None:
        market = await self._ask_market()
        for account in market.accounts:
            if account.name == f"tenant:{TENANT}":
                self.receipt.tenant_after_micros = account.balance.amount_micros
            if account.name == f"provider:{self._provider}":
                self.receipt.provider_after_micros = account.balance.amount_micros
        billed = self.receipt.tenant_before_micros - self.receipt.tenant_after_micros
        if billed != self.receipt.billed_micros or billed != self.receipt.provider_after_micros:
            raise Permanent(
                f"the money does not add up: {billed} paid, {self.receipt.billed_micros} billed",
                remedy="report this with the receipt: provider demo --json",
            )

    def _keep(self) -> None:
        self._stage.save()
        folder = self._stage.folder
        provider = f"{shown_program('provider')} --config {folder}/provider.yaml"
        tenant = f"{shown_program('tenant')} --home {folder}/tenant"
        coordinator = f"{shown_program('coordinator')} --state {folder}/coordinator"
        self._show.say()
        self._show.say("[bold]Everything is left running.[/bold] Look around:")
        for command in (
            f"curl {self.receipt.url}",
            f"{provider} status",
            f"{provider} gpus",
            f"{provider} leases",
            f"{tenant} status {self._dseq}",
            f"{tenant} logs -f {self._dseq}",
            f"{tenant} exec -t {self._dseq} hello -- sh",
            f"{coordinator} status",
            f"curl http://{self._metrics}/metrics",
        ):
            self._show.say(f"  {command}")
        ending = f"{shown_program('provider')} demo --end {folder}"
        self._show.say(f"End it, and remove everything: {ending}")


async def end(folder: Path) -> list[str]:
    """End a demo that was kept in ``folder``, in whatever state it is; what could not be removed."""
    stage = Stage.load(folder)
    home = stage.folder / "tenant"
    who = identity.load(home, Role.TENANT, at=SystemClock().now())
    try:
        async with Market(who) as market:
            await Tenancy(market, home).close(stage.dseq, CLOSE_S)
    except Temporary as away:
        print(f"not settled: {away.what}", file=sys.stderr)
    left = await stage.strike()
    return left + await look.clear_engine(stage.docker, stage.provider, stage.image)


def project_root() -> Path:
    """Where manifests/ is. ``ConfigError`` in an installation without the project around it."""
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (folder / "manifests" / "hello-gpu.yaml").is_file():
            return folder
    raise ConfigError("manifests/hello-gpu.yaml is not here", remedy="run the demo from the project's folder")


def tell(options: Options) -> Receipt:
    """Run the demo from a synchronous caller."""
    return asyncio.run(Story(options, project_root()).tell())
