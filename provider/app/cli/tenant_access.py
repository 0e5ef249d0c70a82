"""``tenant logs``, ``events``, ``exec``, ``cp`` and ``restart``: a look and a hand into a running lease."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from datetime import UTC, datetime

from provider.adapters.clock import SystemClock
from provider.app import copying, terminal
from provider.app.cli.entry import DONE, report
from provider.app.cli.targets import Place, place, service_and_replica, since_ns
from provider.app.cli.tenant_commands import with_tenancy
from provider.app.lease_client import LeaseCalls
from provider.app.log_following import Connect, followed
from provider.app.log_printing import LogPrinter
from provider.app.render import as_dict, size
from provider.app.tenancy import Tenancy
from provider.domain.errors import ConfigError, Permanent, ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.ports import CopyRequest, ExecRequest, LogRequest
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2

NOT_RUN = 125
"""What ``docker`` gives where a command was not even tried; 126 and 127 are the engine's own."""
POLL_S = 0.3


def logs(args: argparse.Namespace) -> int:
    service, replica = service_and_replica(args.service)
    wanted = LogRequest(
        service=service or None,
        replica=replica,
        follow=args.follow,
        tail=_tail(args.tail),
        since_ns=since_ns(args.since, SystemClock().now()) if args.since else 0,
    )

    async def ask(tenancy: Tenancy) -> int:
        lease = await tenancy.lease_of(args.dseq, service, or_ended=True)
        printer = LogPrinter(
            out=sys.stdout.buffer,
            err=sys.stderr.buffer,
            with_names=replica is None and await _has_several(tenancy, lease, service),
            with_times=args.timestamps,
        )
        connect = _road(tenancy, lease, Scope.LOGS)
        async with aclosing(followed(connect, wanted, _say)) as batches:
            async for batch in batches:
                printer.print(batch)
        return DONE

    return with_tenancy(args, ask)


def _road(tenancy: Tenancy, lease: LeaseId, scope: Scope) -> Connect:
    @asynccontextmanager
    async def connect() -> AsyncIterator[LeaseCalls]:
        async with await tenancy.lease_calls(lease, (scope,)) as calls:
            yield calls

    return connect


async def _has_several(tenancy: Tenancy, lease: LeaseId, service: str) -> bool:
    """Whether lines of several replicas are read: then each says whose it is. True where nobody knows."""
    try:
        async with await tenancy.lease_calls(lease, (Scope.STATUS,)) as calls:
            services = (await calls.status()).services
    except ProviderError:
        return True
    return sum(each.total for each in services if service in {"", each.name}) != 1


def events(args: argparse.Namespace) -> int:
    async def ask(tenancy: Tenancy) -> int:
        lease = await tenancy.lease_of(args.dseq, or_ended=True)
        async with aclosing(_events(tenancy, lease, follow=args.follow)) as told:
            async for event in told:
                print(json.dumps(as_dict(event)) if args.json else _event_line(event), flush=True)
        return DONE

    return with_tenancy(args, ask)


async def _events(
    tenancy: Tenancy, lease: LeaseId, *, follow: bool
) -> AsyncGenerator[lease_pb2.StreamEventsResponse, None]:
    """Each once; following goes on over lost connections."""
    last, was_connected = 0, False
    while True:
        try:
            async with await tenancy.lease_calls(lease, (Scope.STATUS,)) as calls:
                async for event in calls.events(follow=follow, after=last):
                    last, was_connected = event.number, True
                    yield event
        except Temporary as away:
            if not (follow and was_connected):
                raise
            _say(f"the events are interrupted: {away.what}; connecting again")
            await asyncio.sleep(1)
        else:
            return


def _event_line(event: lease_pb2.StreamEventsResponse) -> str:
    at = datetime.fromtimestamp(event.at_ms / 1000, UTC)
    who = f"{event.service}/{event.replica}" if event.service else "lease"
    kind = "Warning" if event.is_warning else "Normal"
    return f"{at:%Y-%m-%dT%H:%M:%SZ}  {kind:<7}  {event.kind:<17}  {who:<12}  {event.text}".rstrip()


