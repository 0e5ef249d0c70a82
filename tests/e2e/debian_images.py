"""Images made of Debian's own packages, under the names that other people's files ask for.

Real servers (Redis, PostgreSQL, nginx) where Debian has them. Where it has not, a stand-in does what the
service is there for towards the others: it waits for its database with the login from its environment,
fetches the page that it is to guard, keeps a file in its volume; and serves what it found.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from provider.app import busybox_image
from tests.e2e.world import TOOLS

ENTRY = "/entry"

POSTGRES = r"""#!/bin/sh
set -e
export PGDATA="${PGDATA:-/var/lib/postgresql/data}" TZ=UTC
bin=$(echo /usr/lib/postgresql/*/bin)
as_postgres() { su -s /bin/sh postgres -c "$1"; }
mkdir -p "$PGDATA" && chown postgres "$PGDATA" && chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf %s "$POSTGRES_PASSWORD" >/tmp/password && chmod 644 /tmp/password
  as_postgres "$bin/initdb -D $PGDATA -U $POSTGRES_USER --pwfile=/tmp/password -A scram-sha-256 --locale=C -N"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE $POSTGRES_DB" >/tmp/create && chmod 644 /tmp/create
  as_postgres "$bin/postgres --single -D $PGDATA postgres </tmp/create"
fi
exec su -s /bin/sh postgres -c "exec $bin/postgres -D $PGDATA -c listen_addresses='*' \
  -c unix_socket_directories=/tmp"
"""
ASKS_POSTGRES = r"""#!/bin/sh
export PGHOST="${MB_DB_HOST:-$DB_POSTGRESDB_HOST}" PGUSER="${MB_DB_USER:-$DB_POSTGRESDB_USER}"
export PGDATABASE="${MB_DB_DBNAME:-$DB_POSTGRESDB_DATABASE}" PGCONNECT_TIMEOUT=2
export PGPASSWORD="${MB_DB_PASS:-$DB_POSTGRESDB_PASSWORD}"
mkdir -p /www
psql=$(echo /usr/lib/postgresql/*/bin/psql)
until $psql -qAtc "CREATE TABLE IF NOT EXISTS seen (at timestamptz DEFAULT now());
  INSERT INTO seen DEFAULT VALUES; SELECT 'seen ' || count(*) FROM seen" >/www/index.html; do sleep 0.3; done
exec httpd -f -p "${N8N_PORT:-3000}" -h /www
"""
NGINX = r"""#!/bin/sh
mkdir -p /run /var/log/nginx /var/lib/nginx
exec nginx -g "daemon off;"
"""
NGINX_SITE = """server { listen 80 default_server; root /usr/share/nginx/html; }
"""
GUARDS = r"""#!/bin/sh
mkdir -p /www
until wget -qO /www/index.html "$TARGET"; do sleep 0.3; done
exec httpd -f -p "${BIND#:}" -h /www
"""
KEEPS = r"""#!/bin/sh
date >>/baserow/data/starts
cd /baserow/data && exec httpd -f -p 80 -h /baserow/data
"""
ECHOES = "#!/bin/sh\nexec /bin/echoes {ports}\n"
ECHO_C = """
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
int main(int count, char **ports) {
    struct pollfd each[8];
    for (int n = 1; n < count; n++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(ports[n]))};
        each[n - 1] = (struct pollfd){.fd = socket(AF_INET, SOCK_DGRAM, 0), .events = POLLIN};
        if (bind(each[n - 1].fd, (struct sockaddr *)&at, sizeof at)) return 1;
    }
    for (;;) {
        poll(each, count - 1, -1);
        for (int n = 0; n < count - 1; n++) {
            char text[512];
            struct sockaddr_in from;
            struct sockaddr *whom = (struct sockaddr *)&from;
            socklen_t size = sizeof from;
            ssize_t got = recvfrom(each[n].fd, text, sizeof text, MSG_DONTWAIT, whom, &size);
            if (got > 0) sendto(each[n].fd, text, got, 0, whom, size);
        }
    }
}
"""
"""Sends each datagram back, on all of its ports."""
BASH = '#!/bin/sh\nexec /bin/sh "$@"\n'
SERVES_A_MODEL = r"""#!/bin/sh
# In the place of: python3 -m sglang.launch_server --model-path MODEL --tp 1 --host 0.0.0.0 --port PORT
while [ $# -gt 0 ]; do
  case "$1" in --model-path) model=$2 ;; --port) port=$2 ;; esac
  shift
done
mkdir -p /www && echo "model $model" >>/root/.cache/models
{
  cat /root/.cache/models
  echo "shm $(df -k /dev/shm | tail -n 1)"
  echo "GPUs $PROVIDER_SIMULATED_GPUS"
} >/www/index.html
exec httpd -f -p "$port" -h /www
"""
ACCOUNTS = {
    "etc/passwd": "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n",
    "etc/group": "root:x:0:\npostgres:x:999:\nwww-data:x:33:\n",
}


def root(
    *packages: str,
    entry: str,
    files: Mapping[str, str] | None = None,
    programs: Mapping[str, bytes] | None = None,
) -> bytes:
    """A root file system of unpacked ``packages`` and busybox, started by ``entry``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=False) as tar:
        for package in packages:
            for path in sorted((TOOLS / package).iterdir()):
                tar.add(path, arcname=path.name, filter=_without_what_only_people_read)
        _folder(tar, "tmp", 0o1777)
        for name, text in {**ACCOUNTS, **(files or {})}.items():
            _file(tar, name, text.encode(), 0o644)
        _file(tar, "bin/busybox", busybox_image.find_busybox(TOOLS).read_bytes(), 0o755)
        for applet in (
            "sh",
            "su",
            "chown",
            "chmod",
            "mkdir",
            "httpd",
            "wget",
            "sleep",
            "date",
            "df",
            "tail",
            "cat",
        ):
            _link(tar, f"bin/{applet}", "/bin/busybox")
        for name, content in (programs or {}).items():
            _file(tar, name, content, 0o755)
        _file(tar, ENTRY, entry.encode(), 0o755)
        _link(tar, "usr/local/bin/n8n", ENTRY)
    return buffer.getvalue()


def compiled(source: str, folder: Path) -> bytes:
    """A program that needs nothing of the image that it is in."""
    (folder / "main.c").write_text(source)
    made = folder / "main"
    subprocess.run(["gcc", "-static", "-O1", "-o", str(made), str(folder / "main.c")], check=True)
    return made.read_bytes()


def _without_what_only_people_read(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    skipped = (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/postgresql/15/man",
        ".unpacked",
    )
    return None if entry.name.startswith(skipped) else entry


def _folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


def _file(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name.removeprefix("/"))
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def unpacked(*packages: str) -> bool:
    """Whether they are there to be made into images."""
    return all((Path(TOOLS) / package).is_dir() for package in packages)
