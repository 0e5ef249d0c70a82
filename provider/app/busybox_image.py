"""The image ``hello-gpu:1``, made on the spot from a static busybox of the machine.

What the demo deploys and the tests run where no registry can be reached: a web server on port 8080 that
says which lease it belongs to and which GPUs it was given. Reproducible: the same busybox gives the same
bytes, so a second push uploads nothing new.
"""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import docker
import docker.errors

from provider.domain.errors import ConfigError

NAME = "hello-gpu"
TAG = "1"
PORT = 8080
ENTRYPOINT = ("/bin/hello",)
PATH_ENV = "PATH=/bin"
APPLETS = (
    *("ash", "awk", "base64", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "du", "echo", "env"),
    *(
        "false",
        "find",
        "free",
        "grep",
        "head",
        "hostname",
        "httpd",
        "id",
        "ifconfig",
        "ip",
        "kill",
        "ln",
        "ls",
    ),
    *("mkdir", "mknod", "mount", "mv", "nc", "nproc", "nslookup", "od", "ping", "printenv", "printf", "ps"),
    *("pwd", "readlink", "rm", "route", "sed", "seq", "sh", "sha256sum", "sleep", "sort", "stat", "stty"),
    *("tail", "tar", "test", "timeout", "top", "touch", "tr", "true", "uname", "usleep", "vi", "wc", "wget"),
    *("which", "whoami", "xargs", "yes"),
)

HELLO = f"""#!/bin/sh
# Serves one page on port {PORT} and says once a second that it is there. Ends at once when asked to.
trap 'kill $web 2>/dev/null; echo "hello: asked to end"; exit 0' TERM INT

gpus=${{PROVIDER_SIMULATED_GPUS:+$PROVIDER_SIMULATED_GPUS (SIMULATED)}}
gpus=${{gpus:-$PROVIDER_GPUS}}
case "$NVIDIA_VISIBLE_DEVICES" in
  '' | void | none) ;;
  *) gpus=${{gpus:-$NVIDIA_VISIBLE_DEVICES}} ;;
esac

mkdir -p /tmp/www
cat >/tmp/www/index.html <<PAGE
hello from a GPU lease
lease:    $PROVIDER_LEASE
service:  $PROVIDER_SERVICE
replica:  $PROVIDER_REPLICA
GPUs:     ${{gpus:-none}}
PAGE
echo ok >/tmp/www/healthz
httpd -f -p {PORT} -h /tmp/www &
web=$!
echo "hello: serving on port {PORT}, lease $PROVIDER_LEASE, GPUs ${{gpus:-none}}"

beat=0
while kill -0 $web 2>/dev/null; do
  sleep 1 &
  wait $!
  beat=$((beat + 1))
  echo "hello: heartbeat $beat"
done
echo "hello: the web server ended" >&2
exit 1
"""


def find_busybox(tools: Path) -> Path:
    """A busybox that needs no libraries: the unpacked one in ``tools``, or the machine's."""
    for place in (
        tools / "busybox-static/bin/busybox",
        tools / "busybox-static/usr/bin/busybox",
        Path("/bin/busybox"),
    ):
        if place.is_file() and is_static(place):
            return place
    raise ConfigError(
        "no static busybox to make the image hello-gpu from", remedy="scripts/unpack-tools.sh busybox-static"
    )


def is_static(program: Path) -> bool:
    """Whether an ELF file names no dynamic loader (elf(5), a program header of type PT_INTERP)."""
    data = program.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return False
    table = int.from_bytes(data[32:40], "little")
    size, count = int.from_bytes(data[54:56], "little"), int.from_bytes(data[56:58], "little")
    kinds = {int.from_bytes(data[table + n * size : table + n * size + 4], "little") for n in range(count)}
    return 3 not in kinds


def architecture() -> str:
    """Of this machine, as images name it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def root_tar(busybox: Path) -> bytes:
    """The image's file system as a tar: busybox, a link for each applet, the server's script."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for entry, data in _entries(busybox.read_bytes()):
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def import_into(client: docker.APIClient, busybox: Path, image: str) -> None:
    """Make the image on an engine, without any registry, under the name ``image``."""
    repository, _, tag = image.rpartition(":")
    changes = [f"ENTRYPOINT {json.dumps(ENTRYPOINT)}", f"ENV {PATH_ENV}", f"EXPOSE {PORT}"]
    client.import_image_from_data(root_tar(busybox), repository=repository, tag=tag, changes=changes)


def remove_from(client: docker.APIClient, image: str) -> None:
    """Take an image off an engine again. Fine when it is not there."""
    with suppress(docker.errors.ImageNotFound):
        client.remove_image(image, force=True)


def _entries(busybox: bytes) -> Iterable[tuple[tarfile.TarInfo, bytes]]:
    for name, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
        yield _entry(name, mode, tarfile.DIRTYPE), b""
    yield _entry("bin/busybox", 0o755), busybox
    for applet in APPLETS:
        link = _entry(f"bin/{applet}", 0o777, tarfile.SYMTYPE)
        link.linkname = "busybox"
        yield link, b""
    yield _entry("bin/hello", 0o755), HELLO.encode()
    yield (
        _entry("etc/passwd", 0o644),
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )
    yield _entry("etc/group", 0o644), b"root:x:0:\nnogroup:x:65534:\n"


def _entry(name: str, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    entry.type = kind
    return entry
