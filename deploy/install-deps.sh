#!/usr/bin/env bash
# Installs what this machine lacks to build, test and measure Chaperone, from
# Debian's or Ubuntu's own packages. Go is a precondition, not installed here.
#
#   deploy/install-deps.sh          everything `make test` and `make bench` need
#   deploy/install-deps.sh demo     only what `make demo` needs
#
# A second run installs nothing, asks no network and says nothing. No service is
# started: tests and demo start their own PostgreSQL in their own directory.
set -euo pipefail

demo_packages=(make git ca-certificates gcc libc6-dev postgresql postgresql-client procps)
test_packages=(
  postgresql-contrib          # hstore, ltree: the drivers' own tests
  pgbouncer haproxy nginx-light
  clang llvm libbpf-dev linux-libc-dev   # `make generate`
  iproute2 curl openssl python3 python3-psycopg2 libpostgresql-jdbc-java
)

die() { printf 'install-deps: %s\n' "$*" >&2; exit 1; }

# missing prints those of its arguments that dpkg does not have installed.
missing() {
  local name
  for name in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\n' "$name"
  done
}

# install runs apt-get with every service kept from starting (policy-rc.d's 101).
install() {
  local guard=/usr/sbin/policy-rc.d ours=
  if [[ ! -e $guard ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
    ours=yes
  fi
  local status=0
  apt_quietly update && apt_quietly install --no-install-recommends "$@" || status=$?
  if [[ $ours ]]; then rm -f "$guard"; fi
  return "$status"
}

# apt_quietly keeps apt's pages to itself unless it fails.
apt_quietly() {
  local log status=0
  log=$(mktemp)
  DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null || status=$?
  if ((status)); then cat "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

mount_bpffs() {
  mountpoint -q /sys/fs/bpf && return
  mount -t bpf bpf /sys/fs/bpf 2>/dev/null || printf 'install-deps: cannot mount bpffs at /sys/fs/bpf\n' >&2
}

mount_cgroup2() {
  grep -q ' - cgroup2 ' /proc/self/mountinfo && return
  mkdir -p /sys/fs/cgroup/unified 2>/dev/null || true
  mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified 2>/dev/null || printf 'install-deps: cannot mount cgroup v2\n' >&2
}

main() {
  ((EUID == 0)) || die 'needs root (hint: sudo)'
  command -v go >/dev/null || [[ -x /usr/local/go/bin/go ]] || die 'Go is missing (hint: https://go.dev/dl, version in go.mod)'
  command -v apt-get >/dev/null || die 'only Debian and Ubuntu are known here (hint: install the packages named in this file)'
  local packages=("${demo_packages[@]}") wanted
  if [[ ${1:-all} != demo ]]; then
    packages+=("${test_packages[@]}")
    command -v node >/dev/null || packages+=(nodejs)
    command -v npm >/dev/null || packages+=(npm)
    command -v javac >/dev/null || packages+=(default-jdk-headless)
  fi
  mapfile -t wanted < <(missing "${packages[@]}")
  if ((${#wanted[@]})); then
    printf 'install-deps: %s\n' "${wanted[*]}"
    install "${wanted[@]}" || die 'apt-get failed'
  fi
  mount_bpffs
  mount_cgroup2
}

main "$@"
