"""From a checked document to what the market and the provider use: groups and manifest.

Owns Akash's derivation: ids of resource units, orders, defaults, endpoint numbers, for 2.0 (a unit a
service) and 2.1 (services of one profile share a unit). Invariant: called only without errors, so
everything it needs is there; equal documents give equal values.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

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
from provider.domain.market import GroupSpec, Requirements, SignedBy
from provider.domain.money import Denom, Rate
from provider.domain.resources import (
    Attribute,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Resources,
    ResourceUnit,
    Volume,
)
from provider.domain.secret import Secret
from provider.sdl.blocks import Block
from provider.sdl.check import Sections, Use
from provider.sdl.check_profiles import DEFAULT_VOLUME, unified_flag, volume_name
from provider.sdl.check_services import is_host

HTTP_PORT = 80


def build(sections: Sections) -> tuple[Manifest, tuple[GroupSpec, ...]]:
    """Manifest and groups, both sorted by the group's name."""
    numbers = _endpoint_numbers(sections)
    groups: dict[str, list[Use]] = {}
    for use in sections.uses:
        groups.setdefault(use.placement_name, []).append(use)
    built = [_group(name, groups[name], numbers, sections) for name in sorted(groups)]
    return Manifest(groups=tuple(group for group, _ in built)), tuple(spec for _, spec in built)


def _group(
    name: str, uses: list[Use], numbers: dict[str, int], sections: Sections
) -> tuple[ManifestGroup, GroupSpec]:
    units: list[ResourceUnit] = []
    shared: list[list[Endpoint]] = []
    bound: dict[str, int] = {}
    services: list[Service] = []
    hostnames: set[str] = set()
    for use in uses:
        profile = use.entry.text("profile") or ""
        exposes = _exposes(use, numbers)
        endpoints = tuple(each for expose in exposes for each in endpoints_of(expose))
        hostnames |= {host for expose in exposes for host in hosts_of(expose) if is_host(host)}
        location = bound.get(profile, len(units)) if sections.is_merging else len(units)
        resources = _resources(use, endpoints, location + 1)
        if location == len(units):
            bound[profile] = location
            units.append(ResourceUnit(resources=resources, count=use.count, price=_price(use)))
            shared.append(list(endpoints))
        else:
            units[location] = replace(units[location], count=units[location].count + use.count)
            shared[location] += endpoints
        services.append(_service(use, resources, exposes, keeps_email=sections.is_merging))
    if sections.is_merging:
        units = [_sharing(unit, endpoints) for unit, endpoints in zip(units, shared, strict=True)]
    spec = GroupSpec(
        name=name,
        units=tuple(units),
        requirements=_requirements(uses),
        hostnames=tuple(sorted(hostnames)),
    )
    return ManifestGroup(name=name, services=tuple(services)), spec


def _sharing(unit: ResourceUnit, endpoints: list[Endpoint]) -> ResourceUnit:
    """Akash sorts the endpoints of a unit that is shared, by their number alone."""
    if len(endpoints) == len(unit.resources.endpoints):
        return unit
    ordered = tuple(sorted(endpoints, key=lambda each: each.sequence_number))
    return replace(unit, resources=replace(unit.resources, endpoints=ordered))


def endpoints_of(expose: Expose) -> tuple[Endpoint, ...]:
    """What a port needs from the market: nothing unless it is global."""
    if not expose.is_global:
        return ()
    is_http = expose.proto is Proto.TCP and expose.effective_port == HTTP_PORT
    plain = Endpoint(kind=EndpointKind.SHARED_HTTP if is_http else EndpointKind.RANDOM_PORT)
    if not expose.ip:
        return (plain,)
    leased = Endpoint(kind=EndpointKind.LEASED_IP, sequence_number=expose.endpoint_sequence_number)
    return plain, leased


def is_http(expose: Expose) -> bool:
    """Whether it is Akash's kind of port that an ingress serves: TCP, for the world, as port 80."""
    return any(each.kind is EndpointKind.SHARED_HTTP for each in endpoints_of(expose))


