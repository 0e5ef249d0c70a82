"""The language as data: every section, field, kind and bound of SDL 2.0 and 2.1.

Owns what may be written where. Reading (``blocks``), the editors' schema (``schema``) and the
documentation's table come from it, so that they cannot disagree. Does not own rules between fields
(``check``). The fields are those of Akash's chain-sdk at 55f1c68, ``go/sdl/sdl-input.schema.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provider.sdl import scalars
from provider.sdl.scalars import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One value. ``choices``, ``least`` and ``most`` bound what was read."""

    read: Reader
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    is_soft: bool = False
    """Akash takes values outside of the bounds; so does a lenient reading."""
    is_private: bool = False
    schema: tuple[tuple[str, Any], ...] = (("type", "string"),)
    """JSON Schema of what an editor should take; may be narrower than what is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of scalars or of sections."""

    item: Scalar | Section
    is_or_one: bool = False
    """A single section may stand for a list of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """A mapping whose keys the tenant chooses."""

    value: Scalar | Section | Names
    pattern: str = ""
    """Of the keys, for editors; empty for any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    name: str
    shape: Shape
    about: str
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A mapping with known keys."""

    fields: tuple[Field, ...]
    is_strict: bool = False
    """Akash refuses unknown keys here too; elsewhere it ignores them."""
    strays: tuple[tuple[str, str], ...] = ()
    """Keys that people write, and what they meant."""
    by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {each.name: each for each in self.fields})


Shape = Scalar | Listing | Names | Section

_NUMBER_OR_TEXT: tuple[tuple[str, Any], ...] = (("type", ["string", "number"]),)
_UINT: tuple[tuple[str, Any], ...] = (("type", "integer"), ("minimum", 0))

TEXT = Scalar(read=scalars.read_text, schema=(("type", ["string", "number", "boolean"]),))
NAME = Scalar(read=scalars.read_text)
FLAG = Scalar(read=scalars.read_flag, schema=(("type", "boolean"),))
NUMBER = Scalar(read=scalars.read_integer, schema=_UINT)
TEXTS = Listing(item=TEXT)
PORT_SCHEMA: tuple[tuple[str, Any], ...] = (("type", "integer"), ("minimum", 1), ("maximum", 65535))
PORT = Scalar(read=scalars.read_integer, schema=PORT_SCHEMA)
EXTERNAL_PORT = Scalar(read=scalars.read_integer, least=1, most=65535, is_soft=True, schema=PORT_SCHEMA)


def _upto(most: int) -> Scalar:
    schema: tuple[tuple[str, Any], ...] = (("type", "integer"), ("minimum", 0), ("maximum", most))
    return Scalar(read=scalars.read_integer, most=most, schema=schema)


def _choice(*choices: str, is_soft: bool = False) -> Scalar:
    return Scalar(read=scalars.read_text, choices=choices, is_soft=is_soft, schema=(("enum", list(choices)),))


BODY_MOST = 104_857_600
TIMEOUT_MOST = 60_000
PROXY_BUFFER_MOST = 1_048_576
NEXT_CASES = ("error", "timeout", "500", "502", "503", "504", "403", "404", "429", "off")
STORAGE_CLASSES = ("default", "beta1", "beta2", "beta3", "ram")
TEE_TYPES = ("cpu", "cpu-gpu")
PERMISSIONS = ("deployment", "logs", "events")
ARCHITECTURES = ("amd64", "arm64")
INTERFACES = ("pcie", "sxm")
VERSION = r"^\s*v?0*2(?:\.0*([01])(?:\.0*([0-9]{1,9}))?)?\s*$"
SERVICE_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
ENDPOINT_NAME = r"^[a-z]+[a-z\-_0-9]+$"

HTTP_OPTIONS = Section(
    fields=(
        Field(name="max_body_size", shape=_upto(BODY_MOST), about="Largest request body, bytes (1 MiB)."),
        Field(
            name="read_timeout", shape=_upto(TIMEOUT_MOST), about="Longest wait for an answer, ms (60000)."
        ),
        Field(name="send_timeout", shape=_upto(TIMEOUT_MOST), about="Longest wait for sending, ms (60000)."),
        Field(name="next_tries", shape=NUMBER, about="How many backends are tried (3)."),
        Field(name="next_timeout", shape=NUMBER, about="Longest time for all tries, ms (0: none)."),
        Field(
            name="next_cases",
            shape=Listing(item=_choice(*NEXT_CASES)),
            about="When the next backend is tried (error, timeout); off stands alone.",
        ),
        Field(
            name="proxy_buffer_size",
            shape=_upto(PROXY_BUFFER_MOST),
            about="Buffer for an answer's head, bytes.",
        ),
    ),
)
TO = Section(
    fields=(
        Field(name="service", shape=NAME, about="The service that may reach the port; any if not given."),
        Field(name="global", shape=FLAG, about="Whether the world may reach the port."),
        Field(name="ip", shape=NAME, about="A declared endpoint: the port gets that leased IP."),
        Field(name="http_options", shape=HTTP_OPTIONS, about="Read and ignored, as Akash does."),
    ),
    strays=(("port", 'the port stands beside "to"'), ("as", '"as" stands beside "to"')),
)
EXPOSE = Section(
    fields=(
        Field(name="port", shape=PORT, about="The port in the container, 1 to 65535.", is_required=True),
        Field(name="as", shape=EXTERNAL_PORT, about="The port as seen from outside; the same if not given."),
        Field(
            name="proto",
            shape=Scalar(read=scalars.read_text, schema=(("enum", ["TCP", "UDP", "tcp", "udp"]),)),
            about="TCP (the default) or UDP.",
        ),
        Field(name="accept", shape=TEXTS, about="Host names that are served on it."),
        Field(name="to", shape=Listing(item=TO), about="Who may reach it; the lease's services if nobody."),
        Field(name="http_options", shape=HTTP_OPTIONS, about="How the ingress treats requests."),
    ),
    strays=(
        ("hosts", 'host names stand under "accept"'),
        ("host", 'host names stand under "accept"'),
        ("protocol", 'it is called "proto"'),
        ("global", '"global: true" stands in an entry under "to"'),
        ("service", '"service" stands in an entry under "to"'),
        ("external", 'the outside port is called "as"'),
    ),
)
CREDENTIALS = Section(
    fields=(
        Field(name="host", shape=NAME, about="The registry, as docker.io.", is_required=True),
        Field(name="email", shape=NAME, about="At least 5 characters."),
        Field(name="username", shape=NAME, about="The login.", is_required=True),
        Field(
            name="password",
            shape=Scalar(read=scalars.read_text, is_private=True),
            about="At least 6 characters; may be ${NAME}.",
            is_required=True,
        ),
    ),
)
MOUNT = Section(
    fields=(
        Field(name="mount", shape=NAME, about="Absolute path in the container."),
        Field(name="readOnly", shape=FLAG, about="Whether writing is refused (false)."),
    ),
    strays=(("readonly", 'it is written "readOnly"'), ("path", 'it is called "mount"')),
)
PARAMS = Section(
    fields=(
        Field(
            name="storage",
            shape=Names(value=MOUNT),
            about="Where the compute profile's volumes appear.",
        ),
        Field(
            name="permissions",
            shape=Section(
                fields=(
                    Field(
                        name="read",
                        shape=Listing(item=_choice(*PERMISSIONS, is_soft=True)),
                        about="What the service may read of its own lease.",
                    ),
                ),
            ),
            about="What the service may see of its lease.",
        ),
        Field(name="tee", shape=_choice(*TEE_TYPES), about="Confidential computing, cpu or cpu-gpu."),
    ),
)
SERVICE = Section(
    fields=(
        Field(name="image", shape=NAME, about="The container image, with a tag.", is_required=True),
        Field(name="command", shape=TEXTS, about="Replaces the image's entrypoint."),
        Field(name="args", shape=TEXTS, about="Replaces the image's command."),
        Field(
            name="env",
            shape=Listing(item=Scalar(read=scalars.read_text, is_private=True, schema=TEXT.schema)),
            about="Environment, as NAME=value.",
        ),
        Field(
            name="env_file",
            shape=Listing(item=NAME),
            about="Files of NAME=value lines, read on the tenant's side and put before env.",
        ),
        Field(name="expose", shape=Listing(item=EXPOSE), about="Ports and who may reach them."),
        Field(
            name="dependencies",
            shape=Listing(
                item=Section(
                    fields=(Field(name="service", shape=NAME, about="The other service."),),
                )
            ),
            about="Services of its placement that are started, and given time to become ready, before it.",
        ),
        Field(name="params", shape=PARAMS, about="Mounts, permissions, confidential computing."),
        Field(name="credentials", shape=CREDENTIALS, about="Login of a private registry."),
    ),
    strays=(
        ("depends_on", 'did you mean "dependencies", a list of "service"?'),
        ("depends-on", 'did you mean "dependencies", a list of "service"?'),
        ("restart", "drop it: containers are always started again"),
        ("volumes", 'volumes are "storage" of the compute profile, mounted by "params.storage"'),
        ("cmd", 'did you mean "command" (the entrypoint) or "args"?'),
        ("entrypoint", 'did you mean "command"?'),
        ("links", "drop it: services of a group find each other by name"),
        ("environment", 'did you mean "env"?'),
        ("ports", 'did you mean "expose"?'),
        ("networks", "drop it: services of a group share a private network"),
        ("container_name", "drop it: the service's own name is its host name"),
        ("healthcheck", "drop it: there is no health check in an SDL"),
        ("mounts", 'mounts stand under "params.storage"'),
        ("storage", 'sizes stand in the compute profile, mounts under "params.storage"'),
        ("resources", "resources stand in the compute profile"),
        ("count", 'the count stands under "deployment"'),
    ),
)
ENDPOINT = Section(
    fields=(Field(name="kind", shape=NAME, about="ip, a leased address.", is_required=True),),
)
