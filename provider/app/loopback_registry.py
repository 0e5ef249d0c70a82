"""An image registry on loopback for as long as something needs one, with ``hello-gpu:1`` in it.

Runs Debian's ``docker-registry``, unpacked and not installed, over a directory of its own; pushes over the
registry's HTTP API, so that no engine holds the image before it has really pulled it. Engines take
registries on 127.0.0.0/8 without TLS.

Invariant: leaving it ends the process and removes the directory, whatever happened inside.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import json
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from provider.adapters import processes
from provider.app import busybox_image
from provider.app.demo.stage import free_port
from provider.domain.errors import ConfigError, Temporary

START_S = 20
END_S = 5
POLL_S = 0.05

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

SETTINGS = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image runs by itself."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    architecture: str = ""
    """This machine's by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A running registry."""

    address: str
    """``127.0.0.1:5055``: the first part of the names of its images."""

    async def push_hello(self, tools: Path, repository: str = busybox_image.NAME) -> str:
        """Push ``hello-gpu:1`` made of the busybox in ``tools``; the name to pull it by."""
        root = await asyncio.to_thread(lambda: busybox_image.root_tar(busybox_image.find_busybox(tools)))
        config = ImageConfig(
            entrypoint=busybox_image.ENTRYPOINT,
            env=(busybox_image.PATH_ENV,),
            ports=(busybox_image.PORT,),
        )
        return await self.push(root, f"{repository}:{busybox_image.TAG}", config)

    async def push(self, root: bytes, name: str, config: ImageConfig) -> str:
        """Push an image of one layer, the tar ``root``, as ``name`` (``repository:tag``); its full name."""
        try:
            await asyncio.to_thread(_push, self.address, root, name, config)
        except (OSError, http.client.HTTPException) as error:
            raise Temporary(f"cannot push {name} to {self.address}: {error}") from error
        return f"{self.address}/{name}"


@asynccontextmanager
async def loopback_registry(tools: Path, port: int = 0) -> AsyncIterator[Registry]:
    """A registry on 127.0.0.1, on a free port unless one is given.

    ``ConfigError`` when the program is not there, ``Temporary`` when it does not come up.
    """
    program = find_registry(tools)
    root = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="gp-registry-"))
    try:
        address = f"127.0.0.1:{port or free_port()}"
        settings = root / "config.yml"
        settings.write_text(SETTINGS.format(root=root / "data", address=address))
        process = await asyncio.create_subprocess_exec(
            str(program), "serve", str(settings), stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            await _until_it_answers(process, address)
            yield Registry(address=address)
        finally:
            await processes.end(process, END_S)
    finally:
        await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)


def find_registry(tools: Path) -> Path:
    """The unpacked program in ``tools``, or the machine's."""
    unpacked = tools / "docker-registry/usr/bin/docker-registry"
    installed = shutil.which("docker-registry")
    if unpacked.is_file():
        return unpacked
    if installed:
        return Path(installed)
    raise ConfigError(
        "no docker-registry to serve images from", remedy="scripts/unpack-tools.sh docker-registry"
    )


async def _until_it_answers(process: Process, address: str) -> None:
    try:
        async with asyncio.timeout(START_S):
            while True:
                if process.returncode is not None:
                    raise Temporary(
                        f"docker-registry ended at once with status {process.returncode}",
                        remedy=f"see whether {address} is in use",
                    )
                if await asyncio.to_thread(_answers, address):
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise Temporary(f"docker-registry does not answer on {address}") from error


def _answers(address: str) -> bool:
    try:
        return _ask(address, "GET", "/v2/", b"", {})[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _push(address: str, root: bytes, name: str, config: ImageConfig) -> None:
    """By the OCI distribution API: each blob, then the manifest that names them."""
    repository, _, tag = name.rpartition(":")
    layer = gzip.compress(root, compresslevel=1, mtime=0)
    about = json.dumps(_config(config, _digest(root))).encode()
    for blob in (layer, about):
        _push_blob(address, repository, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(about), "digest": _digest(about)},
        "layers": [{"mediaType": LAYER, "size": len(layer), "digest": _digest(layer)}],
    }
    body = json.dumps(manifest).encode()
    status, _ = _ask(address, "PUT", f"/v2/{repository}/manifests/{tag}", body, {"Content-Type": MANIFEST})
    if status != 201:
        raise http.client.HTTPException(f"the manifest was refused with status {status}")


def _push_blob(address: str, repository: str, blob: bytes) -> None:
    status, headers = _ask(address, "POST", f"/v2/{repository}/blobs/uploads/", b"", {})
    if status != 202:
        raise http.client.HTTPException(f"an upload was refused with status {status}")
    place = headers["location"].removeprefix(f"http://{address}")
    target = f"{place}{'&' if '?' in place else '?'}digest={_digest(blob)}"
    status, _ = _ask(address, "PUT", target, blob, {"Content-Type": "application/octet-stream"})
    if status != 201:
        raise http.client.HTTPException(f"a blob was refused with status {status}")


def _config(config: ImageConfig, diff_id: str) -> dict[str, object]:
    return {
        "architecture": config.architecture or busybox_image.architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": list(config.entrypoint) or None,
            "Cmd": list(config.command) or None,
            "Env": list(config.env),
            "Volumes": {path: {} for path in config.volumes} or None,
            "ExposedPorts": {f"{port}/tcp": {} for port in config.ports},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "provider"}],
    }


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _ask(
    address: str, method: str, target: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, target, body=body, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}
    finally:
        connection.close()