def hosts_of(expose: Expose) -> tuple[str, ...]:
    """Names that it is served under, lower case. On other than HTTP ports a name says nothing."""
    return tuple(host.lower() for host in expose.hosts or ()) if is_http(expose) else ()


def _endpoint_numbers(sections: Sections) -> dict[str, int]:
    """Akash numbers every use of an IP and lets the last one count; uses that are not global count too."""
    names: list[str] = []
    for service_name in sorted({use.service_name for use in sections.uses}):
        for expose in sections.services[service_name].blocks("expose"):
            for to in expose.blocks("to"):
                if to.text("ip") or not to.values.get("global"):
                    names.append(to.text("ip") or "")
    return {name: number for number, name in enumerate(sorted(names), 1)}


def _price(use: Use) -> Rate:
    assert use.placement is not None
    price = use.placement.named("pricing")[use.entry.text("profile") or ""]
    amount = price.values["amount"]
    assert isinstance(amount, Decimal)
    return Rate(amount=amount, denom=Denom(price.text("denom") or ""))


def _requirements(uses: list[Use]) -> Requirements:
    placement = uses[0].placement
    assert placement is not None
    attributes = [Attribute(key=key, value=value) for key, value in placement.named("attributes").items()]
    for use in uses:
        params = use.service.block("params") if use.service is not None else None
        if params is not None and (tee := params.text("tee")):
            attributes.append(Attribute(key="tee/type", value=tee))
            break
    attributes.sort(key=lambda each: each.key)
    signed = placement.block("signedBy")
    signed_by = SignedBy(all_of=signed.texts("allOf"), any_of=signed.texts("anyOf")) if signed else SignedBy()
    return Requirements(signed_by=signed_by, attributes=tuple(attributes))


def _resources(use: Use, endpoints: tuple[Endpoint, ...], number: int) -> Resources:
    resources = use.resources
    assert resources is not None
    cpu, memory = resources.block("cpu"), resources.block("memory")
    assert cpu is not None
    assert memory is not None
    arch = cpu.block("attributes")
    arch_text = arch.text("arch") if arch is not None else None
    return Resources(
        id=number,
        cpu_millis=cpu.number("units") or 0,
        memory_bytes=memory.number("size") or 0,
        gpu=_gpu(resources.block("gpu")),
        storage=_volumes(resources),
        endpoints=endpoints,
        cpu_attributes=(Attribute(key="arch", value=arch_text),) if arch_text is not None else (),
    )


def _gpu(gpu: Block | None) -> GpuAsk:
    if gpu is None or not gpu.number("units"):
        return GpuAsk()
    attributes = gpu.block("attributes")
    vendor = attributes.block("vendor") if attributes is not None else None
    entries = vendor.blocks("nvidia") if vendor is not None else []
    alternatives = [
        GpuAlternative(
            vendor="nvidia",
            model=_any(entry.text("model")),
            ram=entry.text("ram"),
            interface=entry.text("interface"),
        )
        for entry in entries
    ] or [GpuAlternative(vendor="nvidia")]
    return GpuAsk(
        units=gpu.number("units") or 0, alternatives=tuple(sorted(alternatives, key=GpuAlternative.key))
    )


def _any(model: str | None) -> str | None:
    return None if model in ("", "*") else model


def _volumes(resources: Block) -> tuple[Volume, ...]:
    volumes = [
        Volume(
            name=volume_name(resources, block),
            size_bytes=block.number("size") or 0,
            attributes=_storage_attributes(block.block("attributes")),
        )
        for block in resources.blocks("storage")
    ]
    # Akash's order calls equal volumes smaller than each other, so that its stable sort turns them around
    volumes.reverse()
    volumes.sort(key=_volume_order)
    return tuple(volumes)


def _volume_order(volume: Volume) -> tuple[int, str, str]:
    persistence = _persistence(volume)
    return volume.size_bytes, persistence, volume.name if persistence == "true" else ""


