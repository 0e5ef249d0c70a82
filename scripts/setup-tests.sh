#!/bin/sh
# Programs of the system that only the tests need: a C compiler (they build a simulated libnvidia-ml.so.1) and
# ip (they keep a second engine in a network namespace). Installs what is missing, after saying so.
set -eu

missing=""
command -v cc >/dev/null || command -v gcc >/dev/null || missing="gcc libc6-dev"
command -v ip >/dev/null || missing="$missing iproute2"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'setup-tests: the tests need %s\n  Try: apt-get install %s, as root\n' "$missing" "$missing" >&2
  exit 1
fi
printf 'setup-tests: installing %s, for the tests\n' "$missing"
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
