#!/bin/sh
# Fetches Debian packages and unpacks them under build/tools/<name>, without installing anything:
# no service starts, nothing of the system changes. Tests and the demo run the programs from there.
#
#   scripts/unpack-tools.sh NAME...       e.g. docker-registry prometheus busybox-static redis-server caddy
#
# redis-server, postgresql, nginx and xfsprogs come with their libraries and their dynamic loader, enough for images of
# their own.
# A name that is unpacked already is left alone, so that no network is needed twice.
set -eu

cd "$(dirname "$0")/.."
TOOLS=$PWD/build/tools

say() { printf 'unpack-tools: %s\n' "$*"; }

fail() { # what, remedy
  printf 'unpack-tools: %s\n  Try: %s\n' "$1" "$2" >&2
  exit 1
}

# The packages that one name needs, one a line.
packages_of() {
  case "$1" in
    redis-server)
      printf 'redis-server\nredis-tools\n'
      libraries_of redis-tools
      ;;
    postgresql) # whatever major version this distribution has; without the compiler that its JIT wants
      server=$(apt-cache depends postgresql | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p' | head -n 1)
      printf '%s\n%s\ntzdata\nzlib1g\n' "$server" "postgresql-client-${server#postgresql-}"
      { libraries_of "$server"; libraries_of "postgresql-client-${server#postgresql-}"; } | grep -v '^libllvm'
      ;;
    nginx)
      printf 'nginx\nnginx-common\nzlib1g\n'
      libraries_of nginx
      ;;
    qemu-system-x86)
      printf 'qemu-system-x86\nqemu-system-common\nqemu-system-data\nseabios\nzlib1g\n'
      libraries_of qemu-system-x86 | grep -v '^libc6$' # this system's: its loader is used
      ;;
    linux-image-cloud-amd64) # the package of that name is empty, and needs the newest
      apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p'
      ;;
    xfsprogs)
      printf 'xfsprogs\n'
      libraries_of xfsprogs
      ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# Every library that a package needs, directly or not.
libraries_of() {
  direct=$(apt-cache depends "$1" | sed -n 's/^[ |]*Depends: \(lib[^<]*\)$/\1/p')
  # shellcheck disable=SC2086
  apt-cache depends --recurse --no-pre-depends --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances $direct | sed -n 's/^\(lib[^ <]*\)$/\1/p' | sort -u | only_real
}

# Drops virtual packages, and the other implementations of what systemd's own library does. One question for
# all of them: each takes apt a second.
only_real() {
  names=$(grep -v '^libelogind' || true)
  # shellcheck disable=SC2086
  apt-cache show --no-all-versions $names 2>/dev/null | sed -n 's/^Package: //p' | sort -u
}

unpack() {
  [ -e "$TOOLS/$1/.unpacked" ] && { say "$1 is there: $TOOLS/$1"; return; }
  work=$TOOLS/.$1.$$
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' INT TERM
  mkdir -p "$work/debs" "$work/root"
  wanted=$(packages_of "$1" | sort -u)
  # shellcheck disable=SC2086
  say "fetching $(printf '%s ' $wanted)(not installing)"
  # As root, apt drops to a user who may not write here; told to stay root it need not.
  # shellcheck disable=SC2086
  (cd "$work/debs" && apt-get -q -o APT::Sandbox::User=root download $wanted) >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    fail "apt could not fetch $1" "apt-get update, then run this again"
  }
  for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/root"
    basename "$deb" >>"$work/root/.unpacked"
  done
  rm -rf "${TOOLS:?}/$1"
  mv "$work/root" "$TOOLS/$1"
  rm -rf "$work"
  say "unpacked $TOOLS/$1"
}

[ $# -gt 0 ] || fail "which tools?" "$0 docker-registry prometheus busybox-static redis-server"
command -v apt-get >/dev/null || fail "this is not Debian or Ubuntu" "install $* by hand"
for name in "$@"; do
  case "$name" in
    *[!a-z0-9.+-]*) fail "'$name' is not a package name" "$0 docker-registry" ;;
  esac
  unpack "$name"
done