def execute(args: argparse.Namespace) -> int:
    """The command's own exit status, as ``docker exec`` does; ``NOT_RUN`` where it could not be tried."""
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    service, replica = service_and_replica(args.service)
    if not argv:
        raise ConfigError(
            "there is no command to run", remedy=f"tenant exec {args.dseq} {args.service} -- ls /"
        )

    async def ask(tenancy: Tenancy) -> int:
        lease = await tenancy.lease_of(args.dseq, service)
        rows, columns = terminal.size()
        wanted = ExecRequest(
            service=service, replica=replica or 0, argv=tuple(argv), tty=args.tty, rows=rows, columns=columns
        )
        async with (
            await tenancy.lease_calls(lease, (Scope.EXEC,)) as calls,
            calls.exec() as call,
        ):
            await call.write(calls.start(wanted))
            is_terminal = args.tty and args.interactive and sys.stdin.isatty()
            with terminal.raw(sys.stdin.fileno()) if is_terminal else nullcontext():
                return await terminal.pump(call, with_tty=args.tty, with_input=args.interactive)

    try:
        return with_tenancy(args, ask)
    except (ProviderError, ExceptionGroup) as failure:
        report(failure)
        return NOT_RUN


def copy(args: argparse.Namespace) -> int:
    source, target = place(args.source), place(args.target)
    if (source is None) == (target is None):
        raise ConfigError(
            "one of the two has to be in a container", remedy="tenant cp 7/web:/data ./data, or the other way"
        )
    there = source or target
    assert there is not None, "one of the two"

    async def ask(tenancy: Tenancy) -> int:
        lease = await tenancy.lease_of(there.dseq, there.service)
        async with await tenancy.lease_calls(lease, (Scope.FILES,)) as calls:
            request = _copy_request(there)
            if source is None:
                count = await copying.upload(calls, args.source, request)
            else:
                count = await copying.download(calls, request, args.target)
        _say(f"copied {size(count)}")
        return DONE

    return with_tenancy(args, ask)


def _copy_request(there: Place) -> CopyRequest:
    return CopyRequest(service=there.service, replica=there.replica, path=there.path)


def restart(args: argparse.Namespace) -> int:
    async def ask(tenancy: Tenancy) -> int:
        lease = await tenancy.lease_of(args.dseq, args.service)
        async with await tenancy.lease_calls(lease, (Scope.RESTART, Scope.STATUS)) as calls:
            before = _starts(await calls.status(), args.service)
            await calls.restart(args.service)
            try:
                async with asyncio.timeout(args.wait):
                    while not _is_again(await calls.status(), args.service, before):  # noqa: ASYNC110
                        await asyncio.sleep(POLL_S)  # another machine sets no event
            except TimeoutError:
                raise Temporary(
                    f"{args.service} is not ready again within {args.wait:g} s",
                    remedy=f"tenant events {args.dseq}",
                ) from None
        print(f"{args.service} was restarted")
        return DONE

    return with_tenancy(args, ask)


def _starts(status: lease_pb2.GetLeaseStatusResponse, service: str) -> dict[int, int]:
    """When each replica of ``service`` was started last."""
    found = [each for each in status.services if each.name == service]
    if not found:
        raise Permanent(
            f"there is no service {service}",
            remedy=f"use one of {', '.join(each.name for each in status.services) or 'none'}",
        )
    return {each.replica: each.started_ms for each in found[0].replicas}


def _is_again(status: lease_pb2.GetLeaseStatusResponse, service: str, before: dict[int, int]) -> bool:
    for each in status.services:
        if each.name == service:
            return all(
                one.ready and one.started_ms > before.get(one.replica, 0) for one in each.replicas
            ) and (len(each.replicas) == each.total)
    return False


def _tail(text: str) -> int | None:
    """As docker has it: a number, or ``all``; less than none is all too."""
    if text == "all":
        return None
    try:
        count = int(text)
    except ValueError as error:
        raise ConfigError(f"--tail {text}: not a number", remedy="--tail 100, or --tail all") from error
    return None if count < 0 else count


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
