//! The null sink: an HTTP server that takes bulk requests, answers every action as done, and keeps nothing.
//!
//! It speaks as much of Elasticsearch as a first full load asks for: who it is, one index that is created, and `_bulk`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::bodies::Bodies;

/// What is left of an item when the client asks for statuses and errors alone.
const SHORT_ITEM: &str = r#"{"index":{"status":201}}"#;

/// An item as Elasticsearch writes it when nothing is filtered.
const WHOLE_ITEM: &str = concat!(
    r#"{"index":{"_index":"movies-20260101t000000","_id":"00000000-0000-0000-0000-000000000000","_version":1,"#,
    r#""result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}"#
);

/// A server that runs as long as the process.
pub struct Sink {
    pub url: String,
    state: Arc<State>,
}

/// Told of every bulk body when it has been answered.
type Listener = Arc<dyn Fn(&[u8]) + Send + Sync>;

#[derive(Default)]
struct State {
    requests: AtomicU64,
    documents: AtomicU64,
    bytes: AtomicU64,
    index: Mutex<Option<(String, Value)>>,
    kept: Mutex<Option<Bodies>>,
    listener: Mutex<Option<Listener>>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(connection, &state));
            }
        });
        Self { url, state }
    }

    /// Forgets index and counts.
    pub fn reset(&self) {
        self.forget_counts();
        *self.state.index.lock().unwrap() = None;
    }

    /// Keeps the bodies of `work`, and what the index was made with meanwhile.
    pub fn keep(&self, work: impl FnOnce()) -> (Bodies, Value) {
        *self.state.kept.lock().unwrap() = Some(Bodies::new());
        work();
        let bodies = self.state.kept.lock().unwrap().take().unwrap();
        let index = self.state.index.lock().unwrap();
        (bodies, index.as_ref().expect("an index that was made").1.clone())
    }

    /// Forgets what was counted; the index stays, for a program that knows it.
    pub fn forget_counts(&self) {
        self.state.requests.store(0, Ordering::SeqCst);
        self.state.documents.store(0, Ordering::SeqCst);
        self.state.bytes.store(0, Ordering::SeqCst);
    }

    /// Tells `listener` of every bulk body from now on, just after its answer was written.
    pub fn listen(&self, listener: impl Fn(&[u8]) + Send + Sync + 'static) {
        *self.state.listener.lock().unwrap() = Some(Arc::new(listener));
    }

    /// Requests of any kind since the counts were forgotten.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Documents and bytes of bulk bodies taken since the reset.
    pub fn taken(&self) -> (u64, u64) {
        (self.state.documents.load(Ordering::SeqCst), self.state.bytes.load(Ordering::SeqCst))
    }
}

fn serve(connection: TcpStream, state: &State) {
    let _ = connection.set_nodelay(true);
    let Ok(mut writer) = connection.try_clone() else { return };
    let mut reader = BufReader::with_capacity(1 << 16, connection);
    let mut body = Vec::new();
    while let Some((method, path)) = read_request(&mut reader, &mut body) {
        state.requests.fetch_add(1, Ordering::SeqCst);
        let (status, answer) = answer(state, &method, &path, &body);
        let head = format!(
            "HTTP/1.1 {status} -\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let mut reply = head.into_bytes();
        if method != "HEAD" {
            reply.extend_from_slice(answer.as_bytes());
        }
        if writer.write_all(&reply).is_err() {
            return;
        }
        if is_bulk(&path) {
            let listener = state.listener.lock().unwrap().clone();
            if let Some(listener) = listener {
                listener(&body);
            }
        }
    }
}

/// Reads one request; nothing when the client has hung up.
fn read_request(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Option<(String, String)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    body.clear();
    reader.take(length).read_to_end(body).ok()?;
    Some((method, path))
}

fn is_bulk(path: &str) -> bool {
    path.split('?').next().is_some_and(|path| path.ends_with("/_bulk"))
}

/// The ids of the actions of a bulk body.
pub fn ids(body: &[u8]) -> impl Iterator<Item = &str> {
    const LABEL: &[u8] = b"\"_id\":\"";
    actions(body).filter_map(|action| {
        let line = action.split(|byte| *byte == b'\n').next()?;
        let start = line.windows(LABEL.len()).position(|window| window == LABEL)? + LABEL.len();
        let length = line[start..].iter().position(|byte| *byte == b'"')?;
        std::str::from_utf8(&line[start..start + length]).ok()
    })
}

/// The actions of a bulk body, each with its document and its line ends.
pub fn actions(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lines = body.split_inclusive(|byte| *byte == b'\n');
    let mut rest = body;
    std::iter::from_fn(move || {
        let line = lines.next()?;
        let document = if line.starts_with(b"{\"delete\"") { None } else { lines.next() };
        let (action, after) = rest.split_at(line.len() + document.map_or(0, <[u8]>::len));
        rest = after;
        Some(action)
    })
}

fn answer(state: &State, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (method, segments.as_slice()) {
        ("POST" | "PUT", [.., "_bulk"]) => (200, take(state, body, query)),
        ("GET" | "HEAD", []) => {
            (200, json!({"version": {"number": "8.16.0"}, "tagline": "You Know, for Search"}).to_string())
        }
        (_, [_, "_count"]) => (
            200,
            json!({"count": 0, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}})
                .to_string(),
        ),
        ("PUT", [name]) => {
            let body = serde_json::from_slice(body).unwrap_or_default();
            *state.index.lock().unwrap() = Some(((*name).to_owned(), body));
            (200, json!({"acknowledged": true, "shards_acknowledged": true, "index": name}).to_string())
        }
        ("GET" | "HEAD", [name] | ["_alias", name]) => index(state, name),
        _ => (200, json!({"acknowledged": true, "_shards": {"failed": 0}}).to_string()),
    }
}

fn index(state: &State, alias: &str) -> (u16, String) {
    let index = state.index.lock().unwrap();
    match index.as_ref() {
        Some((name, body)) if name == alias || body["aliases"].get(alias).is_some() => {
            (200, json!({ name: body }).to_string())
        }
        _ => (404, json!({"error": "not found", "status": 404}).to_string()),
    }
}

/// Counts the actions of a body and answers as many items.
fn take(state: &State, body: &[u8], query: &str) -> String {
    let action_count = actions(body).count() as u64;
    state.documents.fetch_add(action_count, Ordering::SeqCst);
    state.bytes.fetch_add(body.len() as u64, Ordering::SeqCst);
    if let Some(kept) = state.kept.lock().unwrap().as_mut() {
        kept.append(body);
    }
    let is_filtered = query.contains("filter_path");
    let item = if is_filtered { SHORT_ITEM } else { WHOLE_ITEM };
    let items = vec![item; action_count as usize].join(",");
    if is_filtered {
        format!("{{\"items\":[{items}]}}")
    } else {
        format!("{{\"took\":30,\"errors\":false,\"items\":[{items}]}}")
    }
}
