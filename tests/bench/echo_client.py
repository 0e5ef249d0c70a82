"""The other process of the bid benchmark's baseline: answers each message with as many bytes as a bid."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import grpc.aio

from provider.adapters.clock import SystemClock
from provider.rpc import identity
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel


async def main(folder: str, answer_bytes: int) -> None:
    who = identity.load(Path(folder), Role.PROVIDER, at=SystemClock().now())
    coordinator = Member(role=Role.COORDINATOR, market=who.member.market, name="")
    async with mtls_channel(who.coordinator, who, expect=coordinator) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/bench.Echo/Both")()
        try:
            while await call.read() is not grpc.aio.EOF:
                await call.write(b"y" * answer_bytes)
        finally:
            call.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
