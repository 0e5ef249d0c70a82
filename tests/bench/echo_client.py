"""The other process of the bid benchmark's baselines: answers each message with as many bytes as a bid.

Where its third argument is not 0 it is the least that an agent can be: it commits so many bytes to a SQLite
file with the store's own settings before each answer, and does nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

import grpc.aio

from provider.adapters.clock import SystemClock
from provider.adapters.store.database import Database, open_database
from provider.adapters.store.sqlite import SCHEMA
from provider.rpc import identity
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel


async def main(folder: str, answer_bytes: int, commit_bytes: int) -> None:
    who = identity.load(Path(folder), Role.PROVIDER, at=SystemClock().now())
    coordinator = Member(role=Role.COORDINATOR, market=who.member.market, name="")
    with ExitStack() as stack:
        database: Database | None = None
        if commit_bytes:
            database = stack.enter_context(open_database(Path(folder) / "least.db", SCHEMA))
        async with mtls_channel(who.coordinator, who, expect=coordinator) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/bench.Echo/Both")()
            number = 0
            try:
                while await call.read() is not grpc.aio.EOF:
                    if database is not None:
                        number += 1
                        _commit(database, number, commit_bytes)
                    await call.write(b"y" * answer_bytes)
            finally:
                call.cancel()


def _commit(database: Database, number: int, size: int) -> None:
    """What a bid writes: a row for itself and one for its effect."""
    with database.transaction() as connection:
        connection.execute("INSERT INTO bid (id, body) VALUES (?, ?)", (str(number), "b" * (size // 2)))
        connection.execute("INSERT INTO effect (id, body) VALUES (?, ?)", (str(number), "e" * (size // 2)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
