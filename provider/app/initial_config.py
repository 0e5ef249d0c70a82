"""The configuration that ``provider init`` writes: what an operator is likely to change, with comments."""

from __future__ import annotations

from provider.app.addresses import own_name
from provider.app.engine_settings import NOT_REACHABLE
from provider.domain.errors import ConfigError

TEMPLATE = """\
# What this machine sells, and for how much. docs/configuration.md lists every setting.
# Check it: provider doctor

state_dir: {state_dir}

lease:
  listen: 0.0.0.0:{lease_port}
  advertise: {advertise}      # where tenants reach this machine

pricing:                      # an hour, in whole units of the order's currency (ACT is a dollar)
  gpu_hour:
    "*": 1.00                 # any other card; by model as `provider gpus` names it:
    # h100: 2.40
    # rtx4090: 0.45
  cpu_core_hour: 0.01
  memory_gib_hour: 0.003
  storage_gib_hour: 0.0001

runtime:
  ports: 31000-31999          # of this host, for tenants: open them in the firewall
  # An engine, a runc or a container toolkit with known holes is not bid with: provider doctor tells which.
  # For tenants whom you know, or where your distribution has mended an old version, name the part here.
  allow_unsafe: []            # such as [engine, runc]

bidding:
  denoms: [uact]
  attributes: {{}}              # such as  region: eu-west

reserve:                      # kept for the machine itself
  cpu_millis: {reserve_cpu_millis}
  memory_bytes: 1073741824
  storage_bytes: 10737418240

# idle:                       # a job of your own on cards that nobody rents: docs/operating.md
#   manifest: /etc/provider/idle.yaml
{gpu}"""

SIMULATED = """
gpu:
  simulate:                   # these cards do not exist; everything says so
    - model: {model}
      count: {count}
"""


def initial(state_dir: str, advertise: str | None, simulate: str | None, cpus: int) -> str:
    """The file's text. ``ConfigError`` for an address or a simulation that cannot be."""
    advertise = advertise or f"{own_name()}:8443"
    port = advertise.rpartition(":")[2] if advertise != NOT_REACHABLE else "8443"
    if not port.isdigit():
        raise ConfigError(
            f"--advertise {advertise}: there is no port",
            remedy=f"write it like gpu1.example.org:8443, or {NOT_REACHABLE} for a machine behind NAT",
        )
    gpu = ""
    if simulate:
        model, _, count = simulate.partition(":")
        if not model or not (count or "1").isdigit():
            raise ConfigError(
                f"--simulate {simulate}: not of the form MODEL:COUNT", remedy="--simulate h100:2"
            )
        gpu = SIMULATED.format(model=model, count=count or "1")
    # Half a core for the daemon and the engine, but never half of a small machine.
    reserve = 500 if cpus > 2 else 0
    return TEMPLATE.format(
        state_dir=state_dir, lease_port=port, advertise=advertise, gpu=gpu, reserve_cpu_millis=reserve
    )
