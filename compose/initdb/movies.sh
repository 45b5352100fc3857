#!/bin/bash
# Runs once, when the PostgreSQL container makes its cluster: the movies, and the role that reads them.
set -euo pipefail

run() { psql -X -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" "$@"; }

run -v films="$MOVIES_FILMS" -f /usr/share/pgsluice/sample.sql
# All that pgsluice needs: to read the tables, and to see the transactions of others.
run <<'SQL'
create role pgsluice login password 'pgsluice';
grant usage on schema content to pgsluice;
grant select on all tables in schema content to pgsluice;
grant pg_monitor to pgsluice;
SQL
