"""The table of tunnels and the splicing, between ends that do as they are told, in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from provider.coordinator.tunnels import Tunnel, TunnelLimits, Tunnels
from provider.domain.errors import ProviderError, Temporary
from provider.domain.ids import LeaseId, Owner
from provider.rpc.status import Denied
from provider.sim import vtime
from tests.market import NORTH, SOUTH


def lease(dseq: int, owner: str = "alice") -> LeaseId:
    return LeaseId(owner=Owner(owner), dseq=dseq, gseq=1, oseq=1, provider=NORTH)


class FakeEnd:
    """Says what is put into ``says``, hears into ``heard`` while ``takes`` is set."""

    def __init__(self, *pieces: bytes | None) -> None:
        self.says: asyncio.Queue[bytes | ProviderError | None] = asyncio.Queue()
        for piece in pieces:
            self.says.put_nowait(piece)
        self.heard: list[bytes | None] = []
        self.takes = asyncio.Event()
        self.takes.set()

    async def read(self) -> bytes | None:
        said = await self.says.get()
        if isinstance(said, ProviderError):
            raise said
        return said

    async def write(self, data: bytes | None) -> None:
        await self.takes.wait()
        self.heard.append(data)


def table(**limits: float) -> Tunnels:
    numbers = itertools.count(1)
    return Tunnels(TunnelLimits(**limits), lambda: f"n{next(numbers)}")  # type: ignore[arg-type]


async def ended(tunnel: Tunnel) -> str:
    try:
        await tunnel.over()
    except Temporary as why:
        return why.what
    return "done"


def test_both_ways_pass_in_order_and_end_apart() -> None:
    async def main() -> None:
        tunnels = table()
        tenant, provider = FakeEnd(b"a", b"b", None), FakeEnd()
        with tunnels.dial(lease(1)) as tunnel:
            assert tunnels.answer(NORTH, "n1", provider) is tunnel
            await tunnel.answered(1)
            async with asyncio.TaskGroup() as tasks:
                carrying = tasks.create_task(tunnel.carry(tenant, 300))
                await asyncio.sleep(100)
                assert provider.heard == [b"a", b"b", None]
                assert not carrying.done()
                for piece in (b"c", None):
                    provider.says.put_nowait(piece)
            assert tenant.heard == [b"c", None]
            assert await ended(tunnel) == "done"
            assert (tunnel.to_provider_bytes, tunnel.to_tenant_bytes, tunnel.held_bytes) == (2, 1, 0)
        assert len(tunnels) == 0

    vtime.run(main())


def test_a_slow_end_slows_the_other_and_one_piece_is_held() -> None:
    async def main() -> None:
        tunnels = table()
        tenant, provider = FakeEnd(), FakeEnd(*[b"x" * 10] * 100)
        tenant.takes.clear()
        with tunnels.dial(lease(1)) as tunnel:
            tunnels.answer(NORTH, "n1", provider)
            carrying = asyncio.create_task(tunnel.carry(tenant, 300))
            await asyncio.sleep(1)
            assert (provider.says.qsize(), tunnels.held_bytes, tenant.heard) == (99, 10, [])
            tenant.takes.set()
            await asyncio.sleep(1)
            assert (provider.says.qsize(), tunnels.held_bytes, len(tenant.heard)) == (0, 0, 100)
            tenant.says.put_nowait(None)
            provider.says.put_nowait(None)
            await carrying

    vtime.run(main())


@pytest.mark.parametrize("goes", ["tenant", "provider"])
def test_an_end_that_goes_ends_the_other_even_while_that_one_is_stuck(goes: str) -> None:
    async def main() -> None:
        tunnels = table()
        ends = {"tenant": FakeEnd(b"x"), "provider": FakeEnd(b"x")}
        for end in ends.values():
            end.takes.clear()
        with tunnels.dial(lease(1)) as tunnel:
            tunnels.answer(NORTH, "n1", ends["provider"])
            carrying = asyncio.create_task(tunnel.carry(ends["tenant"], 300))
            await asyncio.sleep(1)
            tunnel.end(Temporary(f"the {goes} has gone"))
            with pytest.raises(Temporary, match=f"the {goes} has gone"):
                await carrying
            assert tunnels.held_bytes == 0

    vtime.run(main())


def test_a_read_that_fails_is_what_the_other_side_hears() -> None:
    async def main() -> None:
        tunnels = table()
        tenant, provider = FakeEnd(), FakeEnd()
        with tunnels.dial(lease(1)) as tunnel:
            tunnels.answer(NORTH, "n1", provider)
            provider.says.put_nowait(Temporary("the provider has gone"))
            with pytest.raises(Temporary, match="the provider has gone"):
                await tunnel.carry(tenant, 300)
            assert await ended(tunnel) == "the provider has gone"

    vtime.run(main())


def test_silence_ends_it_and_a_byte_keeps_it_up() -> None:
    async def main() -> None:
        tunnels = table()
        tenant, provider = FakeEnd(), FakeEnd()
        loop = asyncio.get_running_loop()
        with tunnels.dial(lease(1)) as tunnel:
            tunnels.answer(NORTH, "n1", provider)
            loop.call_later(200, provider.says.put_nowait, b"x")
            with pytest.raises(Temporary, match="nothing has passed through the tunnel for 300 s"):
                await tunnel.carry(tenant, 300)
        assert loop.time() == 500

    vtime.run(main())


def test_a_name_is_good_once_for_its_provider_while_somebody_waits() -> None:
    async def main() -> None:
        tunnels = table()
        with tunnels.dial(lease(1)) as tunnel:
            for provider, name in ((SOUTH, "n1"), (NORTH, "n2"), (NORTH, "")):
                with pytest.raises(Denied):
                    tunnels.answer(provider, name, FakeEnd())
            with pytest.raises(TimeoutError):
                await tunnel.answered(10)
            tunnels.answer(NORTH, "n1", FakeEnd())
            await tunnel.answered(10)
            with pytest.raises(Denied):
                tunnels.answer(NORTH, "n1", FakeEnd())
        with tunnels.dial(lease(2)):
            pass
        with pytest.raises(Denied):
            tunnels.answer(NORTH, "n2", FakeEnd())

    vtime.run(main())


@pytest.mark.parametrize(
    ("limits", "owner", "whose"),
    [
        ({"per_tenant": 2}, "alice", "alice"),
        ({"per_provider": 2}, "bob", "the provider north"),
        ({"open_most": 2}, "bob", "this market"),
    ],
)
def test_each_limit_is_told_by_name_and_frees_itself(limits: dict[str, int], owner: str, whose: str) -> None:
    async def main() -> None:
        tunnels = table(**limits)
        with tunnels.dial(lease(1)):
            with tunnels.dial(lease(2)), pytest.raises(Temporary, match=f"{whose} has 2 tunnels open"):
                tunnels.dial(lease(3, owner)).__enter__()
            with tunnels.dial(lease(3, owner)):
                assert len(tunnels) == 2

    vtime.run(main())


def test_tunnels_end_with_their_lease_and_others_stay() -> None:
    async def main() -> None:
        tunnels = table()
        with (
            tunnels.dial(lease(1)) as first,
            tunnels.dial(lease(2)) as second,
            tunnels.dial(lease(3)) as third,
        ):
            tunnels.review([lease(1).deployment, lease(2).deployment], lambda each: each != lease(1))
            assert "has ended" in await ended(first)
            with pytest.raises(Temporary, match="has ended"):
                await first.answered(10)  # also while the provider is awaited
            tunnels.stop()
            assert await ended(second) == await ended(third) == "the coordinator is stopping"
            with pytest.raises(Temporary, match="stopping"):
                tunnels.dial(lease(4)).__enter__()

    vtime.run(main())
