#!/bin/sh
# Fetches Debian 13's Docker engine (26.1, with CDI) and unpacks it under build/tools/docker-26, beside
# whatever engine the machine runs and without installing anything. For tests only: it knows no more
# security support than Debian gives it, and it is started by them in a network namespace of its own.
#
# What it needs beside itself (runc, docker-init, libraries) it takes from the machine, whose C library may
# be older. Debian 13's package lists are read into a directory of their own; the machine's apt is not changed.
set -eu

cd "$(dirname "$0")/.."
TOOLS=$PWD/build/tools
NAME=docker-26
SUITE=trixie
PACKAGES='docker.io containerd'

say() { printf 'unpack-engine: %s\n' "$*"; }

fail() { # what, remedy
  printf 'unpack-engine: %s\n  Try: %s\n' "$1" "$2" >&2
  exit 1
}

[ -e "$TOOLS/$NAME/.unpacked" ] && { say "it is there: $TOOLS/$NAME"; exit 0; }
command -v apt-get >/dev/null || fail "this is not Debian" "run the tests without it: they are skipped then"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || fail "no $keyring" "apt-get install debian-archive-keyring"
# The mirror that this machine uses for its own suite serves the other one too.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep '/debian$' | head -n 1)
[ -n "$mirror" ] || fail "apt has no Debian mirror" "add one to /etc/apt/sources.list"

work=$TOOLS/.$NAME.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs" "$work/root"
printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$SUITE" >"$work/sources.list"
: >"$work/status"

apt_here() {
  apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::State::status="$work/status" \
    -o Acquire::Languages=none "$@"
}

say "reading the package lists of $SUITE and fetching its engine (not installing)"
apt_here update >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; fail "apt could not read $SUITE" "try again later"; }
# shellcheck disable=SC2086
(cd "$work/debs" && apt_here download $PACKAGES) >"$work/log" 2>&1 || {
  tail -n 5 "$work/log" >&2
  fail "apt could not fetch the engine" "try again later"
}
for deb in "$work"/debs/*.deb; do
  dpkg-deb -x "$deb" "$work/root"
  basename "$deb" >>"$work/root/.unpacked"
done
rm -rf "${TOOLS:?}/$NAME"
mv "$work/root" "$TOOLS/$NAME"
say "unpacked $TOOLS/$NAME"
