"""Every rule of the language: what breaks it, where that is said, and that nothing else is."""

from __future__ import annotations

import pytest

from provider import sdl
from tests.sdl_texts import BASE, changed, errors_of, problems_of, with_gpu, with_service, with_storage

RESOURCES = "profiles.compute.small.resources"
STORAGE = f"{RESOURCES}.storage"
NVIDIA = f"{RESOURCES}.gpu.attributes.vendor.nvidia"
TWO_SERVICES = changed(
    ("profiles:\n", "  db:\n    image: pg:1\nprofiles:\n"),
    ("deployment:\n", "deployment:\n  db:\n    here:\n      profile: small\n      count: 1\n"),
)
CREDENTIALS = "credentials:\n  host: reg.io\n  username: me\n  password: secret99"
LEASED = changed(("          - global: true", "          - global: true\n            ip: front")) + (
    "endpoints:\n  front:\n    kind: ip\n"
)


def test_the_base_is_right() -> None:
    assert not problems_of(BASE)
    assert not problems_of(TWO_SERVICES)
    assert not problems_of(LEASED)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (changed(('version: "2.0"\n', "")), 'version: "version" is missing'),
        (changed(('"2.0"', '"3.0"')), 'version: version "3.0" is not supported'),
        (changed(('"2.0"', '"2.0.1"')), 'version: version "2.0.1" is not supported'),
        (changed(("    image: nginx:1\n", "")), 'services.web.image: "image" is missing'),
        (changed(("nginx:1", '""')), "services.web.image: the image is empty"),
        (
            changed(("      - port: 80\n        to:", "      - to:")),
            'services.web.expose[0].port: "port" is missing',
        ),
        (changed(("port: 80", "port: 0")), "services.web.expose[0].port: 0 is not a port"),
        (changed(("port: 80", "port: 65536")), "services.web.expose[0].port: 65536 is not a port"),
        (changed(("port: 80", 'port: "80"')), 'services.web.expose[0].port: "80" is text'),
        (
            changed(("port: 80", "port: 80\n        as: 65536")),
            "services.web.expose[0].as: 65536 is too much",
        ),
        (
            changed(("port: 80", "port: 80\n        proto: HTTP")),
            'services.web.expose[0].proto: "HTTP" is not a protocol',
        ),
        (
            changed(("port: 80", "port: 80\n        accept: [Www.x.io]")),
            'services.web.expose[0].accept[0]: "Www.x.io" is not a host name',
        ),
        (
            changed(("port: 80", "port: 80\n        accept: [a.io, a.io]")),
            'services.web.expose[0].accept[1]: host name "a.io" is used twice',
        ),
        (changed(("global: true", "global: false")), "services: no service is global"),
        (changed(("count: 1", "count: 0")), "deployment.web.here.count: 0 replicas"),
        (changed(("count: 1", "count: 51")), "deployment.web.here.count: 51 replicas"),
        (changed(("      count: 1\n", "")), 'deployment.web.here.count: "count" is missing'),
        (changed(("units: 0.5", "units: 9m")), f"{RESOURCES}.cpu.units: too little"),
        (changed(("units: 0.5", "units: 385")), f"{RESOURCES}.cpu.units: too much"),
        (changed(("units: 0.5", "units: -1")), f'{RESOURCES}.cpu.units: "-1" is negative'),
        (changed(("size: 512Mi", "size: 1023Ki")), f"{RESOURCES}.memory.size: too little"),
        (changed(("size: 512Mi", "size: 3Ti")), f"{RESOURCES}.memory.size: too much"),
        (changed(("size: 1Gi", "size: 4Mi")), f"{STORAGE}.size: too little"),
        (changed(("size: 1Gi", "size: 33Ti")), f"{STORAGE}.size: too much"),
        (with_storage("[]"), f"{STORAGE}: no storage"),
        (with_storage("[{size: 1Gi}, {size: 2Gi}]"), f'{STORAGE}[1].name: two volumes are called "default"'),
        (
            with_storage("{size: 1Gi, attributes: {class: ssd}}"),
            f'{STORAGE}.attributes.class: "ssd" is unknown',
        ),
        (
            with_storage("{size: 1Gi, attributes: {class: beta3}}"),
            f"{STORAGE}.attributes.class: the class beta3 is for persistent storage",
        ),
        (
            with_storage("{size: 1Gi, attributes: {class: ram, persistent: true}}"),
            f"{STORAGE}.attributes.persistent: storage of class ram cannot be persistent",
        ),
        (
            with_storage("{size: 1Gi, attributes: {persistent: True}}"),
            f'{STORAGE}.attributes.persistent: "True" is not a flag',
        ),
        (
            with_storage("{size: 1Gi, attributes: {persistent: }}"),
            f'{STORAGE}.attributes.persistent: "persistent" is empty',
        ),
        (
            with_storage("{size: 1Gi, attributes: {fast: yes}}"),
            f'{STORAGE}.attributes.fast: unknown key "fast"',
        ),
        (with_gpu("{units: 1}"), f"{RESOURCES}.gpu.attributes: no attributes"),
        (with_gpu("{units: 1, attributes: {}}"), f'{RESOURCES}.gpu.attributes.vendor: "vendor" is missing'),
        (
            with_gpu("{units: 0, attributes: {vendor: {nvidia: }}}"),
            f"{RESOURCES}.gpu.attributes: attributes of no GPU",
        ),
        (with_gpu("{units: 25, attributes: {vendor: {nvidia: }}}"), f"{RESOURCES}.gpu.units: too much"),
        (
            with_gpu("{units: 1, attributes: {vendor: {nvidia: [{model: a100}, {model: a100}]}}}"),
            f"{NVIDIA}[1]: the same GPU again",
        ),
        (
            with_gpu("{units: 1, attributes: {vendor: {nvidia: [{interface: SXM}]}}}"),
            f'{NVIDIA}[0].interface: "SXM" is unknown',
        ),
        (
            with_gpu("{units: 1, attributes: {vendor: {nvidia: [{model: rtx 4090}]}}}"),
            f'{NVIDIA}[0].model: "rtx 4090" is not a model',
        ),
        (
            changed(("denom: uact", "denom: usd")),
            'profiles.placement.here.pricing.small.denom: "usd" is not a currency',
        ),
        (
            changed(("amount: 100", "amount: 0")),
            "profiles.placement.here.pricing.small.amount: a price of zero",
        ),
        (
            changed(("amount: 100", "amount: 10000001")),
            "profiles.placement.here.pricing.small.amount: the price is too high",
        ),
        (
            changed(("      profile: small", "      profile: smal")),
            'deployment.web.here.profile: no compute profile named "smal"',
        ),
        (
            changed(("    here:\n      profile", "    there:\n      profile")),
            'deployment.web.there: no placement profile named "there"',
        ),
        (
            changed(("deployment:\n  web:", "deployment:\n  wbe:")),
            'deployment.wbe: no service profile named "wbe"',
        ),
        (
            changed(("        small:\n          denom", "        large:\n          denom")),
            'profiles.placement.here.pricing: no pricing for profile "small" at "here"',
        ),
        (with_service("env: [1A=b]"), 'services.web.env[0]: "1A" does not name a variable'),
        (with_service("env: [{A: b}]"), "services.web.env[0]: a mapping stands here"),
        (with_service("env: {A: b}"), "services.web.env: a mapping stands here"),
        (with_service("command: sleep 1"), "services.web.command: one value stands here"),
        (
            with_service(CREDENTIALS.replace("reg.io", '" "')),
            "services.web.credentials.host: the host is empty",
        ),
        (
            with_service(CREDENTIALS.replace("secret99", "five5")),
            "services.web.credentials.password: the password is too short",
        ),
        (
            with_service(CREDENTIALS + "\n  email: a@b"),
            "services.web.credentials.email: the email is too short",
        ),
        (with_service("params:\n  tee: sgx"), 'services.web.params.tee: "sgx" is unknown'),
        (with_service("params:\n  tee: cpu-gpu"), 'services.web.params.tee: tee "cpu-gpu" without a GPU'),
        (
            with_service("params:\n  permissions:\n    read: [secrets]"),
            'services.web.params.permissions.read[0]: "secrets" is unknown',
        ),
        (
            with_service("params:\n  storage:\n    data: {mount: /d}"),
            'services.web.params.storage.data: the compute profile has no volume "data"',
        ),
        (
            with_service("params:\n  storage:\n    default: {mount: d}"),
            'services.web.params.storage.default.mount: "d" is not an absolute path',
        ),
        (LEASED.replace("kind: ip", "kind: dns"), 'endpoints.front.kind: unknown kind "dns"'),
        (
            LEASED.replace("  front:\n", "  Front:\n").replace("ip: front", "ip: Front"),
            'endpoints.Front: "Front" cannot name an endpoint',
        ),
        (
            BASE + "endpoints:\n  front:\n    kind: ip\n",
            'endpoints.front: endpoint "front" is declared and never used',
        ),
        (
            LEASED.replace("ip: front", "ip: back")
            .replace("  front:\n    kind", "  back:\n    kind")
            .replace("ip: back", "ip: bakc"),
            'services.web.expose[0].to[0].ip: no endpoint named "bakc"',
        ),
        (
            BASE + "reclamation:\n  min_window: 1 day\n",
            'reclamation.min_window: "1 day" is not a span of time',
        ),
        (BASE + "reclamation: {}\n", 'reclamation.min_window: "min_window" is missing'),
    ],
)
def test_broken(text: str, error: str) -> None:
    assert error in errors_of(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (BASE + "x-mine: 1\n", "x-mine"),
        (with_service("depends_on: [db]"), "services.web.depends_on"),
        (changed(("global: true", "glboal: true")), "services.web.expose[0].to[0].glboal"),
        (
            changed(("amount: 100", "amount: 100\n          price: 1")),
            "profiles.placement.here.pricing.small.price",
        ),
        (with_storage("{size: 1Gi, mount: /x}"), "profiles.compute.small.resources.storage.mount"),
        (
            with_gpu("{units: 1, attributes: {vendor: {amd: }}}"),
            "profiles.compute.small.resources.gpu.attributes.vendor.amd",
        ),
        (
            with_gpu("{units: 1, count: 2, attributes: {vendor: {nvidia: }}}"),
            "profiles.compute.small.resources.gpu.count",
        ),
    ],
)
def test_unknown_keys(text: str, path: str) -> None:
    assert any(f"{path}: unknown key" in error for error in errors_of(text))


