"""What a file becomes: units, orders, endpoint numbers, defaults, in 2.0 and 2.1 as Akash derives them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from provider import sdl
from provider.domain.manifest import Expose, HttpOptions, MountPoint, Proto, ServiceParams
from provider.domain.market import SignedBy
from provider.domain.money import Denom, Rate
from provider.domain.resources import (
    GIB,
    MIB,
    Attribute,
    Endpoint,
    EndpointKind,
    GpuAlternative,
    GpuAsk,
    Volume,
)
from tests.sdl_texts import BASE, changed, service_of, with_gpu, with_service, with_storage

HTTP = Endpoint(kind=EndpointKind.SHARED_HTTP)
PORT = Endpoint(kind=EndpointKind.RANDOM_PORT)


def leased(number: int) -> Endpoint:
    return Endpoint(kind=EndpointKind.LEASED_IP, sequence_number=number)


def shared(version: str, exposes: dict[str, str], endpoints: str = "") -> str:
    """Services of one profile at one placement, each with its ``expose`` in flow YAML."""
    services = "".join(f"  {name}:\n    image: i:1\n    expose: {each}\n" for name, each in exposes.items())
    uses = "".join(f"  {name}:\n    here:\n      profile: small\n      count: 2\n" for name in exposes)
    head, rest = BASE.split("services:\n")[0], BASE.split("profiles:\n", 1)[1].split("deployment:\n")[0]
    text = f"{head}services:\n{services}profiles:\n{rest}deployment:\n{uses}{endpoints}"
    return text.replace('"2.0"', f'"{version}"')


def test_a_unit_a_service_in_2_0_and_a_unit_a_profile_in_2_1() -> None:
    exposes = {
        "b": "[{port: 80, to: [{global: true}]}]",
        "a": "[{port: 443, to: [{global: true}]}]",
        "c": "[{port: 5432, to: [{service: a}]}]",
    }
    old, new = sdl.read(shared("2.0", exposes)), sdl.read(shared("2.1", exposes))
    assert [(unit.resources.id, unit.count) for unit in old.groups[0].units] == [(1, 2), (2, 2), (3, 2)]
    assert [(unit.resources.id, unit.count) for unit in new.groups[0].units] == [(1, 6)]
    assert [each.name for each in new.manifest.groups[0].services] == ["a", "b", "c"]
    assert [each.resources.id for each in old.manifest.groups[0].services] == [1, 2, 3]
    assert [each.resources.id for each in new.manifest.groups[0].services] == [1, 1, 1]
    assert [each.resources.endpoints for each in new.manifest.groups[0].services] == [(PORT,), (HTTP,), ()]
    assert new.groups[0].units[0].resources.endpoints == (PORT, HTTP)


def test_a_group_tells_the_names_of_its_http_ports_and_of_no_others() -> None:
    exposes = {
        "b": "[{port: 80, accept: [b.example, a.example], to: [{global: true}]}]",
        "a": "[{port: 8080, as: 80, accept: [c.example], to: [{global: true}]}]",
        "c": "[{port: 443, accept: [d.example], to: [{global: true}]}, {port: 81, accept: [e.example]}]",
    }
    read = sdl.read(shared("2.0", exposes))
    assert read.groups[0].hostnames == ("a.example", "b.example", "c.example")
    assert b"example" not in sdl.group_specs_json(read.groups), "Akash's JSON has none"


def test_every_use_of_an_ip_is_counted_and_the_last_one_is_its_number() -> None:
    """Akash's own fixture v2.1/shared-ip: kinds 1,0,2,2 with numbers 0,0,2,2."""
    exposes = {
        "a": "[{port: 8000, as: 8000, to: [{global: true, ip: meow}]}]",
        "b": "[{port: 80, to: [{global: true, ip: meow}]}]",
    }
    parsed = sdl.read(shared("2.1", exposes, "endpoints: {meow: {kind: ip}}\n"))
    assert parsed.groups[0].units[0].resources.endpoints == (PORT, HTTP, leased(2), leased(2))


def test_uses_that_are_not_global_count_too() -> None:
    exposes = {
        "a": "[{port: 1000, to: [{service: b}]}, {port: 1001, to: [{global: true, ip: zoo}]}]",
        "b": "[{port: 1002, to: [{global: true, ip: bar}]}]",
    }
    parsed = sdl.read(shared("2.0", exposes, "endpoints: {zoo: {kind: ip}, bar: {kind: ip}}\n"))
    numbers = {
        each.ip: each.endpoint_sequence_number
        for service in parsed.manifest.groups[0].services
        for each in service.expose
    }
    assert numbers == {"": 0, "bar": 2, "zoo": 3}


