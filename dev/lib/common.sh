# shellcheck shell=bash
# What the scripts of dev/ share: messages, folders, the user that runs the servers, packages, ports.
#
# Sourced, never run. Folders:
#   <project>/.services        ignored by git: the lock, and `run`, where the servers live
#   <project>/.services/run    data, configuration and logs; a link when the server user cannot reach the project
#   ~/.cache/pgsluice          downloads (XDG_CACHE_HOME is honoured), shared by all clones of one user

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
SERVICES=$PROJECT/.services
CACHE=${XDG_CACHE_HOME:-${HOME:?HOME must be set}/.cache}/pgsluice

# Ports of our own, far from the usual ones, so that servers already on this machine are left alone.
PG_PORT=${DEV_PG_PORT:-54329}
ELASTIC_PORT=${DEV_ELASTIC_PORT:-59200}
OPENSEARCH_PORT=${DEV_OPENSEARCH_PORT:-59201}
# Java heap of each search server: enough for half a million films, small enough for a laptop.
HEAP=${DEV_HEAP:-768m}

# Another user than the caller may run the servers, and must be able to read what is written for them.
umask 022

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# PostgreSQL and Elasticsearch refuse to run as root; then an account that owns nothing runs them.
if [ "$(id -u)" = 0 ]; then SERVER_USER=nobody; else SERVER_USER=$(id -un); fi

# Runs a command as the server user.
as_server() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$SERVER_USER" --regid="$(id -g "$SERVER_USER")" --clear-groups \
            env HOME=/nonexistent USER="$SERVER_USER" LOGNAME="$SERVER_USER" "$@"
    else
        env "$@"
    fi
}

# Where the servers' files are, as a path that the server user can follow. A project below a closed folder (say /root) has
# them in /var/lib: opening the home folder for others would be the worse cure.
run_folder() {
    local run=$SERVICES/run reached=$PROJECT
    if [ -d "$SERVICES" ]; then reached=$SERVICES; fi
    if [ -L "$run" ]; then
        readlink "$run"
    elif [ -e "$run" ] || as_server test -x "$reached"; then
        printf '%s' "$run"
    else
        printf '/var/lib/pgsluice-dev/%s' "$(printf '%s' "$PROJECT" | sha256sum | cut -c1-12)"
    fi
}
RUN=$(run_folder)

# Makes that folder, owned by the server user.
make_run_folder() {
    if [ ! -d "$RUN" ]; then
        mkdir -p "$SERVICES" "$RUN"
        chown "$SERVER_USER" "$RUN"
        if [ "$RUN" != "$SERVICES/run" ]; then
            ln -sfn "$RUN" "$SERVICES/run"
            say "user $SERVER_USER, who runs the servers, cannot reach $SERVICES: their files go to $RUN"
        fi
    fi
    local owner
    owner=$(stat -L -c %U "$RUN")
    [ "$owner" = "$SERVER_USER" ] || die "$RUN belongs to $owner, the servers would run as $SERVER_USER:" \
        "run this as the user that made it, or stop its servers and remove the folder"
}

# One invocation at a time per clone: others wait. File descriptor 9 is the lock, closed for servers.
take_lock() {
    mkdir -p "$SERVICES"
    exec 9>>"$SERVICES/lock" || die "cannot write to $SERVICES: it belongs to $(stat -c %U "$SERVICES")"
    if ! flock -n 9; then
        say "waiting for another dev/services of this clone"
        flock 9
    fi
}

# apt_install PACKAGE…: installs Debian packages, through sudo where needed.
apt_install() {
    command -v apt-get >/dev/null || die "cannot install $*: this is no Debian; install them by hand and run this again"
    local root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "cannot install $*: neither root nor sudo; run as root: apt-get install $*"
        root=(sudo)
    fi
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -q -y)
    local log
    log=$(mktemp)
    say "installing Debian packages: $*"
    # Package lists are fetched only when what is there does not do.
    if ! "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1; then
        if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"; } >"$log" 2>&1; then
            tail -n 15 "$log" >&2
            rm -f "$log"
            die "apt-get could not install $*"
        fi
    fi
    rm -f "$log"
}

# need COMMAND PACKAGE: installs the package unless the command is there.
need() { command -v "$1" >/dev/null || apt_install "$2"; }

# Rust is the one thing that is not installed here: how to get it is the user's choice.
need_rust() {
    command -v cargo >/dev/null ||
        die "cargo is missing: install Rust 1.89 or newer, for example with rustup (https://rustup.rs, or the package" \
            "'rustup' where the system has one), and open a new shell"
    # SQLite is compiled into the program.
    command -v cc >/dev/null || apt_install gcc libc6-dev
}

# Prints the process that listens on a local TCP port, or nothing. Reads /proc: no tool needed.
listener_of_port() {
    local inode fd pid
    inode=$(awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    [ -n "$inode" ] || return 0
    for fd in /proc/[0-9]*/fd/*; do
        if [ "$(readlink "$fd" 2>/dev/null)" = "socket:[$inode]" ]; then
            pid=${fd#/proc/}
            pid=${pid%%/*}
            printf 'process %s (%s, in %s)' "$pid" "$(cat "/proc/$pid/comm")" "$(readlink "/proc/$pid/cwd")"
            return 0
        fi
    done
    printf 'a process of another user'
}

# check_port_free NAME PORT VARIABLE: names who has the port. A server that is just stopping gets 5 seconds.
check_port_free() {
    local listener
    for _ in $(seq 10); do
        listener=$(listener_of_port "$2")
        [ -n "$listener" ] || return 0
        sleep 0.5
    done
    die "$1: port $2 is taken by $listener; stop it, or choose another port with $3=…"
}

# is_running PIDFILE FOLDER: true when the recorded process lives and is ours (ids are reused by the system).
is_running() {
    local pid
    pid=$(head -n 1 "$1" 2>/dev/null) && [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$2"
}

# stop_process NAME PIDFILE FOLDER: SIGTERM, and SIGKILL after 30 seconds.
stop_process() {
    is_running "$2" "$3" || { rm -f "$2"; return 0; }
    local pid
    pid=$(cat "$2")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 300); do
        is_running "$2" "$3" || break
        sleep 0.1
    done
    if is_running "$2" "$3"; then
        say "$1: did not stop within 30 seconds, killed"
        kill -9 "$pid" 2>/dev/null || true
        sleep 0.5
    fi
    rm -f "$2"
}

# start_failed NAME LOG…: shows what the server itself said, and ends.
start_failed() {
    local name=$1 log
    shift
    for log in "$@"; do
        [ -s "$log" ] || continue
        say "--- last lines of $log"
        tail -n 20 "$log" | cut -c1-300 >&2
    done
    die "$name did not start"
}

# A log from the last start is kept once, so that logs do not grow without end.
rotate_log() {
    if [ -e "$1" ]; then mv -f "$1" "$1.old"; fi
}
