"""A manifest to start from, with a comment beside whatever a newcomer asks about.

Owns the text. Invariant: what it returns passes ``read``, or ``SdlInvalid`` says which answer does not.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from provider.sdl.reading import read

_PLAIN = re.compile(r"[A-Za-z][\w./:@-]*", re.ASCII)
_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the starter is made of. Sizes and amounts are texts as the language has them."""

    image: str = "nginx:1.27"
    name: str = "app"
    port: int = 80
    gpu: str | None = None
    """A model, or ``any``; None for no GPU."""
    gpu_count: int = 1
    gpu_memory: str | None = None
    cpu: str | None = None
    memory: str | None = None
    storage: str | None = None
    data: str | None = None
    replicas: int = 1
    price: str = "100000"


def starter(answers: Answers) -> str:
    """YAML with comments; ``SdlInvalid`` where an answer is not what the language takes."""
    text = "\n".join([*_head(), *_service(answers), *_compute(answers), *_placement(answers)]) + "\n"
    read(text)
    return text


def _head() -> list[str]:
    return [
        "---",
        "# A deployment. Check it with: tenant check FILE",
        'version: "2.0"',
        "",
    ]


def _service(answers: Answers) -> list[str]:
    name = _scalar(answers.name)
    lines = [
        "services:",
        f"  {name}:",
        f"    image: {_scalar(answers.image)} # with a tag, so that it stays the same",
        "    # command: [...]  replaces the image's entrypoint, args: [...] its arguments",
        "    # env:",
        "    #   - NAME=value",
        "    expose:",
        f"      - port: {answers.port} # in the container",
        "        as: 80 # from outside; 80 is served as HTTP, any other port as it is",
        "        to:",
        "          - global: true # for the world; leave it out for the deployment's own services",
    ]
    if answers.data is not None:
        lines += [
            "    params:",
            "      storage:",
            "        data: # the volume of this name, below",
            "          mount: /data",
        ]
    return [*lines, ""]


def _compute(answers: Answers) -> list[str]:
    has_gpu = answers.gpu is not None
    name = _scalar(answers.name)
    return [
        "profiles:",
        "  compute: # what each replica gets",
        f"    {name}:",
        "      resources:",
        "        cpu:",
        f"          units: {_scalar(answers.cpu or ('4' if has_gpu else '1'))} # cores, or 500m",
        "        memory:",
        f"          size: {_scalar(answers.memory or ('16Gi' if has_gpu else '1Gi'))}",
        "        storage:",
        f"          - size: {_scalar(answers.storage or ('50Gi' if has_gpu else '5Gi'))} # its own disk",
        *_data(answers),
        *_gpu(answers),
    ]


def _data(answers: Answers) -> list[str]:
    if answers.data is None:
        return []
    return [
        "          - name: data",
        f"            size: {_scalar(answers.data)}",
        "            attributes:",
        "              persistent: true # outlives the container",
        "              class: beta3 # beta1 disk, beta2 SSD, beta3 NVMe",
    ]


def _gpu(answers: Answers) -> list[str]:
    if answers.gpu is None:
        return []
    lines = [
        "        gpu:",
        f"          units: {answers.gpu_count}",
        "          attributes:",
        "            vendor:",
    ]
    details = [] if answers.gpu == "any" else [f"model: {_scalar(answers.gpu)}"]
    details += [f"ram: {_scalar(answers.gpu_memory)}"] if answers.gpu_memory else []
    if not details:
        return [*lines, "              nvidia: # any model; list models to choose"]
    first, *rest = details
    lines += ["              nvidia: # any of these would do", f"                - {first}"]
    return [*lines, *(f"                  {each}" for each in rest)]


def _placement(answers: Answers) -> list[str]:
    name = _scalar(answers.name)
    return [
        "  placement:",
        "    anywhere:",
        "      # attributes: {region: eu-west}  providers must claim these",
        "      pricing:",
        f"        {name}:",
        "          denom: uact # a millionth of a dollar",
        f"          amount: {_scalar(answers.price)} # the highest price a block (6 s) and replica",
        "",
        "deployment:",
        f"  {name}:",
        "    anywhere:",
        f"      profile: {name}",
        f"      count: {answers.replicas} # replicas",
    ]


def _scalar(text: str) -> str:
    """The text as YAML: bare where that is safe, quoted otherwise."""
    if re.fullmatch(r"\d+(\.\d+)?[A-Za-z]{0,2}", text, re.ASCII):
        return text
    if _PLAIN.fullmatch(text) and text.casefold() not in _RESERVED and not text.endswith(":"):
        return text
    return json.dumps(text, ensure_ascii=True)
