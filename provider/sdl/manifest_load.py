"""A manifest from JSON, as a tenant sent it to a provider.

Owns the way back from ``manifest_json``, and the rules that keep a hostile manifest from reaching an
engine (``go/manifest/v2beta3`` ``Validate``). Invariant: what is accepted writes the same JSON again, so
its hash is the hash of what came.
"""

from __future__ import annotations

from provider.domain.manifest import (
    Credentials,
    Expose,
    HttpOptions,
    Manifest,
    ManifestGroup,
    MountPoint,
    Proto,
    Service,
    ServiceParams,
)
from provider.domain.secret import Secret
from provider.sdl import limits, model
from provider.sdl.canonical import JsonInvalid, parse_json
from provider.sdl.check_services import SERVICE_NAME, is_env_name, is_host
from provider.sdl.json_fields import Json
from provider.sdl.manifest_json import manifest_tree
from provider.sdl.resources_load import load_resources

_EXPOSE_KEYS = (
    "port",
    "externalPort",
    "proto",
    "service",
    "global",
    "hosts",
    "httpOptions",
    "ip",
    "endpointSequenceNumber",
)
_HTTP_KEYS = ("maxBodySize", "readTimeout", "sendTimeout", "nextTries", "nextTimeout", "nextCases")
_SERVICE_KEYS = ("name", "image", "command", "args", "env", "resources", "count", "expose", "credentials")


def manifest_from_json(data: bytes) -> Manifest:
    """A manifest that can be run; ``JsonInvalid`` for anything else, at most 1 MiB and 32 levels deep."""
    tree = parse_json(data)
    groups = Json(tree).items(_load_group)
    manifest = Manifest(groups=groups)
    if not groups or len({group.name for group in groups}) < len(groups):
        raise JsonInvalid("the manifest has no group, or two of one name")
    hosts = [host for each in _exposes(manifest) for host in each.hosts or ()]
    if len(set(hosts)) < len(hosts):
        raise JsonInvalid("a host name stands twice in the manifest")
    if not any(each.is_global for each in _exposes(manifest)):
        raise JsonInvalid("no service of the manifest is global")
    if manifest_tree(manifest) != tree:
        raise JsonInvalid("the manifest is not in the form in which it is hashed")
    return manifest


def _exposes(manifest: Manifest) -> list[Expose]:
    return [each for group in manifest.groups for service in group.services for each in service.expose]


def _load_group(json: Json) -> ManifestGroup:
    tree = json.fields(("name", "services"))
    services = tree["services"].items(_load_service)
    names = [service.name for service in services]
    if not services or names != sorted(set(names)):
        raise tree["services"].fault("no service, or not sorted by name")
    return ManifestGroup(name=tree["name"].filled(), services=services)


def _load_service(json: Json) -> Service:
    tree = json.fields(_SERVICE_KEYS, ("params",))
    name = tree["name"].filled()
    if not SERVICE_NAME.fullmatch(name):
        raise tree["name"].fault("cannot name a service")
    env = tree["env"].or_null(Json.texts)
    if any(not is_env_name(each.partition("=")[0]) for each in env or ()):
        raise tree["env"].fault("an entry does not name a variable")
    expose = tree["expose"].items(_load_expose)
    if list(expose) != sorted(
        expose, key=lambda each: (each.service, each.port, each.proto, not each.is_global)
    ):
        raise tree["expose"].fault("not sorted")
    return Service(
        name=name,
        image=tree["image"].filled(),
        resources=load_resources(tree["resources"]),
        count=tree["count"].number(most=limits.UNITS_IN_GROUP * limits.COUNT.most),
        command=tree["command"].or_null(Json.texts),
        args=tree["args"].or_null(Json.texts),
        env=env,
        expose=expose,
        params=_load_params(tree["params"]) if "params" in tree else None,
        credentials=tree["credentials"].or_null(_load_credentials),
    )


def _load_expose(json: Json) -> Expose:
    tree = json.fields(_EXPOSE_KEYS)
    proto = tree["proto"].text()
    if proto not in tuple(Proto):
        raise tree["proto"].fault("neither TCP nor UDP")
    hosts = tree["hosts"].or_null(Json.texts)
    if not all(is_host(host) for host in hosts or ()):
        raise tree["hosts"].fault("not a host name")
    return Expose(
        port=tree["port"].number(least=1, most=65535),
        external_port=tree["externalPort"].number(most=65535),
        proto=Proto(proto),
        service=tree["service"].text(),
        is_global=tree["global"].flag(),
        hosts=hosts,
        http_options=_load_http(tree["httpOptions"]),
        ip=tree["ip"].text(),
        endpoint_sequence_number=tree["endpointSequenceNumber"].number(),
    )


def _load_http(json: Json) -> HttpOptions:
    tree = json.fields(_HTTP_KEYS, ("proxyBufferSize",))
    cases = tree["nextCases"].texts()
    if not cases or not set(cases) <= set(model.NEXT_CASES):
        raise tree["nextCases"].fault("an unknown case, or none")
    buffer = tree["proxyBufferSize"].number(most=model.PROXY_BUFFER_MOST) if "proxyBufferSize" in tree else 0
    return HttpOptions(
        max_body_bytes=tree["maxBodySize"].number(most=model.BODY_MOST),
        read_timeout_ms=tree["readTimeout"].number(most=model.TIMEOUT_MOST),
        send_timeout_ms=tree["sendTimeout"].number(most=model.TIMEOUT_MOST),
        next_tries=tree["nextTries"].number(),
        next_timeout_ms=tree["nextTimeout"].number(),
        next_cases=cases,
        proxy_buffer_bytes=buffer,
    )


def _load_params(json: Json) -> ServiceParams:
    tree = json.fields(("storage",), ("permissions", "tee"))
    storage = tree["storage"].or_null(lambda each: each.items(_load_mount))
    if storage is not None and len({each.mount for each in storage}) < len(storage):
        raise tree["storage"].fault("two volumes on one mount point")
    permissions: tuple[str, ...] | None = None
    if "permissions" in tree:
        read = tree["permissions"].fields((), ("read",))
        permissions = read["read"].texts() if "read" in read else ()
    tee: str | None = None
    if "tee" in tree:
        tee = tree["tee"].fields(("type", "attestation"))["type"].text()
        if tee not in model.TEE_TYPES:
            raise tree["tee"].fault("an unknown type")
    return ServiceParams(storage=storage, permissions=permissions, tee=tee)


def _load_mount(json: Json) -> MountPoint:
    tree = json.fields(("name", "mount", "readOnly"))
    mount = tree["mount"].text()
    if not mount.startswith("/"):
        raise tree["mount"].fault("not an absolute path")
    return MountPoint(name=tree["name"].filled(), mount=mount, read_only=tree["readOnly"].flag())


def _load_credentials(json: Json) -> Credentials:
    tree = json.fields(("host", "email", "username", "password"))
    return Credentials(
        host=tree["host"].filled(),
        email=tree["email"].text(),
        username=tree["username"].filled(),
        password=Secret(tree["password"].filled()),
    )