def test_did_you_mean() -> None:
    hints = {
        each.path.rpartition(".")[2]: each.hint for each in problems_of(with_service("imgae: x\ncmd: [a]"))
    }
    assert hints["imgae"] == 'did you mean "image"?'
    assert hints["cmd"] == 'did you mean "command" (the entrypoint) or "args"?'


def test_mounts() -> None:
    volumes = "[{name: a, size: 1Gi, attributes: {persistent: true}}, {name: b, size: 1Gi}]"
    text = changed(
        (
            "    image: nginx:1\n",
            "    image: nginx:1\n    params:\n      storage: {a: {mount: /d}, b: {mount: /d}}\n",
        ),
        text=with_storage(volumes),
    )
    assert errors_of(text) == ['services.web.params.storage.b.mount: "/d" is already in use by volume "a"']


def test_persistent_volumes_must_be_mounted() -> None:
    volumes = "[{name: a, size: 1Gi, attributes: {persistent: true}}, {name: b, size: 1Gi}]"
    bare = with_storage(volumes)
    (error,) = errors_of(bare)
    assert error == 'profiles.compute.small.resources.storage[0]: persistent volume "a" is not mounted'
    assert errors_of(bare, lenient=True)
    # Akash 2.1 asks for no mount at all, and 2.0 for any mount of the service
    assert errors_of(bare.replace('"2.0"', '"2.1"'))
    assert not errors_of(bare.replace('"2.0"', '"2.1"'), lenient=True)
    other = changed(
        ("    image: nginx:1\n", "    image: nginx:1\n    params:\n      storage: {b: {mount: /d}}\n"),
        text=bare,
    )
    assert [each.severity for each in problems_of(other)] == ["warning"]


