import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node on the loopback interface: java -cp 'jars/*' Node.java PORT FOLDER. Ends on SIGTERM. */
public class Node {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        var runner = new OpenSearchRunner();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                runner.close();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        runner.onBuild((number, settings) -> {
            settings.put("http.port", port);
            settings.put("transport.port", port + 100);
            settings.put("network.host", "127.0.0.1");
            settings.put("discovery.type", "single-node");
            // The runner's default leaves out `ingest`.
            settings.putList("node.roles", "cluster_manager", "data", "ingest");
            // A disk that is nearly full would make every index read-only.
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        });
        runner.build(OpenSearchRunner.newConfigs().basePath(args[1]).numOfNode(1).clusterName("pgsluice-dev"));
        Thread.currentThread().join();
    }
}
