"""A gRPC server with a member's identity and no service, for tests that attack its handshakes.

Its argument: the folder with the identity. Prints its port, and ends with its input.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.rpc import identity
from provider.rpc.identity import LiveIdentity
from provider.rpc.member import Role
from provider.rpc.settings import bind, mtls_server_credentials, server


async def main(folder: Path) -> None:
    who = identity.load(folder, Role.PROVIDER, at=SystemClock().now())
    made = server([], concurrent_calls=4)
    port = bind(made, "127.0.0.1:0", mtls_server_credentials(LiveIdentity(who)))
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await made.start()
    await asyncio.to_thread(sys.stdin.read)
    await made.stop(None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
