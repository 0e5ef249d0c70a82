"""The agent's stream to its coordinator. Read ``link.py`` first, then ``session.py``."""

from provider.adapters.link.link import GrpcLink
from provider.adapters.link.settings import LinkSettings

__all__ = ["GrpcLink", "LinkSettings"]
