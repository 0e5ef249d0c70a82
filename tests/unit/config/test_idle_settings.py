"""The idle job in the configuration: what may be one, and errors that name the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provider.app.config import IdleConfig
from provider.app.idle_settings import idle_findings, idle_job
from provider.domain.errors import ConfigError

EXAMPLE = Path("manifests/idle/batch.yaml")


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., IdleConfig]:
    """The example with texts replaced, in a file of its own."""

    def write(*changes: tuple[str, str], service: str = "", grace_s: int = 10) -> IdleConfig:
        text = EXAMPLE.read_text(encoding="utf-8")
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path = tmp_path / "idle.yaml"
        path.write_text(text, encoding="utf-8")
        return IdleConfig(manifest=path, service=service, grace_s=grace_s)

    return write


Changed = Callable[..., IdleConfig]
TWO = (
    ("services:\n", "services:\n  other:\n    image: busybox:1\n"),
    (
        "        batch:\n          denom",
        "        other:\n          denom: uact\n          amount: 1\n        batch:\n          denom",
    ),
    ("deployment:\n", "deployment:\n  other:\n    here:\n      profile: batch\n      count: 1\n"),
)


def test_the_example_is_one() -> None:
    job = idle_job(IdleConfig(manifest=EXAMPLE, grace_s=7))
    assert job is not None
    assert (job.service.name, job.grace_s) == ("batch", 7)
    assert job.service.resources.gpu.units == 1
    header = EXAMPLE.read_text(encoding="utf-8").split("version:")[0]
    assert all(word in header for word in ("Shows:", "Needs:", "Try:"))


def test_none_is_wanted_where_none_is_named() -> None:
    assert idle_job(IdleConfig()) is None
    assert list(idle_findings(IdleConfig())) == []


def test_what_it_runs_makes_its_generation_and_nothing_else_does(changed: Changed) -> None:
    def generation(config: IdleConfig) -> int:
        job = idle_job(config)
        assert job is not None
        return job.generation

    first = generation(changed())
    assert generation(changed(grace_s=30)) == generation(changed(("amount: 1", "amount: 2"))) == first
    others = [("units: 2", "units: 3"), ("runtime", "devel"), ("QUEUE=", "Q="), ("size: 20Gi", "size: 30Gi")]
    assert len({first, *(generation(changed(each)) for each in others)}) == 5


EXPOSED = ("    env:\n", "    expose:\n      - port: 3333\n        to: [{global: true}]\n    env:\n")
KEPT = (
    "        storage:\n          size: 20Gi\n",
    "        storage: [{size: 20Gi}, {name: kept, size: 1Gi, attributes: {persistent: on, class: beta3}}]\n",
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([EXPOSED], "services.batch cannot be an idle job:\n  expose: port 3333, and nobody reaches"),
        (
            [("units: 1\n          attr", "units: 2\n          attr")],
            "resources.gpu.units: it asks for 2 cards",
        ),
        ([("count: 1", "count: 3")], "count: 3 replicas, and each card gets one container"),
        ([("image: pytorch/", "image: PyTorch//")], "image: 'PyTorch//pytorch:2.7.1"),
        (
            [KEPT, ("    env:\n", "    params: {storage: {kept: {mount: /kept}}}\n    env:\n")],
            "kept is persistent",
        ),
        ([("units: 2", "units: two")], "is not a valid manifest:"),
        ([*TWO], "has 2 services: batch, other"),
    ],
)
def test_what_cannot_be_one_is_told_with_its_place(
    changed: Changed, changes: list[tuple[str, str]], said: str
) -> None:
    config = changed(*changes)
    with pytest.raises(ConfigError) as refused:
        idle_job(config)
    assert refused.value.what.startswith(f"idle.manifest: {config.manifest}")
    assert said in refused.value.what
    (finding,) = idle_findings(config)
    assert (finding.is_fatal, finding.found) == (True, refused.value.what)


def test_all_that_forbids_it_is_told_at_once(changed: Changed) -> None:
    with pytest.raises(ConfigError) as refused:
        idle_job(changed(EXPOSED, ("count: 1", "count: 3")))
    assert len(refused.value.what.splitlines()) == 3


def test_a_card_of_its_own_is_what_it_is_for(changed: Changed) -> None:
    without = ("        gpu:\n          units: 1\n          attributes:\n            vendor:\n", "")
    with pytest.raises(ConfigError, match="it asks for 0 cards"):
        idle_job(
            changed(
                without,
                ("              nvidia: # cards of any model; name some, and it is for those only\n", ""),
            )
        )


def test_one_of_several_services_is_named(changed: Changed) -> None:
    job = idle_job(changed(*TWO, service="other"))
    assert job is not None
    assert job.service.image == "busybox:1"
    with pytest.raises(ConfigError, match="has no service 'bath': there are batch") as refused:
        idle_job(changed(service="bath"))
    assert 'did you mean "batch"' in str(refused.value.remedy)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            IdleConfig(manifest=Path("/no/such.yaml")),
            "idle.manifest: /no/such.yaml cannot be read: No such file",
        ),
        (IdleConfig(manifest=Path("manifests")), "idle.manifest: manifests cannot be read"),
        (IdleConfig(service="fold"), "idle.service is set, and idle.manifest is not"),
        (IdleConfig(manifest=EXAMPLE, grace_s=121), "idle.grace_s: 121 s is too long"),
    ],
)
def test_settings_that_do_not_add_up(config: IdleConfig, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        idle_job(config)
    assert refused.value.what.startswith(said)


def test_the_doctor_says_what_will_run() -> None:
    (finding,) = idle_findings(IdleConfig(manifest=EXAMPLE))
    assert finding.is_well
    assert "batch (pytorch/pytorch" in finding.found
    assert "any model" in finding.found
