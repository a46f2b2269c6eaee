# Sourced by scripts/demo and scripts/test: brings a machine to where plait can be built and tried.
# Installs what is missing where apt is at hand and we may use it; elsewhere names it.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
fail() { printf '%s\n' "$*" >&2; exit 2; }

# need COMMAND PACKAGE: remembers packages whose command is not there.
missing=()
need() {
  command -v "$1" >/dev/null 2>&1 && return
  case " ${missing[*]} " in *" $2 "*) ;; *) missing+=("$2") ;; esac
}

install_missing() {
  [ ${#missing[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    fail "These packages are missing (Debian's names): ${missing[*]}. Install them and run this again."
  fi
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "These packages are missing: ${missing[*]}. Run this as root, or install them."
    sudo=(sudo)
  fi
  say "Installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  missing=()
}

# What only one test wants, and has another name here and there (Ubuntu: a snap).
install_browser() {
  { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null 2>&1 && return
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
  say "Installing chromium"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } ||
    say "chromium cannot be had here: going on without the tests of the report's page"
}

# AES-256-GCM by the wide instructions of newer processors. Without the package OpenSSL does it, and a tunnel at full speed is
# a sixth slower.
install_fast_aes() {
  [ "$(uname -m)" = x86_64 ] && grep -qw vaes /proc/cpuinfo || return 0
  [ ! -e /usr/include/intel-ipsec-mb.h ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
  say "Installing libipsec-mb-dev"
  { timeout 60 apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive timeout 60 apt-get install -y -qq --no-install-recommends libipsec-mb-dev >/dev/null; } 2>/dev/null ||
    say "libipsec-mb-dev cannot be had here: going on with OpenSSL's AES"
}

check_node() {
  command -v node >/dev/null 2>&1 ||
    fail "Node.js is missing: plait needs 20.19 or later. Debian 13 has it (apt install nodejs npm); on Debian 12 install it from https://nodejs.org."
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node.js $(node --version) is too old: plait needs 20.19 or later, Debian 12's own is 18. Install it from https://nodejs.org."
  command -v npm >/dev/null 2>&1 || fail "npm is missing: apt install npm, or install Node.js from https://nodejs.org."
}

# Under sudo, whose the checkout is, unless root's: what root leaves in it, its owner cannot build over.
owner() {
  local of
  of=$(stat -c %U .)
  if [ "$(id -u)" -eq 0 ] && [ "$of" != root ] && [ "$of" = "${SUDO_USER:-}" ]; then printf %s "$of"; fi
}

# Runs a command as the owner of the checkout.
as_owner() {
  local owner
  owner=$(owner)
  if [ -n "$owner" ]; then sudo -H -u "$owner" env PATH="$PATH" "$@"; else "$@"; fi
}

# Gives the owner what was made in his checkout.
give_back() {
  local owner made
  owner=$(owner)
  [ -n "$owner" ] || return 0
  for made in node_modules dist build build-asan; do
    [ ! -e "$made" ] || chown -R "$owner:" "$made"
  done
}

# Installs the packages of package-lock.json unless they are there already.
install_modules() {
  local stamp=node_modules/.plait-lock
  if ! cmp -s package-lock.json "$stamp"; then
    say "Installing npm packages"
    as_owner npm ci --no-audit --no-fund --loglevel=error
    as_owner cp package-lock.json "$stamp"
  fi
}

prepare() {
  [ "$(uname -s)" = Linux ] || fail "plait runs on Linux only."
  check_node
  need gcc gcc
  need make make
  need python3 python3
  need ip iproute2
  need tc iproute2
  need iperf3 iperf3
  need ping iputils-ping
  need sysctl procps
  [ "${1:-}" = tests ] && {
    need tcpdump tcpdump
    need ethtool ethtool
    need nft nftables
  }
  # The compiler needs the C library's headers, which --no-install-recommends leaves out.
  [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
  install_missing
  install_fast_aes
  [ "${1:-}" = tests ] && install_browser
  give_back
  install_modules
  say "Building"
  as_owner npm run --silent build
}

need_root() {
  [ "$(id -u)" -eq 0 ] || fail "This makes network namespaces and devices: run it as root (sudo $0)."
  [ -c /dev/net/tun ] || fail "/dev/net/tun is missing: modprobe tun, or let the container have it."
}