@pytest.mark.parametrize(
    ("expose", "kinds"),
    [
        ("{port: 80, to: [{global: true}]}", [HTTP]),
        ("{port: 8080, as: 80, to: [{global: true}]}", [HTTP]),
        ("{port: 80, as: 8080, to: [{global: true}]}", [PORT]),
        ("{port: 80, proto: udp, to: [{global: true}]}", [PORT]),
        ("{port: 80}", []),
        ("{port: 80, to: [{service: web}]}", []),
    ],
)
def test_kinds_of_endpoints(expose: str, kinds: list[Endpoint]) -> None:
    text = changed(
        ("      - port: 80\n        to:\n          - global: true\n", f"      - {expose}\n"),
        ("    expose:\n", "    expose:\n      - {port: 9, to: [{global: true}]}\n"),
    )
    assert list(service_of(text).resources.endpoints) in ([PORT, *kinds], [*kinds, PORT])


def test_exposes_are_sorted_and_the_outside_port_stays_as_written() -> None:
    exposes = """\
      - {port: 90, to: [{service: z}, {global: true}, {service: a}]}
      - {port: 80, proto: UDP, to: [{global: true}]}
      - {port: 80, as: 81, accept: [], to: [{global: false}, {global: true}]}
"""
    text = changed(("      - port: 80\n        to:\n          - global: true\n", exposes))
    found = service_of(text).expose
    assert [(each.service, each.port, each.proto, each.is_global) for each in found] == [
        ("", 80, Proto.TCP, True),
        ("", 80, Proto.TCP, False),
        ("", 80, Proto.UDP, True),
        ("", 90, Proto.TCP, True),
        ("a", 90, Proto.TCP, False),
        ("z", 90, Proto.TCP, False),
    ]
    assert found[0] == Expose(port=80, external_port=81, is_global=True, hosts=())
    assert found[3].external_port == 0
    assert found[3].effective_port == 90
    assert found[3].hosts is None


def test_volumes_are_ordered_by_size_then_persistence_then_backwards() -> None:
    """Akash's order calls equal volumes smaller than each other, so its stable sort turns them around."""
    text = with_storage(
        "[{name: big, size: 2Gi}, {name: x, size: 1Gi}, {name: y, size: 1Gi},"
        " {name: p2, size: 1Gi, attributes: {persistent: true, class: beta3}},"
        " {name: p1, size: 1Gi, attributes: {persistent: true}},"
        " {name: r, size: 1Gi, attributes: {class: ram}}]"
    )
    text = changed(
        (
            "    image: nginx:1\n",
            "    image: nginx:1\n    params: {storage: {p1: {mount: /1}, p2: {mount: /2}}}\n",
        ),
        text=text,
    )
    volumes = service_of(text).resources.storage
    assert [each.name for each in volumes] == ["y", "x", "r", "p1", "p2", "big"]
    yes, no = Attribute(key="persistent", value="true"), Attribute(key="persistent", value="false")
    assert volumes[2].attributes == (Attribute(key="class", value="ram"), no)
    assert volumes[3].attributes == (Attribute(key="class", value="default"), yes)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", []),
        ("attributes: {}", [("persistent", "false")]),
        ("attributes: {persistent: false}", [("persistent", "false")]),
        ("attributes: {persistent: off}", [("persistent", "false")]),
        ("attributes: {persistent: 'true'}", [("class", "default"), ("persistent", "true")]),
        ("attributes: {persistent: yes}", [("persistent", "true")]),
    ],
)
def test_storage_attributes(attributes: str, expected: list[tuple[str, str]]) -> None:
    text = changed(
        ("    image: nginx:1\n", "    image: nginx:1\n    params: {storage: {default: {mount: /d}}}\n"),
        text=with_storage(f"[{{size: 1Gi, {attributes}}}]"),
    )
    (volume,) = service_of(text).resources.storage
    assert [(each.key, each.value) for each in volume.attributes] == expected


def test_a_single_volume_is_called_default_whatever_its_name() -> None:
    (volume,) = service_of(with_storage("{name: data, size: 1Gi}")).resources.storage
    assert volume == Volume(name="default", size_bytes=GIB)


def test_gpus_are_alternatives_sorted_by_key() -> None:
    models = "[{model: rtx4090}, {model: a100, ram: 80Gi, interface: sxm}, {ram: 24Gi}]"
    found = service_of(with_gpu(f"{{units: 2, attributes: {{vendor: {{nvidia: {models}}}}}}}")).resources.gpu
    assert found.units == 2
    assert [each.key() for each in found.alternatives] == [
        "vendor/nvidia/model/*/ram/24Gi",
        "vendor/nvidia/model/a100/ram/80Gi/interface/sxm",
        "vendor/nvidia/model/rtx4090",
    ]


