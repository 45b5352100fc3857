# shellcheck shell=bash
# What the two search servers share: Java, Maven, the cache of downloads, the proof of analysis.

MAVEN_DEPENDENCY=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

# Prints a Java that both servers run on: 17 (their oldest) to 23 (the last with the security manager that Elasticsearch 8
# needs), with its compiler, since OpenSearch's launcher is a source file.
find_java() {
    local java major
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        major=$("$java" -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p')
        if [ "${major:-0}" -ge 17 ] && [ "$major" -le 23 ] && "$java" --list-modules | grep -q '^jdk.compiler'; then
            readlink -f "$java"
            return 0
        fi
    done
}

need_java() {
    [ -z "$(find_java)" ] || return 0
    local package
    for package in openjdk-17-jdk-headless openjdk-21-jdk-headless; do
        # Installing fails where the release has no such package; then the next is tried.
        if (apt_install "$package") 2>/dev/null; then
            [ -z "$(find_java)" ] || { say "installed $package"; return 0; }
        fi
    done
    die "Java 17 to 23 with its compiler is needed; run as root: apt-get install openjdk-17-jdk-headless"
}

# with_download_folder FUNCTION: calls it with a new folder in the cache, under the cache's lock, and removes the folder after.
# The function moves what it has checked to its final name with one rename; so a half download is never taken for whole.
with_download_folder() (
    mkdir -p "$CACHE"
    exec 8>>"$CACHE/lock"
    flock -n 8 || { say "waiting for another download to end"; flock 8; }
    rm -rf "$CACHE"/download.*
    folder=$(mktemp -d "$CACHE/download.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    trap 'exit 130' INT TERM
    "$1" "$folder"
)

# maven LOG ARGUMENT…: runs Maven with a repository that may be thrown away; a mirror in the user's settings is honoured.
maven() {
    need mvn maven
    local log=$1
    shift
    JAVA_HOME=$(dirname "$(dirname "$(find_java)")") mvn -B -ntp "$@" >"$log" 2>&1 9>&- 8>&- || {
        grep -E 'ERROR' "$log" | head -n 8 | cut -c1-300 >&2
        die "Maven could not download (its whole output: rerun with the same network and see above)"
    }
}

# server_files NAME: prints the folder of the cache, or a copy that the server user can read (a home folder may be closed).
server_files() {
    if as_server test -r "$CACHE/$1/." -a -x "$CACHE/$1/."; then
        printf '%s' "$CACHE/$1"
        return 0
    fi
    if [ ! -d "$RUN/dist/$1" ]; then
        mkdir -p "$RUN/dist"
        rm -rf "$RUN/dist/$1.new"
        cp -R "$CACHE/$1" "$RUN/dist/$1.new"
        chmod -R a+rX "$RUN/dist/$1.new"
        mv "$RUN/dist/$1.new" "$RUN/dist/$1"
    fi
    printf '%s' "$RUN/dist/$1"
}

# search_is_ready URL: answers, and its shards are in place.
search_is_ready() {
    curl -fsS -o /dev/null --max-time 5 "$1/_cluster/health?wait_for_status=yellow&timeout=4s" 2>/dev/null
}

# wait_ready NAME URL PIDFILE LOG…: until it answers; ends at once when the process has died.
wait_ready() {
    local name=$1 url=$2 pid deadline=$((SECONDS + 180))
    pid=$(cat "$3")
    shift 3
    until search_is_ready "$url"; do
        [ -d "/proc/$pid" ] || start_failed "$name" "$@"
        [ $SECONDS -lt $deadline ] || start_failed "$name (no answer within 180 seconds)" "$@"
        sleep 0.3
    done
}

# probe_analysis NAME URL: proves that stop words and word forms of both languages are understood, as index ru_en needs it.
probe_analysis() {
    local name=$1 url=$2 answer tokens version
    answer=$(curl -sS --max-time 30 "$url/_analyze" -H 'content-type: application/json' -d '{
        "tokenizer": "standard",
        "filter": ["lowercase",
            {"type": "stop", "stopwords": "_english_"}, {"type": "stemmer", "language": "english"},
            {"type": "stemmer", "language": "possessive_english"},
            {"type": "stop", "stopwords": "_russian_"}, {"type": "stemmer", "language": "russian"}],
        "text": "The running ships и хорошие фильмы"}')
    tokens=$(grep -o '"token":"[^"]*"' <<<"$answer" | cut -d'"' -f4 | tr '\n' ' ')
    version=$(curl -sS --max-time 30 "$url/" | sed -nE 's/.*"number" : "([^"]+)".*/\1/p')
    [ "$tokens" = 'run ship хорош фильм ' ] ||
        die "$name $version does not analyse English and Russian as it should: got '$tokens' (${answer:0:300})"
    echo "$name: version $version, analyses \"The running ships и хорошие фильмы\" as: $tokens"
}
