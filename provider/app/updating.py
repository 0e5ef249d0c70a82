"""``tenant update``: another manifest for leases that go on, from the market's word to the last container.

Owns the order of the steps, what is tried again and when it is done. Does not own what an update may change
(the market) nor what happens when it fails (the provider runs again what ran before). Invariant: stopped at
any instant and run again with the same file, it finishes the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from provider.app.lease_client import LeaseCalls
from provider.app.market_client import new_key
from provider.app.tenancy import Plan, Tenancy, lease_ended
from provider.domain.errors import Permanent, ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.market import LeaseHealth, Refusal
from provider.rpc import codec, codec_market
from provider.rpc.status import Denied
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2, resources_pb2, tenant_pb2

LOOK_S = 0.5
STEADY_S = 3.0
"""It runs once every look has found it running for this long: a command that ends at once is no success."""
_NOT_HEARD = Refusal.MANIFEST_HASH_DIFFERS.name
"""The provider has not heard of the update yet: the market tells it, a moment later."""
_GONE = frozenset({Refusal.LEASE_UNKNOWN.name, Refusal.MANIFEST_NOT_AWAITED.name, "LEASE_NOT_ACTIVE"})

Say = Callable[[str], None]


async def update(tenancy: Tenancy, dseq: int, plan: Plan, timeout_s: float, say: Say) -> None:
    """Order it, send it to every lease, wait until all of them run it.

    ``Permanent`` where the market does not take it, or a provider took it back; ``Temporary`` where it takes
    longer than ``timeout_s``.
    """
    before = await tenancy.market.deployment(dseq)
    tenancy.kept.propose(dseq, plan.kept, ordered=before.manifest_hash.hex())
    try:
        await tenancy.market.update(dseq, plan.groups, plan.hash, new_key())
    except Permanent:
        tenancy.kept.withdraw(dseq)
        raise
    leases = [
        codec.lease_id_from_pb(lease.id)
        for lease in before.leases
        if lease.state == tenant_pb2.LEASE_STATE_ACTIVE
    ]
    say(f"the manifest {plan.hash[:12]} is ordered for {len(leases)} lease(s)")
    runs = [asyncio.create_task(_Change(tenancy, lease, plan, say).run(timeout_s)) for lease in leases]
    try:
        _raise([problem for run in runs if (problem := await run) is not None])
    finally:
        for run in runs:
            run.cancel()
    tenancy.kept.settle(dseq)


def _raise(problems: Iterable[ProviderError]) -> None:
    """What went wrong, all of it: leases at several providers fare differently."""
    found = list(problems)
    if len(found) > 1:
        raise Permanent("; ".join(each.what for each in found), remedy=found[0].remedy)
    if found:
        raise found[0]


class _Change:
    """One lease, from the manifest to the running service."""

    def __init__(self, tenancy: Tenancy, lease: LeaseId, plan: Plan, say: Say) -> None:
        self._tenancy = tenancy
        self._lease = lease
        self._plan = plan
        self._say = say
        self._is_sent = False
        self._said = ""
        self._known = ""

    async def run(self, timeout_s: float) -> ProviderError | None:
        """None once it runs; why it does not."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_it_runs()
        except TimeoutError:
            return Temporary(
                f"{self._lease.provider} does not run the new manifest after {timeout_s:g} s"
                + (f": {self._known}" if self._known else ""),
                remedy="run the command again to go on with it",
            )
        except ProviderError as problem:
            return problem
        return None

    async def _until_it_runs(self) -> None:
        """Over any number of connections and of the provider's restarts."""
        scopes, is_done = (Scope.MANIFEST, Scope.STATUS), False
        while not is_done:
            try:
                async with await self._tenancy.lease_calls(self._lease, scopes) as calls:
                    is_done = await self._through(calls)
            except Temporary as away:
                self._known = away.what
            except Denied as denied:
                if denied.reason in _GONE:
                    raise await self._ended(denied) from denied
                if denied.reason != _NOT_HEARD:
                    raise
                self._known = "the provider has not heard of the update from the market yet"
            if not is_done:
                await asyncio.sleep(LOOK_S)

    async def _through(self, calls: LeaseCalls) -> bool:
        """True once it runs."""
        if not self._is_sent:
            kept = self._plan.kept
            await calls.send_manifest(kept.manifest_json, kept.dependencies)
            self._is_sent = True
            self._tell("has the manifest")
        clock = asyncio.get_running_loop().time
        steady_from: float | None = None
        while steady_from is None or clock() - steady_from < STEADY_S:
            status = await calls.status()
            if status.manifest_hash.hex() != self._plan.hash:
                raise self._taken_back(status)
            self._known = status.detail
            if status.health != resources_pb2.LEASE_HEALTH_RUNNING:
                steady_from = None
                self._tell(_progress(status))
            elif steady_from is None:
                steady_from = clock()
            await asyncio.sleep(LOOK_S)
        self._tell("runs it")
        return True

    def _taken_back(self, status: lease_pb2.GetLeaseStatusResponse) -> Permanent:
        why = status.detail or "it runs another manifest than was sent"
        return Permanent(
            f"{self._lease.provider}: {why}",
            remedy="mend the file and update again: until then the former one goes on, at the same price",
        )

    async def _ended(self, denied: Denied) -> ProviderError:
        """The market knows why the lease is gone, if it is."""
        view = await self._tenancy.market.deployment(self._lease.dseq)
        for lease in view.leases:
            is_it = codec.lease_id_from_pb(lease.id) == self._lease
            if is_it and lease.state != tenant_pb2.LEASE_STATE_ACTIVE:
                return lease_ended(lease, self._lease.dseq)
        return denied

    def _tell(self, text: str) -> None:
        """What is new, once."""
        if text != self._said:
            self._said = text
            self._say(f"{self._lease.provider}: {text}")


def _progress(status: lease_pb2.GetLeaseStatusResponse) -> str:
    health: LeaseHealth = codec_market.health_from_pb(status.health)
    return health.value + (f": {status.detail}" if status.detail else "")