@pytest.mark.parametrize("nvidia", ["", "[]", "null", "[{model: '*'}]"])
def test_any_gpu(nvidia: str) -> None:
    found = service_of(with_gpu(f"{{units: 1, attributes: {{vendor: {{nvidia: {nvidia}}}}}}}")).resources.gpu
    assert found == GpuAsk(units=1, alternatives=(GpuAlternative(vendor="nvidia"),))
    assert service_of(with_gpu("{units: 0}")).resources.gpu == GpuAsk()


def test_amounts_and_price() -> None:
    (unit,) = sdl.read(BASE).groups[0].units
    assert (unit.resources.cpu_millis, unit.resources.memory_bytes) == (500, 512 * MIB)
    assert unit.price == Rate(amount=Decimal(100), denom=Denom.UACT)
    arch = changed(("          units: 0.5", "          units: 0.5\n          attributes: {arch: arm64}"))
    assert service_of(arch).resources.cpu_attributes == (Attribute(key="arch", value="arm64"),)


def test_null_is_not_empty() -> None:
    found = service_of(with_service("command: []\nargs:\nenv: [A=1, B, C==x]"))
    assert (found.command, found.args, found.env) == ((), None, ("A=1", "B", "C==x"))


def test_scalars_stay_the_text_that_was_written() -> None:
    found = service_of(with_service("args: [22:22, on, 017, 1.0, 2001-01-01, 0x1F, yes, 1e3, .inf]"))
    assert found.args == ("22:22", "on", "017", "1.0", "2001-01-01", "0x1F", "yes", "1e3", ".inf")


def test_params() -> None:
    assert service_of(with_service("params:")).params is None
    assert service_of(with_service("params: {}")).params == ServiceParams()
    text = with_service(
        "params: {storage: {default: {mount: /d, readOnly: on}}, permissions: {read: [logs]}}"
    )
    mounts = (MountPoint(name="default", mount="/d", read_only=True),)
    assert service_of(text).params == ServiceParams(storage=mounts, permissions=("logs",))


def test_credentials_in_2_0_and_2_1() -> None:
    text = with_service("credentials: {host: ' h ', email: 'a@b.c', username: ' u ', password: ' secret '}")
    old, new = service_of(text).credentials, service_of(text.replace('"2.0"', '"2.1"')).credentials
    assert old is not None
    assert new is not None
    assert (old.host, old.email, old.username, old.password.reveal()) == (" h ", "", " u ", " secret ")
    assert (new.host, new.email, new.username, new.password.reveal()) == ("h", "a@b.c", "u", "secret")
    assert "secret" not in repr(old)


def test_http_defaults() -> None:
    text = changed(
        ("port: 80", "port: 80\n        http_options: {read_timeout: 0, next_tries: 5, next_cases: []}")
    )
    assert service_of(text).expose[0].http_options == HttpOptions(next_tries=5)


def test_requirements() -> None:
    text = changed(
        (
            "      pricing:",
            "      attributes: {zone: b, area: 1}\n      signedBy: {anyOf: [x], allOf: []}\n      pricing:",
        ),
        ("    image: nginx:1\n", "    image: nginx:1\n    params: {tee: cpu}\n"),
    )
    found = sdl.read(text).groups[0].requirements
    assert [(each.key, each.value) for each in found.attributes] == [
        ("area", "1"),
        ("tee/type", "cpu"),
        ("zone", "b"),
    ]
    assert found.signed_by == SignedBy(all_of=(), any_of=("x",))


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2", "2.0"), ("2.0", "2.0"), ("v2.0.0", "2.0"), ("2.1", "2.1"), ("2.1.3", "2.1")],
)
def test_versions(version: str, expected: str) -> None:
    assert sdl.read(changed(('"2.0"', version))).version == expected


def test_reclamation() -> None:
    plain, told = sdl.read(BASE), sdl.read(BASE + "reclamation:\n  min_window: 36h\n")
    assert (plain.reclamation_window, told.reclamation_window) == (None, 36 * 3_600_000)
    # It goes to the market with each group, and is no part of the manifest, nor of Akash's group JSON.
    assert {group.requirements.notice for group in told.groups} == {36 * 3_600_000}
    assert {group.requirements.notice for group in plain.groups} == {None}
    assert sdl.manifest_hash(told.manifest) == sdl.manifest_hash(plain.manifest)
    assert sdl.group_specs_json(told.groups) == sdl.group_specs_json(plain.groups)
    assert (
        sdl.read(BASE + "reclamation:\n  min_window: 1h30m\n", lenient=True).reclamation_window == 5_400_000
    )


def test_order_in_the_file_does_not_matter() -> None:
    head, tail = BASE.split("profiles:\n", 1)
    first, last = head.split("services:\n", 1)
    assert sdl.read(f"profiles:\n{tail}{first}services:\n{last}") == sdl.read(BASE)
