#!/bin/sh
# Makes the virtual environment given as $1, with this project in it, ready for work on it.
# Installs Debian's python3-venv where the interpreter has no venv of its own, after saying so.
set -eu
cd "$(dirname "$0")/.."
venv=$1
python=${PYTHON:-python3}

fail() { # what, remedy
  printf 'setup: %s\n  Try: %s\n' "$1" "$2" >&2
  exit 1
}

command -v "$python" >/dev/null || fail "there is no $python" "apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$python is older than 3.11" "make PYTHON=python3.11 setup"

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    fail "$python cannot make virtual environments" "apt-get install python3-venv, as root"
  printf 'setup: installing python3-venv\n'
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi

printf 'setup: making %s (a minute or two the first time)\n' "$venv"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check -e '.[dev]' || fail "the packages could not be installed" "look at what pip says above; a proxy or a mirror may be missing"
touch "$venv/.ready"
