"""The provider's own servers: ``LeaseService`` for tenants, ``OperatorService`` for its operator.

Read ``lease_service.py`` first, then ``doorman.py``.
"""

from provider.adapters.gateway.doorman import Doorman
from provider.adapters.gateway.lease_service import LeaseGateway, LeaseWorld
from provider.adapters.gateway.operator_service import OperatorGateway, OperatorWorld
from provider.adapters.gateway.servers import LeaseServer, OperatorServer
from provider.adapters.gateway.settings import GatewaySettings

__all__ = [
    "LeaseServer",
    "LeaseGateway",
    "LeaseWorld",
    "Doorman",
    "OperatorServer",
    "OperatorGateway",
    "OperatorWorld",
    "GatewaySettings",
]
