"""Whose image is it: logins, what other tenants get of what is here, and what nobody may name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from provider.adapters.runtime import DockerRuntime
from provider.adapters.runtime.images.settings import ImageSettings
from provider.domain.errors import ImageUnavailable, ProviderError
from provider.domain.manifest import Credentials, Service
from provider.domain.secret import Secret
from tests.engine_images import IMAGES
from tests.integration.runtime.conftest import Run
from tests.integration.runtime.guarded_registry import GuardedRegistry, guarded_registry
from tests.integration.runtime.stocked import HELLO, names_on, of_image, stocked
from tests.launches import launch, replica

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("no_images_left")]

PASSWORD = "s3cret-of-alice"


def with_login(service: Service, host: str, password: str = PASSWORD) -> Service:
    credentials = Credentials(host=host, username="alice", password=Secret(password))
    return replace(service, credentials=credentials)


def private(guard: GuardedRegistry) -> Service:
    guard.login = ("alice", PASSWORD)
    return of_image(f"{guard.address}/{HELLO}")


def test_a_private_image_wants_its_login_and_the_login_is_kept_nowhere(
    on_docker: Run, client: docker.APIClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "images.db"

    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                image = private(guard)
                for service in (image, with_login(image, guard.address, "wrong")):
                    with pytest.raises(ImageUnavailable):
                        await runtime.start(launch(replica(service)))
                workload = await runtime.start(launch(replica(with_login(image, guard.address))))
                told = client.inspect_container(workload.containers[0].id)
                image_told = client.inspect_image(told["Image"])  # type: ignore[no-untyped-call]
                assert PASSWORD not in json.dumps([told, image_told, client.info()])
                assert any("YWxpY2U6" in login for login in guard.logins)

    on_docker(check, images=replace(IMAGES, record=record))
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert record in kept
    kept.append(Path.home() / ".docker" / "config.json")
    assert not [path for path in kept if path.exists() and PASSWORD.encode() in path.read_bytes()]
    assert PASSWORD not in "".join(capfd.readouterr())


def test_another_tenant_does_not_get_a_private_image_because_it_is_here(
    on_docker: Run, client: docker.APIClient
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                image = private(guard)
                workload = await runtime.start(launch(replica(with_login(image, guard.address))))
                pulled = guard.layers_asked
                held = client.inspect_container(workload.containers[0].id)["Image"]

                (digest,) = (name for name in names_on(client) if f"{guard.address}/hello-gpu@" in name)
                for name in (image.image, digest):
                    with pytest.raises(ImageUnavailable, match=r"no basic auth|unauthorized"):
                        await runtime.start(launch(replica(of_image(name))))
                for name in (held, held.removeprefix("sha256:"), held.removeprefix("sha256:")[:12]):
                    with pytest.raises(ProviderError):
                        await runtime.start(launch(replica(of_image(name))))

                # Whom the registry lets in gets it without another transfer of a layer.
                other = await runtime.start(launch(replica(with_login(image, guard.address))))
                assert client.inspect_container(other.containers[0].id)["Image"] == held
                assert guard.layers_asked - pulled <= 1, "at most the image's description"

    on_docker(check)


def test_what_nobody_knows_the_origin_of_is_given_to_nobody_unasked(
    on_docker: Run, client: docker.APIClient
) -> None:
    """An operator pulled it by hand, or the record was lost."""

    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                image = private(guard)
                login = {"username": "alice", "password": PASSWORD}
                client.pull(f"{guard.address}/hello-gpu", "1", auth_config=login)
                with pytest.raises(ImageUnavailable):
                    await runtime.start(launch(replica(image)))
                await runtime.start(launch(replica(with_login(image, guard.address))))

    on_docker(check)


def test_an_image_of_this_machine_alone_is_for_tenants_only_where_the_operator_says_so(
    on_docker: Run,
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        with pytest.raises(ProviderError):
            await runtime.start(launch())

    on_docker(check, images=replace(IMAGES, local=(), mirrors={"docker.io": "127.0.0.1:9"}), pull_stall_s=5)


def test_a_name_that_the_operator_uses_stays_theirs(
    on_docker: Run, client: docker.APIClient, hello_image: str
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            image = f"{registry.address}/{HELLO}"
            client.tag(hello_image, f"{registry.address}/hello-gpu", "1")
            workload = await runtime.start(launch(replica(of_image(image))))
            theirs = client.inspect_image(hello_image)["Id"]  # type: ignore[no-untyped-call]
            assert client.inspect_container(workload.containers[0].id)["Image"] != theirs
            assert client.inspect_image(image)["Id"] == theirs  # type: ignore[no-untyped-call]

    on_docker(check)


def test_a_login_is_sent_to_no_other_registry(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                with pytest.raises(ImageUnavailable, match="no basic auth"):
                    await runtime.start(launch(replica(with_login(private(guard), "ghcr.io"))))
                assert guard.asked
                assert guard.logins == []

    on_docker(check)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ImageSettings(), "is not a public address"),
        (replace(IMAGES, deny=("127.0.0.1:*",)), "denied images"),
        (replace(IMAGES, allow=("docker.io",)), "allowed images"),
    ],
)
def test_what_the_operator_does_not_allow_is_not_even_asked_for(
    on_docker: Run, settings: ImageSettings, message: str
) -> None:
    async def check(runtime: DockerRuntime) -> None:
        async with stocked() as registry:
            with guarded_registry(registry.address) as guard:
                with pytest.raises(ImageUnavailable, match=message):
                    await runtime.start(launch(replica(of_image(f"{guard.address}/{HELLO}"))))
                assert guard.asked == []

    on_docker(check, images=settings)
