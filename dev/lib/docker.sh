# shellcheck shell=bash
# The same commands on a Docker engine, with the images of compose/compose.yaml. `.services/docker` remembers that the
# servers came up this way, so that the later commands need no --docker.

compose() { docker compose -f "$PROJECT/compose/compose.yaml" --profile opensearch "$@" 9>&-; }

docker_up() {
    docker info >/dev/null 2>&1 || die "no Docker engine answers; without --docker the servers run as plain processes"
    compose up -d --wait "${names[@]}"
    mkdir -p "$SERVICES"
    : >"$SERVICES/docker"
}

docker_down() {
    compose stop "${names[@]}"
    if [ -z "$(compose ps -q --status running)" ]; then rm -f "$SERVICES/docker"; fi
}

docker_reset() {
    compose rm -s -f -v "${names[@]}"
    docker_up
}

docker_status() { compose ps "${names[@]}"; }

# Ports and credentials are asked of the containers: compose.yaml and its .env decide them.
docker_env() {
    local address
    address=$(compose port postgres 5432)
    export_lines PG_DSN__HOST "${address%:*}" PG_DSN__PORT "${address##*:}" \
        PG_DSN__USER "$(compose exec -T postgres printenv POSTGRES_USER)" \
        PG_DSN__PASSWORD "$(compose exec -T postgres printenv POSTGRES_PASSWORD)" PG_DSN__DBNAME postgres \
        ELASTIC_URL "http://$(compose port elasticsearch 9200)"
    if address=$(compose port opensearch 9200 2>/dev/null) && [ -n "$address" ]; then export_lines OPENSEARCH_URL "http://$address"; fi
    # Tests that start clusters of their own need the programs on this machine.
    if [ -n "$(pg_bin)" ]; then export_lines PG_BIN "$(pg_bin)"; fi
}
