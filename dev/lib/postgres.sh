# shellcheck shell=bash
# PostgreSQL in a cluster of our own: own folder, own port, loopback only. Debian's packages give the programs.

PG_DIR=$RUN/postgres
PG_USER=pgsluice
PG_PASSWORD=pgsluice

# Prints the folder of initdb and pg_ctl: the newest PostgreSQL from 15 on. With an argument, that major version only.
pg_bin() {
    local dir version best='' best_version=14
    for dir in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ ! -x "$dir/initdb" ] || [ ! -x "$dir/postgres" ]; then continue; fi
        version=$("$dir/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
        [ -z "${1:-}" ] || [ "$version" = "$1" ] || continue
        if [ "$version" -gt "$best_version" ]; then
            best=$dir
            best_version=$version
        fi
    done
    printf '%s' "$best"
}

postgres_prepare() {
    [ -z "$(pg_bin)" ] || return 0
    # Debian would create and start a cluster `main` on port 5432. This file keeps it from doing so, for this one installation.
    local root=() conf=/etc/postgresql-common/createcluster.d/zz-pgsluice-dev.conf
    if [ "$(id -u)" != 0 ]; then root=(sudo); fi
    if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
        "${root[@]}" mkdir -p "${conf%/*}"
        echo 'create_main_cluster = false' | "${root[@]}" tee "$conf" >/dev/null
    fi
    (apt_install postgresql) || { "${root[@]}" rm -f "$conf"; exit 1; }
    "${root[@]}" rm -f "$conf"
    [ -n "$(pg_bin)" ] || die "PostgreSQL 15 or newer is needed, and this system's package is older"
}

# `pg_ctl status` would take a killed server that its parent has not yet collected for a running one.
postgres_is_up() { is_running "$PG_DIR/data/postmaster.pid" "$PG_DIR/data"; }

pg_query() {
    PGPASSWORD=$PG_PASSWORD PGCONNECT_TIMEOUT=5 psql -X -q -A -t -h 127.0.0.1 -p "$PG_PORT" -U "$PG_USER" -d postgres -c "$1"
}

postgres_start() {
    local bin socket=$PG_DIR
    if [ ! -s "$PG_DIR/data/PG_VERSION" ]; then
        rm -rf "$PG_DIR"
        as_server mkdir -m 0700 "$PG_DIR"
        bin=$(pg_bin)
        # initdb into a folder that gets its name at the end: a half-made cluster is never taken for whole.
        echo "$PG_PASSWORD" | as_server tee "$PG_DIR/password" >/dev/null
        as_server "$bin/initdb" -D "$PG_DIR/data.new" -U "$PG_USER" --pwfile="$PG_DIR/password" --auth=scram-sha-256 \
            -E UTF8 --locale=C.UTF-8 --no-sync >"$SERVICES/initdb.log" 2>&1 || start_failed postgres "$SERVICES/initdb.log"
        echo "include_if_exists = 'dev.conf'" >>"$PG_DIR/data.new/postgresql.conf"
        mv "$PG_DIR/data.new" "$PG_DIR/data"
    fi
    local version
    version=$(cat "$PG_DIR/data/PG_VERSION")
    bin=$(pg_bin "$version")
    [ -n "$bin" ] || die "postgres: the cluster is of version $version, whose programs are gone; 'dev/services reset postgres' makes a new one"
    check_port_free postgres "$PG_PORT" DEV_PG_PORT
    # A socket's path may have 107 bytes at most (sockaddr_un).
    if [ ${#socket} -gt 85 ]; then socket=''; fi
    cat >"$PG_DIR/data/dev.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $PG_PORT
unix_socket_directories = '$socket'
max_connections = 200
shared_buffers = 1GB
max_wal_size = 2GB
wal_level = logical
max_prepared_transactions = 20
# Faster, and safe against all but a crash of the whole machine: a killed process loses nothing that it
# handed to the kernel. After a power cut: dev/services reset.
fsync = off
synchronous_commit = on
log_line_prefix = '%m [%p] %a '
timezone = 'UTC'
CONF
    rotate_log "$PG_DIR/server.log"
    # After a kill the old server's processes need a moment to notice; until then a new one refuses to start.
    for _ in 1 2 3 4 5; do
        if as_server "$bin/pg_ctl" -D "$PG_DIR/data" -l "$PG_DIR/server.log" -w -t 60 start >/dev/null 2>&1 9>&-; then return 0; fi
        grep -qE 'pre-existing shared memory|another postmaster' "$PG_DIR/server.log" || break
        sleep 1
    done
    start_failed postgres "$PG_DIR/server.log"
}

postgres_probe() {
    pg_query "select 'postgres: PostgreSQL ' || current_setting('server_version') || ', wal_level ' || current_setting('wal_level')" ||
        start_failed postgres "$PG_DIR/server.log"
}

postgres_stop() {
    postgres_is_up || return 0
    local bin
    bin=$(pg_bin "$(cat "$PG_DIR/data/PG_VERSION")")
    as_server "$bin/pg_ctl" -D "$PG_DIR/data" -m fast -w -t 60 stop >/dev/null || die "postgres did not stop"
}

postgres_pid() { head -n 1 "$PG_DIR/data/postmaster.pid"; }
postgres_address() { echo "127.0.0.1:$PG_PORT"; }