def _persistence(volume: Volume) -> str:
    """The attribute's text; empty, which sorts first, where there is none."""
    return next((each.value for each in volume.attributes if each.key == "persistent"), "")


def _storage_attributes(block: Block | None) -> tuple[Attribute, ...]:
    if block is None:
        return ()
    written = block.text("persistent")
    storage_class = block.text("class")
    if storage_class is None and written == "true":
        storage_class = DEFAULT_VOLUME
    persistent = Attribute(key="persistent", value=unified_flag(written or "false"))
    return (
        (persistent,) if storage_class is None else (Attribute(key="class", value=storage_class), persistent)
    )


def _service(use: Use, resources: Resources, exposes: tuple[Expose, ...], *, keeps_email: bool) -> Service:
    service = use.service
    assert service is not None
    return Service(
        name=use.service_name,
        image=service.text("image") or "",
        resources=resources,
        count=use.count,
        command=service.texts("command"),
        args=service.texts("args"),
        env=service.texts("env"),
        expose=exposes,
        params=_params(service.block("params")),
        credentials=_credentials(service.block("credentials"), keeps_email=keeps_email),
    )


def _params(block: Block | None) -> ServiceParams | None:
    if block is None:
        return None
    mounts = [
        MountPoint(name=name, mount=each.text("mount") or "", read_only=bool(each.values.get("readOnly")))
        for name, each in sorted(block.named("storage").items())
    ]
    permissions = block.block("permissions")
    return ServiceParams(
        storage=tuple(mounts) or None,
        permissions=(permissions.texts("read") or ()) if permissions is not None else None,
        tee=block.text("tee") or None,
    )


def _credentials(block: Block | None, *, keeps_email: bool) -> Credentials | None:
    """2.0 drops the email and keeps blanks; 2.1 keeps the email and drops blanks around all of them."""
    if block is None:
        return None
    host, username, password = (block.text(name) or "" for name in ("host", "username", "password"))
    if not keeps_email:
        return Credentials(host=host, username=username, password=Secret(password))
    return Credentials(
        host=host.strip(),
        username=username.strip(),
        password=Secret(password.strip()),
        email=(block.text("email") or "").strip(),
    )


def _exposes(use: Use, numbers: dict[str, int]) -> tuple[Expose, ...]:
    assert use.service is not None
    exposes: list[Expose] = []
    for block in use.service.blocks("expose"):
        targets = block.blocks("to")
        exposes += (
            [_expose(block, to, numbers) for to in targets] if targets else [_expose(block, None, numbers)]
        )
    exposes.sort(key=lambda each: (each.service, each.port, each.proto, not each.is_global))
    return tuple(exposes)


def _expose(block: Block, to: Block | None, numbers: dict[str, int]) -> Expose:
    is_global = bool(to.values.get("global")) if to is not None else False
    ip = (to.text("ip") or "") if to is not None else ""
    return Expose(
        port=block.number("port") or 0,
        external_port=block.number("as") or 0,
        proto=Proto((block.text("proto") or "TCP").upper()),
        service=(to.text("service") or "") if to is not None else "",
        is_global=is_global,
        hosts=block.texts("accept"),
        http_options=_http_options(block.block("http_options")),
        ip=ip,
        endpoint_sequence_number=numbers[ip] if ip and is_global else 0,
    )


def _http_options(block: Block | None) -> HttpOptions:
    default = HttpOptions()
    if block is None:
        return default
    return HttpOptions(
        max_body_bytes=block.number("max_body_size") or default.max_body_bytes,
        read_timeout_ms=block.number("read_timeout") or default.read_timeout_ms,
        send_timeout_ms=block.number("send_timeout") or default.send_timeout_ms,
        next_tries=block.number("next_tries") or default.next_tries,
        next_timeout_ms=block.number("next_timeout") or 0,
        next_cases=block.texts("next_cases") or default.next_cases,
        proxy_buffer_bytes=block.number("proxy_buffer_size") or 0,
    )
