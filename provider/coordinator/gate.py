"""Who may come in: a certificate of this market's authority, in the right role, of a member in the book."""

from __future__ import annotations

from typing import Any

import grpc.aio
from grpc import StatusCode

from provider.coordinator.rows import Role
from provider.coordinator.writer import Writer
from provider.domain.ids import Owner, ProviderId
from provider.rpc import member
from provider.rpc.status import Denied, caller, caller_as

_Context = grpc.aio.ServicerContext[Any, Any]
_ROLES = {Role.PROVIDER: member.Role.PROVIDER, Role.TENANT: member.Role.TENANT}


class Gate:
    """Every call but enrolment and the owner's own comes through here."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def provider(self, context: _Context) -> ProviderId:
        """The provider that calls. ``Denied`` where it is none."""
        return ProviderId(self._member(context, Role.PROVIDER))

    def owner(self, context: _Context) -> Owner:
        """The tenant that calls. ``Denied`` where it is none."""
        return Owner(self._member(context, Role.TENANT))

    def anybody(self, context: _Context) -> member.Member:
        """Whichever member calls. ``Denied`` where it is none."""
        found = caller(context)
        role = Role.PROVIDER if found.role is member.Role.PROVIDER else Role.TENANT
        self._member(context, role)
        return found

    def _member(self, context: _Context, role: Role) -> str:
        book = self._writer.book
        found = caller_as(context, _ROLES[role], book.market)
        if book.member(role, found.name) is None:
            raise Denied(
                StatusCode.PERMISSION_DENIED,
                "MEMBER_UNKNOWN",
                f"the {found} is not in the book",
                remedy="enrol with a join token of this market",
            )
        return found.name
