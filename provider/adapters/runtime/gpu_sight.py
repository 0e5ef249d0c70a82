"""Whether containers see their GPUs, all of them and no others: proven from inside, with no tool of theirs.

A child process (``gpu_look``) opens the device nodes as a process of the container would: under its cgroup
and in its root. Which nodes a GPU has is known from its CDI spec, or from the driver where NVIDIA's hook
attached it (``/proc/driver/nvidia/gpus/*/information``). A simulated GPU has a node of our own, or is named
in the environment.

``prove`` is for a container that has just been started, ``watch`` for those that run: a reload of the service
manager can take a device away behind everybody's back (NVIDIA's container toolkit, issue 48), and only a new
container cures that.

Invariant: a tenant can hide nodes from itself, and ``watch`` takes no notice of that; where nothing can be
seen from here (no root, another PID namespace, a sandbox) the reason is said and nothing is concluded.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from provider.adapters.runtime import cdi_specs, containers, gpus
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.gpu_look import ABSENT
from provider.adapters.runtime.gpus import GpuRoads
from provider.adapters.runtime.host import engine_pid
from provider.adapters.runtime.settings import PLAIN_RUNTIME, DockerSettings
from provider.domain.errors import Temporary
from provider.domain.ids import GpuUuid
from provider.domain.moment import Span, after
from provider.ports import Clock

PROGRAM = Path(__file__).with_name("gpu_look.py")
LOOK_S = 20
"""The first open of a card whose driver keeps nothing loaded takes seconds."""
NOT_YET_EXECUTED = "its program has not been executed yet"
EXECUTED_TRIES, EXECUTED_PAUSE = 100, Span(20)
SIMULATED_PLACE = "/dev/simulated-gpu"
LISTED = (("/dev", "nvidia"), (SIMULATED_PLACE, ""))
"""Where cards show that nobody asked for: places, and how their names begin before digits."""
DRIVER = Path("/proc/driver/nvidia/gpus")
REMEDY = (
    "nvidia-smi, then provider doctor; a CDI spec keeps devices over a reload of systemd, the hook does not"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A running container that has GPUs."""

    id: str
    gpus: tuple[GpuUuid, ...]
    is_simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What became of a look. All None: it sees its GPUs and no others."""

    lost: str | None = None
    """A GPU of its own cannot be opened."""
    absent: str | None = None
    """A GPU of its own has no node inside; the container's own processes may have removed it."""
    foreign: str | None = None
    """A GPU that is not its own opens."""
    unproven: str | None = None
    """Why nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Paths in a container."""

    own: Mapping[str, GpuUuid] = field(default_factory=dict)
    """Each must open."""
    others: frozenset[str] = frozenset()
    """None may open."""
    named_in_environment: str | None = None
    """Instead of nodes: what ``PROVIDER_SIMULATED_GPUS`` says."""
    unknown: str | None = None
    """Why it is not known what to look for."""


class GpuSight:
    """Looks into the containers of one engine."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._pids: dict[str, int] = {}

    async def prove(self, watched: Watched) -> str | None:
        """``Temporary`` unless it sees its GPUs and no others; the reason where that cannot be known.

        A container that has ended already has nothing to prove.
        """
        sight = await self._once_executed(watched)
        problem = sight.lost or sight.absent or sight.foreign
        if problem is not None:
            raise Temporary(problem, remedy=REMEDY)
        return sight.unproven

    async def _once_executed(self, watched: Watched) -> Sight:
        """The engine says started a moment before the container's own program is executed."""
        for _ in range(EXECUTED_TRIES):
            sight = (await self.look([watched])).get(watched.id, Sight())
            if sight.unproven != NOT_YET_EXECUTED:
                break
            await self._clock.sleep_until(after(self._clock.now(), EXECUTED_PAUSE))
        return sight

    async def watch(self, watched: Sequence[Watched]) -> dict[str, str]:
        """What is wrong, by container; those of which nothing is known are not in it."""
        sights = await self.look(watched)
        self._pids = {each.id: self._pids[each.id] for each in watched if each.id in self._pids}
        problems = {name: sight.lost or sight.foreign for name, sight in sights.items()}
        return {name: problem for name, problem in problems.items() if problem is not None}

    async def look(self, watched: Sequence[Watched]) -> dict[str, Sight]:
        """Into all of them, by one process. Those that do not run any more are not in it."""
        settings = self._engine.settings
        roads = gpus.roads(await self._engine.info(), settings)
        sights: dict[str, Sight] = {}
        questions: dict[str, tuple[Nodes, Mapping[str, object]]] = {}
        for each in watched:
            nodes = await asyncio.to_thread(nodes_of, each, roads, settings)
            pid = await self._pid(each.id)
            groups = _cgroups(pid)
            if pid == 0 or (each.id not in groups and engine_pid(settings.socket_path)):
                continue  # it has ended; where not even the engine is seen, that is not known
            group = nodes.unknown or _cgroup_procs(groups, each.id)
            if isinstance(group, str):
                sights[each.id] = Sight(unproven=group)
            elif nodes.named_in_environment is not None:
                sights[each.id] = _by_environment(pid, nodes.named_in_environment)
            else:
                questions[each.id] = nodes, _question(pid, group, nodes)
        answers = await _ask([question for _, question in questions.values()])
        for name, (nodes, _), answer in zip(questions, questions.values(), answers, strict=True):
            if "nodes" in answer or name in _cgroups(self._pids[name]):  # else it ended meanwhile
                sights[name] = judged(nodes, answer)
        return sights

    async def _pid(self, container: str) -> int:
        """Kept as long as it is that container's: the engine is not asked each time."""
        pid = self._pids.get(container, 0)
        if pid == 0 or container not in _cgroups(pid):
            pid = await self._engine.call("looking at GPUs", lambda api: containers.pid_of(api, container))
            self._pids[container] = pid
        return pid