def test_ram_is_never_read_only_in_2_1() -> None:
    mount = "    params:\n      storage: {shm: {mount: /dev/shm, readOnly: true}}\n"
    text = changed(
        ("    image: nginx:1\n", f"    image: nginx:1\n{mount}"),
        text=with_storage("[{size: 1Gi}, {name: shm, size: 1Gi, attributes: {class: ram}}]"),
    )
    assert not errors_of(text)
    (error,) = errors_of(text.replace('"2.0"', '"2.1"'))
    assert error == "services.web.params.storage.shm.readOnly: storage of class ram cannot be read only"


def test_leased_ips() -> None:
    local = LEASED.replace("          - global: true\n            ip", "          - ip")
    assert "services.web.expose[0].to[0].ip: a leased IP is for the world" in errors_of(local)
    entry = "          - global: true\n            ip: front\n"
    twice = changed((entry, entry + entry), text=LEASED)
    (error,) = errors_of(twice)
    assert error == 'services.web.expose[0]: port 80 of "front" is already in use by "web"'


def test_http_options() -> None:
    at = "services.web.expose[0].http_options."
    for options, error in {
        "{max_body_size: 104857601}": f"{at}max_body_size: 104857601 is too much",
        "{read_timeout: 60001}": f"{at}read_timeout: 60001 is too much",
        "{next_cases: [teapot]}": f'{at}next_cases[0]: "teapot" is unknown',
        '{next_cases: ["off", error]}': f'{at}next_cases: "off" stands beside other cases',
        "{proxy_buffer_size: 1048577}": f"{at}proxy_buffer_size: 1048577 is too much",
    }.items():
        assert error in errors_of(changed(("port: 80", f"port: 80\n        http_options: {options}")))


