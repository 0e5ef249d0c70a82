#!/bin/sh
# Makes sure that a Docker engine answers on this machine, and that the provider has what it needs beside it.
#
# Owns: finding the engine, installing Debian's or Ubuntu's own package of it, starting it; nft, tc, mkfs.ext4 and mount.
# Does not own: an engine that is already there. If one answers, this says so and leaves it as it is.
# Running it again is safe at any point.
set -eu

SOCKET=/var/run/docker.sock
LOG=/var/log/dockerd.log
PIDFILE=/var/run/docker.pid
CONFIG=/etc/docker/daemon.json
WAIT_S=60

say() { printf 'setup-engine: %s\n' "$*"; }

fail() { # what, remedy
  printf 'setup-engine: %s\n  Try: %s\n' "$1" "$2" >&2
  exit 1
}

# 0 when an engine answers on the socket, 2 when it is there but closed to us, 1 otherwise.
engine_answers() {
  python3 - "$SOCKET" <<'PY'
import socket, sys
try:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(sys.argv[1])
        sock.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        answer = sock.recv(64)
except PermissionError:
    sys.exit(2)
except OSError:
    sys.exit(1)
sys.exit(0 if b" 200 " in answer else 1)
PY
}

engine_version() {
  python3 - "$SOCKET" <<'PY'
import json, socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(10)
    sock.connect(sys.argv[1])
    sock.sendall(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")
    answer = b"".join(iter(lambda: sock.recv(65536), b""))
print(json.loads(answer.split(b"\r\n\r\n", 1)[1])["Version"])
PY
}

# Writes the settings of an engine that we are about to install; never touches a file that exists.
configure() { # major version
  [ -e "$CONFIG" ] && return
  mkdir -p "$(dirname "$CONFIG")"
  if [ "$1" -ge 25 ]; then
    say "writing $CONFIG: containers outlive an engine restart; GPUs by CDI are on"
    printf '{\n  "live-restore": true,\n  "features": {"cdi": true}\n}\n' >"$CONFIG"
  else
    say "writing $CONFIG: containers outlive an engine restart"
    printf '{\n  "live-restore": true\n}\n' >"$CONFIG"
  fi
}

install_engine() {
  command -v apt-get >/dev/null || fail "no Docker engine, and this is not Debian or Ubuntu" \
    "install Docker Engine by https://docs.docker.com/engine/install/ and run this again"
  say "no Docker engine here: installing docker.io and what it needs with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update >/dev/null || say "apt-get update failed; going on with the lists that are there"
  candidate=$(apt-cache policy docker.io | sed -n 's/^ *Candidate: *//p')
  case "$candidate" in
    '' | '(none)') fail "apt knows no package docker.io" "enable Debian's main (Ubuntu's universe) component" ;;
  esac
  major=$(printf '%s' "$candidate" | sed 's/^[0-9]*://; s/[^0-9].*//')
  configure "$major"
  wanted='docker.io iptables ca-certificates'
  # Newer releases have the client in a package of its own.
  apt-cache show docker-cli >/dev/null 2>&1 && wanted="$wanted docker-cli"
  # With AppArmor in the kernel the engine starts no container before it has loaded its profile.
  grep -qs Y /sys/module/apparmor/parameters/enabled && wanted="$wanted apparmor"
  # No shell or service manager may be needed to answer questions; conffiles that exist are kept.
  told=$(mktemp)
  # shellcheck disable=SC2086
  apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confold install $wanted >"$told" 2>&1 || {
    tail -n 20 "$told" >&2
    rm -f "$told"
    fail "apt-get could not install docker.io" "mend what apt says above and run this again"
  }
  rm -f "$told"
  say "installed docker.io $candidate"
}

# nft keeps leases from this host and its network, tc limits their rates, the rest makes volumes: needed beside
# any engine.
install_tools() {
  missing=""
  command -v nft >/dev/null || missing="nftables"
  command -v tc >/dev/null || missing="$missing iproute2"
  # Volumes of an enforced size are files with a file system in them.
  command -v mkfs.ext4 >/dev/null || missing="$missing e2fsprogs"
  command -v mount >/dev/null || missing="$missing mount"
  command -v fallocate >/dev/null || missing="$missing util-linux"
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "missing: $missing. Without, the provider bids on little or nothing. Try: apt-get install $missing, as root"
    return 0
  fi
  say "installing $missing: with it the provider keeps leases to their network and their disk"
  apt-get -q update >/dev/null || say "apt-get update failed; going on with the lists that are there"
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing >/dev/null ||
    fail "apt-get could not install $missing" "mend what apt says above and run this again"
}

start_engine() {
  if [ -d /run/systemd/system ]; then
    say "starting the engine with systemctl"
    systemctl enable --now docker >/dev/null 2>&1 || {
      journalctl -u docker -n 20 --no-pager >&2 || true
      fail "systemd could not start docker" "journalctl -u docker"
    }
  else
    forget_dead "$PIDFILE"
    forget_dead /var/run/docker/containerd/containerd.pid
    say "no systemd here: starting dockerd by hand (log $LOG, pid in $PIDFILE)"
    setsid dockerd --pidfile "$PIDFILE" >>"$LOG" 2>&1 </dev/null &
  fi
}

# Where nobody buries dead processes (some containers' first process), an engine that was killed still has an
# entry in /proc, and the next one would take it for alive.
forget_dead() { # pid file
  [ -s "$1" ] || return 0
  state=$(sed 's/.*) //; s/ .*//' "/proc/$(cat "$1")/stat" 2>/dev/null || true)
  case "$state" in '' | Z | X) rm -f "$1" ;; esac
}

wait_for_engine() {
  waited=0
  until engine_answers; do
    if [ "$waited" -ge "$WAIT_S" ]; then
      [ -f "$LOG" ] && tail -n 20 "$LOG" >&2
      fail "dockerd did not answer within $WAIT_S s; the end of its log is above" \
        "if it speaks of iptables: update-alternatives --set iptables /usr/sbin/iptables-legacy, then run this again"
    fi
    sleep 1
    waited=$((waited + 1))
  done
}

command -v python3 >/dev/null || fail "python3 is missing" "apt-get install python3"
PATH=$PATH:/usr/sbin:/sbin
install_tools
answer=0
engine_answers || answer=$?
case "$answer" in
  0)
    say "Docker $(engine_version) answers on $SOCKET: nothing to do"
    exit 0
    ;;
  2) fail "a Docker engine is there, but $(id -un) may not use $SOCKET" "usermod -aG docker $(id -un), or run as root" ;;
esac
[ "$(id -u)" -eq 0 ] || fail "no Docker engine answers, and installing one needs root" "sudo $0"
command -v dockerd >/dev/null || install_engine
engine_answers || start_engine
wait_for_engine
say "Docker $(engine_version) answers on $SOCKET"
