"""An operator's idle job for tests, and what must hold of it after every step of an agent."""

from __future__ import annotations

from provider.core import idling
from provider.core.effects import StartWorkload, StopWorkload
from provider.core.markets import lease_of
from provider.core.step import Step
from provider.domain.gpu import GpuHealth
from provider.domain.idle import IdleJob, IdlePhase
from provider.domain.manifest import Service
from provider.domain.resources import GIB, GpuAlternative, GpuAsk, Resources


def idle_job(image: str = "folding", *, grace_s: int = 10, model: str | None = None) -> IdleJob:
    alternative = GpuAlternative(vendor="nvidia", model=model)
    resources = Resources(
        id=1, cpu_millis=1_000, memory_bytes=GIB, gpu=GpuAsk(units=1, alternatives=(alternative,))
    )
    return idling.job_of(Service(name="fold", image=image, resources=resources), grace_s)


def check_idle_job(step: Step) -> None:
    """It is started on cards that could be sold and nobody has, and a lease starts on none that has it."""
    state = step.state
    leased = {uuid for lease in state.leases.values() for uuid in lease.placement.gpus}
    well = {gpu.uuid for node in state.nodes for gpu in node.gpus if gpu.health is GpuHealth.HEALTHY}
    for effect in step.effects:
        if isinstance(effect, StartWorkload):
            gpus = {uuid for replica in effect.launch.replicas for uuid in replica.gpus}
            if effect.launch.lease.is_idle:
                assert gpus <= well - leased, f"the idle job is started on {gpus}"
                assert state.policy.idle is not None
                assert not state.is_draining
            else:
                assert not idling.occupies(state, gpus), f"{effect.launch.lease} starts beside the idle job"
    for uuid, run in state.idle.items():
        assert run.phase in (IdlePhase.STOPPING, IdlePhase.OFF) or uuid not in leased, (
            f"{uuid} is not yielded"
        )
    asked_for = {run.effect for run in state.idle.values()}
    for effect in step.effects:
        if isinstance(effect, StartWorkload | StopWorkload) and lease_of(effect).is_idle:
            assert effect.id in asked_for or lease_of(effect) in state.orphans, f"{effect} is for nobody"