def nodes_of(watched: Watched, roads: GpuRoads, settings: DockerSettings, driver: Path = DRIVER) -> Nodes:
    """What a container with these GPUs must see, and must not."""
    if settings.oci_runtime != PLAIN_RUNTIME:
        return Nodes(unknown=f"{settings.oci_runtime} has devices of its own")
    if watched.is_simulated:
        if gpus.has_simulated_nodes(roads):
            return Nodes(own={f"{SIMULATED_PLACE}/{uuid}": uuid for uuid in watched.gpus})
        return Nodes(named_in_environment=",".join(watched.gpus))
    known: Mapping[str, tuple[str, ...]] = cdi_specs.devices(roads.cdi_dirs, settings.cdi_vendor_class)
    if not all(uuid in known for uuid in watched.gpus):
        known = _driver_nodes(driver)
    strange = [uuid for uuid in watched.gpus if uuid not in known]
    if strange:
        return Nodes(unknown=f"neither a CDI spec nor the driver tells the device nodes of {strange[0]}")
    own = {node: uuid for uuid in watched.gpus for node in known[uuid]}
    return Nodes(own=own, others=frozenset(node for nodes in known.values() for node in nodes) - own.keys())


def judged(nodes: Nodes, answer: Mapping[str, object]) -> Sight:
    """What the child's answer about one container means."""
    told = answer.get("nodes")
    if not isinstance(told, dict):
        return Sight(unproven=f"its devices could not be looked at: {answer.get('problem', 'no answer')}")
    foreign = sorted(path for path, outcome in told.items() if outcome == 0 and path not in nodes.own)
    absent = [path for path in nodes.own if told.get(path, ABSENT) == ABSENT]
    lost = [path for path in nodes.own if path not in absent and told[path] != 0]
    return Sight(
        lost=f"{nodes.own[lost[0]]} is not visible inside: {lost[0]}: {os.strerror(told[lost[0]])}"
        if lost
        else None,
        absent=f"{nodes.own[absent[0]]} is not visible inside: there is no device {absent[0]}"
        if absent
        else None,
        foreign=f"a GPU of others is visible inside: {foreign[0]}" if foreign else None,
    )


def _question(pid: int, group: Path, nodes: Nodes) -> dict[str, object]:
    return {
        "cgroup": str(group),
        "root": f"/proc/{pid}/root",
        "nodes": [*nodes.own, *sorted(nodes.others)],
        "listed": LISTED,
    }


async def _ask(questions: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    """The child's answers, in order; a problem for each when there are none."""
    if not questions:
        return []
    # -I and -S: nothing of the environment, no site packages, nothing but the standard library at hand.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(PROGRAM)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(LOOK_S):
            out, _ = await child.communicate(json.dumps(questions).encode())
    except TimeoutError:
        # One of a single container hangs because of its GPU; of several, nobody knows whose.
        problem: dict[str, object] = {"problem": f"no device opened within {LOOK_S} s"}
        return [problem for _ in questions]
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()  # not waited for: in the driver it may sit uninterruptibly
    try:
        answers = json.loads(out)
    except ValueError:
        answers = []
    if isinstance(answers, list) and len(answers) == len(questions):
        return answers
    return [{"problem": f"the look ended with status {child.returncode}"} for _ in questions]


def _by_environment(pid: int, expected: str) -> Sight:
    try:
        told = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError as error:
        return Sight(unproven=f"its environment cannot be read: {error.strerror}")
    if f"PROVIDER_SIMULATED_GPUS={expected}".encode() in told:
        return Sight()
    if not any(line.startswith(b"PROVIDER_LEASE=") for line in told):
        return Sight(unproven=NOT_YET_EXECUTED)
    return Sight(absent=f"{expected} is not named in the container's environment")


def _driver_nodes(driver: Path) -> dict[str, tuple[str, ...]]:
    """Device nodes by UUID, as NVIDIA's driver tells them on this machine; empty without a driver."""
    nodes: dict[str, tuple[str, ...]] = {}
    for place in sorted(driver.glob("*/information")):
        try:
            lines = place.read_text().splitlines()
        except OSError:
            continue
        told = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        if told.get("Device Minor", "").isdigit() and "GPU UUID" in told:
            nodes[told["GPU UUID"]] = (f"/dev/nvidia{told['Device Minor']}", "/dev/nvidiactl")
    return nodes


def _cgroups(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def _cgroup_procs(told: str, container: str) -> Path | str:
    """The file that moves a process into the cgroup which decides about its devices; or why there is none."""
    if os.geteuid() != 0:
        return "looking into containers needs root"
    lines = [line.split(":", 2) for line in told.splitlines()]
    groups = {name: path for _, names, path in lines for name in names.split(",")}
    kind, path = ("devices", groups["devices"]) if "devices" in groups else ("", groups.get("", ""))
    if container not in path:
        return "the engine's processes cannot be seen from here: run the daemon in the host's PID namespace"
    for root, mount in _hierarchies(kind):
        procs = Path(mount) / path.removeprefix(root).lstrip("/") / "cgroup.procs"
        if procs.exists():
            return procs
    return "the engine's cgroups cannot be seen from here"


def _hierarchies(kind: str) -> Iterable[tuple[str, str]]:
    """Root and mount point of each mounted hierarchy of ``kind``; the unified one's is empty."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, (filesystem, _, options) = before.split(), after.split(" ", 2)
        if (filesystem == "cgroup2" and not kind) or (filesystem == "cgroup" and kind in options.split(",")):
            yield fields[3], fields[4]
