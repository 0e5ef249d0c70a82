"""A manifest as Akash's JSON, and its version.

Owns field names, order and what is left out (``go/manifest/v2beta3/*.pb.go``, the struct tags). Reading
it back is ``manifest_load``. Invariant: ``hash_of_json(manifest_json(m)) == manifest_hash(m)``.
"""

from __future__ import annotations

from typing import Any

from provider.domain.manifest import Expose, HttpOptions, Manifest, ManifestGroup, Service, ServiceParams
from provider.domain.resources import Attribute, Endpoint, Resources, Volume
from provider.sdl.canonical import go_json, sha256_of

Tree = dict[str, Any]


def manifest_json(manifest: Manifest) -> bytes:
    """Akash's manifest JSON: a list of groups, compact, keys in Akash's order. It holds secrets."""
    return go_json(manifest_tree(manifest))


def manifest_hash(manifest: Manifest) -> str:
    """The manifest's version, 64 hex digits: what the order carries and the provider compares."""
    return sha256_of(manifest_tree(manifest))


def manifest_tree(manifest: Manifest) -> list[Tree]:
    return [_group_tree(group) for group in manifest.groups]


def _group_tree(group: ManifestGroup) -> Tree:
    return {"name": group.name, "services": [_service_tree(each) for each in group.services]}


def _service_tree(service: Service) -> Tree:
    tree: Tree = {
        "name": service.name,
        "image": service.image,
        "command": _list(service.command),
        "args": _list(service.args),
        "env": _list(service.env),
        "resources": resources_tree(service.resources),
        "count": service.count,
        "expose": [_expose_tree(each) for each in service.expose],
    }
    if service.params is not None:
        tree["params"] = _params_tree(service.params)
    login = service.credentials
    tree["credentials"] = login and {
        "host": login.host,
        "email": login.email,
        "username": login.username,
        "password": login.password.reveal(),
    }
    return tree


def _params_tree(params: ServiceParams) -> Tree:
    tree: Tree = {
        "storage": None
        if params.storage is None
        else [{"name": each.name, "mount": each.mount, "readOnly": each.read_only} for each in params.storage]
    }
    if params.permissions is not None:
        tree["permissions"] = {"read": list(params.permissions)} if params.permissions else {}
    if params.tee is not None:
        tree["tee"] = {"type": params.tee, "attestation": True}
    return tree


def _expose_tree(expose: Expose) -> Tree:
    return {
        "port": expose.port,
        "externalPort": expose.external_port,
        "proto": str(expose.proto),
        "service": expose.service,
        "global": expose.is_global,
        "hosts": _list(expose.hosts),
        "httpOptions": _http_tree(expose.http_options),
        "ip": expose.ip,
        "endpointSequenceNumber": expose.endpoint_sequence_number,
    }


def _http_tree(options: HttpOptions) -> Tree:
    tree: Tree = {
        "maxBodySize": options.max_body_bytes,
        "readTimeout": options.read_timeout_ms,
        "sendTimeout": options.send_timeout_ms,
        "nextTries": options.next_tries,
        "nextTimeout": options.next_timeout_ms,
        "nextCases": list(options.next_cases),
    }
    if options.proxy_buffer_bytes:
        tree["proxyBufferSize"] = options.proxy_buffer_bytes
    return tree


def resources_tree(resources: Resources) -> Tree:
    """One replica's resources, as manifests and groups both have them; amounts are texts."""
    alternatives = resources.gpu.alternatives
    gpu_attributes = tuple(Attribute(key=each.key(), value="true") for each in alternatives)
    return {
        "id": resources.id,
        "cpu": _amount_tree("units", resources.cpu_millis, resources.cpu_attributes),
        "memory": _amount_tree("size", resources.memory_bytes, ()),
        "storage": [_volume_tree(each) for each in resources.storage],
        "gpu": _amount_tree("units", resources.gpu.units, gpu_attributes),
        "endpoints": [_endpoint_tree(each) for each in resources.endpoints],
    }


def _amount_tree(name: str, amount: int, attributes: tuple[Attribute, ...]) -> Tree:
    tree: Tree = {name: {"val": str(amount)}}
    if attributes:
        tree["attributes"] = attributes_tree(attributes)
    return tree


def _volume_tree(volume: Volume) -> Tree:
    return {"name": volume.name, **_amount_tree("size", volume.size_bytes, volume.attributes)}


def attributes_tree(attributes: tuple[Attribute, ...]) -> list[Tree]:
    return [{"key": each.key, "value": each.value} for each in attributes]


def _endpoint_tree(endpoint: Endpoint) -> Tree:
    kind: Tree = {"kind": int(endpoint.kind)} if endpoint.kind else {}
    return {**kind, "sequence_number": endpoint.sequence_number}


def _list(texts: tuple[str, ...] | None) -> list[str] | None:
    return None if texts is None else list(texts)