def test_one_currency_and_one_tee_type() -> None:
    text = changed(
        ("  placement:\n", "  placement:\n    there: {pricing: {small: {denom: uakt, amount: 1}}}\n"),
        ("    here:\n      profile", "    there: {profile: small, count: 1}\n    here:\n      profile"),
        text=BASE,
    )
    (error,) = errors_of(text)
    assert error == "profiles.placement.there.pricing.small.denom: a price in uakt beside one in uact"
    tee = TWO_SERVICES.replace(
        "    image: nginx:1\n", "    image: nginx:1\n    params: {tee: cpu}\n"
    ).replace("    image: pg:1\n", "    image: pg:1\n    params: {tee: cpu-gpu}\n")
    assert 'services.web.params.tee: group "here" has "cpu-gpu" and "cpu"' in errors_of(tee)


def test_totals_of_a_group() -> None:
    gpu = with_gpu("{units: 24, attributes: {vendor: {nvidia: }}}")
    assert not errors_of(gpu.replace("count: 1", "count: 50"))
    found = errors_of(gpu.replace("count: 1", "count: 51"), lenient=True)
    assert found == ['deployment.web.here: group "here" asks for too much gpu in all']


def test_all_problems_at_once_and_in_order() -> None:
    text = changed(
        ("image: nginx:1", 'image: ""'),
        ("port: 80", "port: 0"),
        ("size: 512Mi", "size: 1gi"),
        ("amount: 100", "amount: -1"),
    )
    found = problems_of(text)
    assert [each.line for each in found] == [4, 6, 16, 24]


def test_what_nobody_deploys_is_read_and_no_more_when_lenient() -> None:
    idle = "  idle:\n    image: x\n    expose:\n      - port: 0\nprofiles:\n"
    text = changed(("profiles:\n", idle))
    assert errors_of(text) == ["services.idle.expose[0].port: 0 is not a port"]
    assert not errors_of(text, lenient=True)
    assert sdl.read(BASE).manifest == sdl.read(text, lenient=True).manifest
    wrong_type = text.replace("port: 0", "port: zero")
    assert errors_of(wrong_type, lenient=True)


def test_warnings() -> None:
    text = with_service("dependencies: [{service: dbx}]") + "include: [other.yaml]\n"
    found = problems_of(text)
    assert [each.path for each in found] == ["services.web.dependencies[0].service", "include"]
    assert all(each.severity == "warning" for each in found)
    hint = problems_of(with_service("env: [A=1, ~]"))
    assert [each.path for each in hint] == ["services.web.env[1]"]


def test_secrets_are_not_shown() -> None:
    text = with_service(CREDENTIALS.replace("secret99", "hush!") + "\nenv: ['1X=hush!']")
    with pytest.raises(sdl.SdlInvalid) as caught:
        sdl.read(text)
    assert len(caught.value.problems) == 2
    assert "hush" not in sdl.show(caught.value, "x") + str(caught.value)
    assert "hush" not in repr([each.as_json() for each in caught.value.problems])


def test_the_caret() -> None:
    with pytest.raises(sdl.SdlInvalid) as caught:
        sdl.read(changed(("port: 80", "port: 0")))
    assert sdl.show(caught.value, "web.yaml") == (
        "web.yaml:6:15: error: services.web.expose[0].port: 0 is not a port; allowed: 1 to 65535\n"
        "    6 |       - port: 0\n"
        "      |               ^"
    )
