#!/usr/bin/env bash
# Installs what the project needs and the machine lacks; what is there already is left alone.
#   deploy/local/install.sh python     the Python environment: enough for `make check`
#   deploy/local/install.sh servers    that, and PostgreSQL, Redis, HAProxy, libfaketime (for tests), Java, Maven, Kafka and QuestDB
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '%s\n' "install: $*" >&2; }
die() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# The distribution's own first: it is built with profiles, which one that a version manager has built on the machine
# often is not, and then takes a third more CPU.
python() {
  local name
  for name in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if has "$name" && "$name" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

java_release() { java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p'; }
has_java() { has java && [ "$(java_release)" -ge 17 ]; }
has_haproxy() { has haproxy || [ -x /usr/sbin/haproxy ]; }
has_faketime() { compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; }
has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

missing_packages() {
  python >/dev/null || echo python3 python3-venv
  [ "$1" = servers ] || return 0
  has_postgres || echo postgresql
  has redis-server || echo redis-server
  has_haproxy || echo haproxy
  has_faketime || echo libfaketime
  has_java || echo openjdk-17-jre-headless
  has mvn || echo maven
}

# The distribution starts a server as soon as it is installed. Ours run under their own supervisor, on their own ports and
# data, so for the time of the installation nothing may start, and PostgreSQL makes no cluster.
install_packages() {
  local as_root=()
  has apt-get || die "please install: $* (no apt-get here: only Debian and Ubuntu are automated)"
  if [ "$(id -u)" != 0 ]; then
    has sudo || die "please install: $* (neither root nor sudo here)"
    as_root=(sudo)
  fi
  say "installing $*"
  quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive bash -euo pipefail -s -- "$@" <<'ROOT'
policy=/usr/sbin/policy-rc.d
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/no-main-cluster.conf
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod 755 "$policy"
fi
apt-get update </dev/null
packages=("$@")
if ! apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
  packages=("${packages[@]/openjdk-17/openjdk-21}")
fi
apt-get install --yes --no-install-recommends "${packages[@]}" </dev/null
if [ -d /run/systemd/system ]; then
  for unit in postgresql redis-server haproxy; do
    [[ " $* " != *" $unit "* ]] || systemctl disable "$unit" || true
  done
fi
ROOT
}

# Shows what a command printed only if it failed.
quietly() {
  local printed
  printed=$(mktemp)
  "$@" >"$printed" 2>&1 || { cat "$printed" >&2; rm -f "$printed"; die "failed: $1"; }
  rm -f "$printed"
}

# Runs the command only if the file that it depends on changed since it last succeeded.
when_changed() {
  local file=$1 stamp=$2 hash
  shift 2
  hash=$(sha256sum <"$file")
  [ "$(cat "$stamp" 2>/dev/null || true)" = "$hash" ] && return
  "$@"
  mkdir -p "$(dirname "$stamp")"
  printf '%s\n' "$hash" >"$stamp"
}

install_python_environment() {
  say "Python environment from requirements.lock"
  [ -x .venv/bin/python ] || "$(python)" -m venv .venv
  quietly .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
}

install_jars() {
  say "Kafka and QuestDB"
  local server
  for server in kafka questdb; do
    rm -rf ".local/jars/$server"
    quietly mvn --batch-mode --no-transfer-progress -f deploy/local/pom.xml -P "$server" \
      dependency:copy-dependencies "-DoutputDirectory=$PWD/.local/jars/$server"
  done
}

part=${1:-servers}
read -r -d '' -a packages < <(missing_packages "$part") || true
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
python >/dev/null || die "Python 3.11 or newer with venv is needed; this distribution's python3 is $(python3 -V 2>&1)"
when_changed requirements.lock .venv/installed install_python_environment
[ "$part" != servers ] || when_changed deploy/local/pom.xml .local/jars/installed install_jars
