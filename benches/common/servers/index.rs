//! A bare client of the index server: it sends bodies that were rendered beforehand, and does nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::bodies::Bodies;

/// Asks for JSON; panics where there is no answer, passes over what is an error.
fn call(method: &str, url: &str, body: Option<&Value>) -> Value {
    ask(method, url, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

fn ask(method: &str, url: &str, body: Option<&Value>) -> Result<Value, ureq::Error> {
    let request =
        ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let agent = ureq::Agent::from(config);
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut answer = agent.run(request.body(body)?)?;
    Ok(answer.body_mut().read_json().unwrap_or_default())
}

/// Processor time of all nodes so far, in seconds.
pub fn server_seconds(url: &str) -> f64 {
    let stats = call("GET", &format!("{url}/_nodes/stats/process"), None);
    let nodes = stats["nodes"].as_object().cloned().unwrap_or_default();
    let millis = |node: &Value| node["process"]["cpu"]["total_in_millis"].as_f64().unwrap_or(0.0);
    nodes.values().map(millis).sum::<f64>() / 1e3
}

/// An index of this benchmark, or what stands behind that alias; it goes with this value.
pub struct Index<'a> {
    pub url: &'a str,
    pub name: String,
}

impl<'a> Index<'a> {
    /// A name that no other benchmark uses; nothing is made yet.
    pub fn named(url: &'a str) -> Self {
        Self { url, name: format!("pgsluice_bench_{}", std::process::id()) }
    }

    /// Makes it, empty.
    pub fn make(&self, body: &Value) {
        let answer = call("PUT", &format!("{}/{}", self.url, self.name), Some(body));
        assert_eq!(answer["acknowledged"], true, "cannot make the index: {answer}");
    }

    /// Documents in it after a refresh.
    pub fn count(&self) -> u64 {
        self.refresh();
        call("GET", &format!("{}/{}/_count", self.url, self.name), None)["count"].as_u64().unwrap_or(0)
    }

    /// A document as it is, at once; null if there is none.
    pub fn document(&self, id: &str) -> Value {
        call("GET", &format!("{}/{}/_doc/{id}", self.url, self.name), None)["_source"].take()
    }

    pub fn refresh(&self) {
        call("POST", &format!("{}/{}/_refresh", self.url, self.name), None);
    }

    /// Sends these pieces of `bodies`, each as a body of its own, over so many connections.
    pub fn replay(&self, bodies: &Bodies, pieces: &[Range<u64>], connection_count: usize) {
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..connection_count {
                scope.spawn(|| {
                    let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
                    connection.get_ref().set_nodelay(true).unwrap();
                    let mut body = Vec::new();
                    while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::SeqCst)) {
                        bodies.read(piece, &mut body);
                        send(&mut connection, address, &self.name, &body);
                    }
                });
            }
        });
    }
}

impl Drop for Index<'_> {
    /// Also where a benchmark fails: nothing is left behind.
    fn drop(&mut self) {
        let found = ask("GET", &format!("{}/{}", self.url, self.name), None).unwrap_or_default();
        for name in found.as_object().into_iter().flat_map(|indices| indices.keys()) {
            if name != "error" && name != "status" {
                let _ = ask("DELETE", &format!("{}/{name}", self.url), None);
            }
        }
    }
}

/// What an index is made with for a first load with `--fresh`, in place of what `body` says.
pub fn fresh(body: &Value) -> Value {
    let mut body = body.clone();
    body["settings"]["refresh_interval"] = json!("-1");
    body["settings"]["number_of_replicas"] = json!(0);
    body
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
