#!/bin/sh
# The tests build their simulated libnvidia-ml.so.1 with a C compiler: install one where there is none.
set -eu
if command -v cc >/dev/null || command -v gcc >/dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'setup: there is no C compiler\n  Try: apt-get install gcc libc6-dev, as root\n' >&2
  exit 1
fi
printf 'setup: installing gcc, for the simulated NVML library of the tests\n'
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
