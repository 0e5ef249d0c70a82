"""The examples that ship with the project, and the starter: both pass without a warning of substance."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider import sdl
from provider.sdl.starter import Answers, starter

MANIFESTS = sorted(Path("manifests").glob("*.yaml"))
VALUES = {"POSTGRES_PASSWORD": "pw-for-tests", "HF_TOKEN": "t", "JUPYTER_TOKEN": "t"}
FILLED = sdl.Substitution(variables=VALUES)
WORDS = st.text(min_size=1, max_size=20)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_examples(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parsed = sdl.read(text, substitution=FILLED)
    assert parsed.warnings == ()
    assert sdl.cross_check(parsed.manifest, parsed.groups) == ()
    assert sdl.manifest_from_json(sdl.manifest_json(parsed.manifest)) == parsed.manifest
    header = text.split("version:")[0]
    for word in ("Shows:", "Needs:", "Try:"):
        assert word in header


def test_the_range_of_the_examples() -> None:
    names = {path.stem for path in MANIFESTS}
    assert names >= {"hello-gpu", "web-with-database", "pytorch-training", "llm-inference"}
    assert names >= {"notebook", "mig-slice"}


def test_hello() -> None:
    (group,) = sdl.read(Path("manifests/hello-gpu.yaml").read_text(encoding="utf-8")).groups
    needs = sdl.needs_of(group)
    assert (group.name, needs.gpu_count, needs.cpu_millis) == ("anywhere", 1, 500)
    assert (needs.memory_bytes, needs.http_endpoints) == (128 * 1024**2, 1)


@pytest.mark.parametrize(
    "answers",
    [
        Answers(),
        Answers(gpu="h100", gpu_count=2, image="vllm/vllm-openai:v0.9", port=8000),
        Answers(gpu="any"),
        Answers(gpu="any", gpu_memory="24Gi"),
        Answers(gpu="a100", gpu_memory="80Gi", data="100Gi", name="train", replicas=3, price="1.5"),
        Answers(image="reg.example:5000/a/b@sha256:0a", cpu="500m", memory="512Mi", storage="1Gi"),
        Answers(image="no"),
    ],
)
def test_starter(answers: Answers) -> None:
    text = starter(answers)
    parsed = sdl.read(text)
    (service,) = parsed.manifest.groups[0].services
    assert parsed.warnings == ()
    assert (service.image, service.name, service.count) == (answers.image, answers.name, answers.replicas)
    assert service.resources.gpu.units == (answers.gpu_count if answers.gpu else 0)
    assert len(re.findall(r"^ *[^#\n]+ # ", text, re.MULTILINE)) > 5


@pytest.mark.parametrize(
    ("answers", "path"),
    [
        (Answers(port=0), "services.app.expose[0].port"),
        (Answers(name="My App"), 'services["My App"]'),
        (Answers(gpu="h100", gpu_count=99), "profiles.compute.app.resources.gpu.units"),
        (Answers(memory="1GB"), "profiles.compute.app.resources.memory.size"),
        (Answers(price="0"), "profiles.placement.anywhere.pricing.app.amount"),
        (Answers(image=""), "services.app.image"),
    ],
)
def test_answers_that_do_not_do(answers: Answers, path: str) -> None:
    with pytest.raises(sdl.SdlInvalid) as caught:
        starter(answers)
    assert path in [each.path for each in caught.value.problems]


@given(image=WORDS, name=WORDS, gpu=WORDS)
def test_no_answer_gets_out_of_its_place(image: str, name: str, gpu: str) -> None:
    """Whatever is answered stays one scalar, or is refused."""
    try:
        parsed = sdl.read(starter(Answers(image=image, name=name, gpu=gpu)))
    except sdl.SdlInvalid:
        return
    (service,) = parsed.manifest.groups[0].services
    assert (service.image, service.name) == (image, name)
