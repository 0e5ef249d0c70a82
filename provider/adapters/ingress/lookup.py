"""What the daemon answers its proxy: where a request goes, and whether a name is ours.

Owns the choice between replicas (in turn) and the exact limit of a body whose length is known. Does not own
who has which name (``core.hostnames``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import count, cycle, islice
from urllib.parse import parse_qs

from provider.adapters.ingress.addresses import Addresses
from provider.adapters.ingress.caddy_config import BODY, PREFIX, READ, SEND, TRY, UPSTREAMS
from provider.adapters.ingress.grades import grades
from provider.adapters.ingress.settings import joined
from provider.core.hostnames import table
from provider.core.state import AgentState, Lease
from provider.domain.hostname import HostnameBinding
from provider.domain.ids import LeaseId
from provider.rpc.http_message import Request, Response, plain


class Lookup:
    """Answers from the state as last committed."""

    def __init__(self, state: Callable[[], AgentState], addresses: Addresses) -> None:
        self._state = state
        self._addresses = addresses
        self._turn = count()
        self._leases: Mapping[LeaseId, Lease] | None = None
        self._table: Mapping[str, HostnameBinding] = {}

    async def answer(self, request: Request) -> Response:
        """To ``/route?host=&length=`` and ``/known?domain=``."""
        asked = parse_qs(request.query)
        match request.path:
            case "/route":
                return await self._route(_name(asked, "host"), asked.get("length", [""])[-1])
            case "/known" if self._binding(_name(asked, "domain")) is not None:
                return plain(HTTPStatus.OK, "known")
            case _:
                return plain(HTTPStatus.NOT_FOUND, "not known")

    async def _route(self, name: str, length: str) -> Response:
        binding = self._binding(name)
        if binding is None:
            return plain(HTTPStatus.NOT_FOUND, "404 there is no service of this name here")
        options = binding.options
        if length.isascii() and length.isdigit() and int(length[:20]) > options.max_body_bytes:
            text = f"413 the request is larger than this service takes, {options.max_body_bytes} bytes"
            return plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        found = await self._addresses.of(binding.lease, binding.service)
        if not found:
            why = "is not running" if found is not None else "cannot be looked up"
            text = f"503 the service behind this name {why} just now"
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, text, ("Retry-After", "5"))
        graded = grades(options, len(found))
        # Caddy takes the upstreams of one configuration in turn: ours moves on once it has been through.
        first = next(self._turn) // graded.tries % len(found)
        chosen = [joined((each, binding.port)) for each in (*found[first:], *found[:first])]
        said = dict(zip(UPSTREAMS, islice(cycle(chosen), len(UPSTREAMS)), strict=True)) | {
            BODY: str(graded.body_bytes),
            READ: str(graded.read_ms),
            SEND: str(graded.send_ms),
            TRY: str(graded.tries),
        }
        headers = tuple((f"{PREFIX}{header}", text) for header, text in said.items())
        return plain(HTTPStatus.OK, "", *headers)

    def _binding(self, name: str) -> HostnameBinding | None:
        state = self._state()
        if state.leases is not self._leases:
            self._leases, self._table = state.leases, table(state)
        return self._table.get(name)


def _name(asked: Mapping[str, list[str]], key: str) -> str:
    return asked.get(key, [""])[-1].lower().removesuffix(".")
