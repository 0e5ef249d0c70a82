"""Which images tenants may name: names taken apart, lists, and registries that only the host can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from provider.adapters.runtime.images import policy
from provider.adapters.runtime.images.reference import Reference, login_for
from provider.adapters.runtime.images.settings import ImageSettings
from provider.adapters.runtime.images.stock import Wanted
from provider.domain.errors import ConfigError, ImageUnavailable, ProviderError
from provider.domain.idle import idle_id
from provider.domain.ids import GpuUuid, ProviderId
from provider.domain.manifest import Credentials
from provider.domain.secret import Secret
from tests.launches import lease_id

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("127.0.0.1:5000/a/b/c:d", "127.0.0.1:5000/a/b/c:d"),
        ("ollama/ollama:0.5", "docker.io/ollama/ollama:0.5"),
        ("index.docker.io/redis", "docker.io/library/redis:latest"),
        ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"),
        (f"redis:7@{DIGEST}", f"docker.io/library/redis@{DIGEST}"),
        # Names that an engine would rather take for ids:
        ("955d2f4b3289", "docker.io/library/955d2f4b3289:latest"),
        ("sha256:" + "b2" * 32, "docker.io/library/sha256:" + "b2" * 32),
    ],
)
def test_a_name_in_full(image: str, full: str) -> None:
    assert Reference.parse(image).full == full


NO_NAMES = (
    "",
    "Redis",
    "/redis",
    "redis/",
    "re dis",
    "a//b",
    "redis:",
    "redis@sha256:1",
    "-x",
    "a?b",
    "a%2fb",
)
NO_PATHS = ("a/../b", "ghcr.io/../../containers/json", "ghcr.io/a/./b", "..", "a@b", "a\nb", "x" * 600)


@pytest.mark.parametrize("image", [*NO_NAMES, *NO_PATHS])
def test_what_names_no_image(image: str) -> None:
    with pytest.raises(ImageUnavailable, match="does not name an image"):
        Reference.parse(image)


def test_the_idle_jobs_image_is_the_operators_own_wish() -> None:
    idle = idle_id(ProviderId("p1"), GpuUuid("GPU-1"))
    assert [Wanted(image="x", lease=each).is_operators for each in (None, idle, lease_id())] == [
        True,
        True,
        False,
    ]


def test_only_latest_floats() -> None:
    floating = {each: Reference.parse(each).is_floating for each in ("x", "x:latest", "x:1", f"x@{DIGEST}")}
    assert list(floating.values()) == [True, True, False, False]


@pytest.mark.parametrize(
    ("host", "image", "goes"),
    [
        ("ghcr.io", "ghcr.io/a/b", True),
        ("https://ghcr.io/", "ghcr.io/a/b", True),
        ("https://index.docker.io/v1/", "a/b", True),
        ("docker.io", "redis", True),
        ("", "redis", True),
        ("ghcr.io", "evil.example/a", False),
        ("docker.io", "ghcr.io/a/b", False),
    ],
)
def test_a_login_goes_to_its_own_registry_alone(host: str, image: str, goes: bool) -> None:
    login = Credentials(host=host, username="u", password=Secret("p"))
    assert login_for(Reference.parse(image), login) == (login if goes else None)


@pytest.mark.parametrize(
    ("lists", "image", "allowed"),
    [
        ({}, "ghcr.io/a/b", True),
        ({"deny": ("ghcr.io",)}, "ghcr.io/a/b", False),
        ({"deny": ("*/xmrig*",)}, "ghcr.io/a/xmrig-proxy:1", False),
        ({"deny": ("library/*",)}, "redis", False),
        ({"deny": ("library/*",)}, "ghcr.io/library/redis", True),
        ({"allow": ("docker.io",)}, "redis", True),
        ({"allow": ("docker.io",)}, "docker.io.evil.example/redis", False),
        ({"allow": ("*.example",)}, "hub.example/a", True),
        ({"allow": ("docker.io/library/*", "ghcr.io")}, "ollama/ollama", False),
        ({"allow": ("docker.io",), "deny": ("docker.io/bad/*",)}, "bad/x", False),
    ],
)
def test_lists(lists: Mapping[str, tuple[str, ...]], image: str, allowed: bool) -> None:
    settings = ImageSettings(**lists)  # type: ignore[arg-type]
    if allowed:
        policy.check_lists(settings, Reference.parse(image))
        return
    with pytest.raises(ImageUnavailable, match=r"list of (denied|allowed) images"):
        policy.check_lists(settings, Reference.parse(image))


PUBLIC = ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808")
OURS_ALONE = (
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "127.0.0.1",
    "169.254.169.254",
    "100.64.1.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "::1",
    "::",
    "fe80::1%eth0",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "ff02::1",
    "no address",
)


def test_which_addresses_are_the_worlds() -> None:
    assert [each for each in PUBLIC if not policy.is_public(each)] == []
    assert [each for each in OURS_ALONE if policy.is_public(each)] == []


def asked(image: str, *addresses: str, by_proxy: bool = False, named: tuple[str, ...] = ()) -> str:
    """What comes of it: the error's kind, or nothing."""

    async def resolve(host: str) -> tuple[str, ...]:
        if not addresses:
            raise OSError("Name or service not known")
        return addresses

    settings = ImageSettings(private_registries=named)
    question = policy.check_address(settings, Reference.parse(image), resolve=resolve, by_proxy=by_proxy)
    try:
        asyncio.run(question)
    except ProviderError as refused:
        return type(refused).__name__
    return ""


def test_a_registry_that_only_the_host_can_reach_is_refused_unless_it_is_named() -> None:
    assert asked("hub.example/a", "8.8.8.8") == ""
    assert asked("hub.example/a", "8.8.8.8", "10.0.0.1") == "ImageUnavailable"
    assert asked("10.0.0.1:5000/a", "10.0.0.1") == "ImageUnavailable"
    assert asked("10.0.0.1:5000/a", "10.0.0.1", named=("10.0.0.1:5000",)) == ""
    assert asked("10.0.0.1:5001/a", "10.0.0.1", named=("10.0.0.1:5000",)) == "ImageUnavailable"
    assert asked("localhost/a", "::1") == "ImageUnavailable"
    assert asked("redis", "10.0.0.1") == ""


def test_a_name_that_is_not_known_is_a_matter_of_time_or_of_the_proxy() -> None:
    assert asked("hub.example/a") == "Temporary"
    assert asked("hub.example/a", by_proxy=True) == ""
    assert asked("127.1:5000/a", by_proxy=True) == "Temporary"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "localhost"])
def test_other_ways_to_write_loopback(host: str) -> None:
    assert not any(policy.is_public(each) for each in asyncio.run(policy.resolve_here(host)))


@pytest.mark.parametrize(
    "wrong", [{"collect_above_percent": 70}, {"collect_below_percent": 0}, {"prepull": ("Not an image",)}]
)
def test_settings_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="images"):
        ImageSettings(**wrong)  # type: ignore[arg-type]
