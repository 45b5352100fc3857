//! A bare client of the index server: it sends bodies that were rendered beforehand, and does nothing else.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

/// Asks for JSON; panics where there is no answer, passes over what is an error.
fn call(method: &str, url: &str, body: Option<&[u8]>) -> Value {
    let request =
        ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let agent = ureq::Agent::from(config);
    let mut answer = agent
        .run(request.body(body.unwrap_or_default()).unwrap())
        .unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    answer.body_mut().read_json().unwrap_or_default()
}

/// Processor time of all nodes so far, in seconds.
pub fn server_seconds(url: &str) -> f64 {
    let stats = call("GET", &format!("{url}/_nodes/stats/process"), None);
    let nodes = stats["nodes"].as_object().cloned().unwrap_or_default();
    let millis = |node: &Value| node["process"]["cpu"]["total_in_millis"].as_f64().unwrap_or(0.0);
    nodes.values().map(millis).sum::<f64>() / 1e3
}

/// Removes the index or what is behind the alias.
pub fn remove(url: &str, alias: &str) {
    let found = call("GET", &format!("{url}/{alias}"), None);
    for name in found.as_object().into_iter().flat_map(|indices| indices.keys()) {
        if name != "error" && name != "status" {
            call("DELETE", &format!("{url}/{name}"), None);
        }
    }
}

/// Documents behind the alias after a refresh.
pub fn count(url: &str, alias: &str) -> u64 {
    call("POST", &format!("{url}/{alias}/_refresh"), None);
    call("GET", &format!("{url}/{alias}/_count"), None)["count"].as_u64().unwrap_or(0)
}

/// Makes an empty index as pgsluice makes it.
pub fn make(url: &str, name: &str) {
    let body = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("es_index.json")).unwrap();
    let answer = call("PUT", &format!("{url}/{name}"), Some(&body));
    assert_eq!(answer["acknowledged"], true, "cannot make the index: {answer}");
}

/// Sends all bodies of a folder over so many connections.
pub fn replay(url: &str, name: &str, folder: &Path, connection_count: usize) {
    let mut bodies: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // Taken from the end.
    bodies.sort_unstable_by(|left, right| right.cmp(left));
    let bodies = Mutex::new(bodies);
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    std::thread::scope(|scope| {
        for _ in 0..connection_count {
            scope.spawn(|| {
                let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
                connection.get_ref().set_nodelay(true).unwrap();
                loop {
                    let Some(path) = bodies.lock().unwrap().pop() else { return };
                    send(&mut connection, address, name, &fs::read(path).unwrap());
                }
            });
        }
    });
}

fn send(connection: &mut BufReader<TcpStream>, address: &str, name: &str, body: &[u8]) {
    let head = format!(
        "POST /{name}/_bulk?filter_path=items.*.status,items.*.error HTTP/1.1\r\nHost: {address}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.get_mut().write_all(head.as_bytes()).unwrap();
    connection.get_mut().write_all(body).unwrap();
    let answer = read_answer(connection);
    let has_error = answer.windows(7).any(|window| window == b"\"error\"");
    assert!(!has_error, "the server refused documents of the replay");
}

/// Reads an answer, whole or in chunks.
fn read_answer(connection: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    assert!(line.contains(" 200 "), "the server answered {line}");
    let (mut length, mut is_chunked) = (0, false);
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "transfer-encoding" => is_chunked = value.trim() == "chunked",
            _ => {}
        }
    }
    let mut body = Vec::new();
    if !is_chunked {
        connection.take(length).read_to_end(&mut body).unwrap();
        return body;
    }
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        let length = u64::from_str_radix(line.trim(), 16).unwrap();
        connection.take(length).read_to_end(&mut body).unwrap();
        line.clear();
        connection.read_line(&mut line).unwrap();
        if length == 0 {
            return body;
        }
    }
}
