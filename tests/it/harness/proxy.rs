//! A proxy in front of an index server, for what a real server does not do on demand.
//!
//! It passes every request on and hands back the server's answer, unless the test's rule says what to do instead. So
//! faults befall requests that the real server has really seen, or really not seen. It knows who asked, and for what.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Server;

/// A request as the proxy received it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The header Authorization, or nothing.
    pub authorization: Option<String>,
    /// The body; empty where the answer came before it was read.
    pub body: String,
    /// How long the body is, by the head.
    pub body_bytes: usize,
    /// Whether the client waits to be told to send the body.
    pub waits_for_100: bool,
    pub at: Instant,
}

impl Asked {
    /// Whether it is a bulk request.
    pub fn is_bulk(&self) -> bool {
        self.path.contains("/_bulk")
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Pass it on and hand back the answer.
    Pass,
    /// Keep it back for so long before it is passed on; what becomes of the client meanwhile makes no difference.
    PassLater(Duration),
    /// Keep it back until the gate is opened; what becomes of the client meanwhile makes no difference.
    PassThrough(Gate),
    /// Answer for the server, which never sees it: status, headers (each with its line end), body.
    Answer(u16, String, String),
    /// Keep silent; the server never sees it.
    Silence,
    /// Hang up; the server never sees it.
    HangUp,
    /// Pass it on and answer something else.
    PassAndAnswer(u16, String),
    /// Pass it on and answer what says that it is gzip and is not.
    PassAndGarble,
    /// Pass it on and hang up in the middle of the answer.
    CutAnswer,
    /// Pass a bulk request on without its last action, so that the answer has an item less.
    LoseAction,
    /// Pass a bulk request on without the actions at these places, and answer `item` for each of them.
    RefuseItems { positions: Vec<usize>, item: Value },
}

/// What keeps requests back until it is opened; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    is_open: Arc<(Mutex<bool>, Condvar)>,
    answers: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    /// Lets everything through from now on.
    pub fn open(&self) {
        *self.is_open.0.lock().unwrap() = true;
        self.is_open.1.notify_all();
    }

    /// What the server answered to requests that were kept back.
    pub fn answers(&self) -> Vec<String> {
        self.answers.lock().unwrap().clone()
    }

    fn wait(&self) {
        let (is_open, opened) = &*self.is_open;
        drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

impl Deed {
    /// An answer without headers of its own.
    pub fn answer(status: u16, body: &str) -> Self {
        Self::Answer(status, String::new(), body.to_owned())
    }
}

type Rule = Box<dyn FnMut(&Asked) -> Deed + Send>;

struct Shared {
    upstream: String,
    rule: Mutex<Rule>,
    /// Longer bodies are answered with 413 before they are read.
    body_max_bytes: AtomicUsize,
    asked: Mutex<Vec<Asked>>,
    has_ended: AtomicBool,
}

/// The proxy; it ends when dropped.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy in front of a server. `rule` is asked about every request, once, when it is read.
    pub fn new(server: Server, rule: impl FnMut(&Asked) -> Deed + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            upstream: server.url(),
            rule: Mutex::new(Box::new(rule)),
            body_max_bytes: AtomicUsize::new(usize::MAX),
            asked: Mutex::new(Vec::new()),
            has_ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A client that goes away in the middle is part of the game.
                std::thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// A proxy that only looks on.
    pub fn passing(server: Server) -> Self {
        Self::new(server, |_| Deed::Pass)
    }

    /// Its address, as in ELASTIC_URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The bulk requests among them.
    pub fn bulks(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(Asked::is_bulk).collect()
    }

    /// From now on answers longer bodies with 413 before they are read, and hangs up, as many proxies do.
    pub fn refuse_bodies_over(&self, bytes: usize) {
        self.shared.body_max_bytes.store(bytes, Ordering::SeqCst);
    }

    /// Goes on by another rule.
    pub fn set_rule(&self, rule: impl FnMut(&Asked) -> Deed + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

/// An address at which nobody listens.
pub fn dead_node() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Serves the requests of one connection, one after the other.
fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while !shared.has_ended.load(Ordering::SeqCst) {
        let Some((mut asked, content_type)) = read_head(&mut reader)? else { return Ok(()) };
        if asked.body_bytes > shared.body_max_bytes.load(Ordering::SeqCst) {
            shared.asked.lock().unwrap().push(asked);
            answer(stream, 413, "connection: close\r\n", b"")?;
            return stream.shutdown(Shutdown::Both);
        }
        if asked.waits_for_100 {
            write!(&*stream, "HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = vec![0; asked.body_bytes];
        reader.read_exact(&mut body)?;
        asked.body = String::from_utf8_lossy(&body).into_owned();
        let deed = (shared.rule.lock().unwrap())(&asked);
        shared.asked.lock().unwrap().push(asked.clone());
        match deed {
            Deed::Silence => {
                // Until the client hangs up.
                let _ = reader.read_line(&mut String::new());
                return Ok(());
            }
            Deed::HangUp => return stream.shutdown(Shutdown::Both),
            Deed::Answer(status, headers, body) => answer(stream, status, &headers, body.as_bytes())?,
            Deed::Pass | Deed::PassLater(_) | Deed::PassThrough(_) => {
                if let Deed::PassLater(wait) = deed {
                    std::thread::sleep(wait);
                }
                if let Deed::PassThrough(gate) = &deed {
                    gate.wait();
                }
                let (status, product, found) = pass_on(shared, &asked, content_type.as_deref(), body)?;
                if let Deed::PassThrough(gate) = &deed {
                    gate.answers.lock().unwrap().push(String::from_utf8_lossy(&found).into_owned());
                }
                answer(stream, status, &product, &found)?;
            }
            Deed::PassAndAnswer(status, instead) => {
                pass_on(shared, &asked, content_type.as_deref(), body)?;
                answer(stream, status, "", instead.as_bytes())?;
            }
            Deed::PassAndGarble => {
                pass_on(shared, &asked, content_type.as_deref(), body)?;
                let garbage = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0xa5; 90]].concat();
                answer(stream, 200, "content-encoding: gzip\r\n", &garbage)?;
            }
            Deed::CutAnswer => {
                let (status, _, found) = pass_on(shared, &asked, content_type.as_deref(), body)?;
                write!(&*stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", found.len())?;
                (&*stream).write_all(&found[..found.len() / 2])?;
                return stream.shutdown(Shutdown::Both);
            }
            Deed::RefuseItems { positions, item } => {
                let (status, product, found) =
                    refuse_items(shared, &asked, content_type.as_deref(), &positions, &item)?;
                answer(stream, status, &product, &found)?;
            }
            Deed::LoseAction => {
                let mut lines: Vec<&str> = asked.body.lines().collect();
                let last = lines.pop().unwrap();
                if !last.starts_with("{\"delete\"") {
                    lines.pop();
                }
                let rest = format!("{}\n", lines.join("\n")).into_bytes();
                let (status, product, found) = pass_on(shared, &asked, content_type.as_deref(), rest)?;
                answer(stream, status, &product, &found)?;
            }
        }
    }
    Ok(())
}

/// Reads the head of the next request; nothing when the client has no more.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<(Asked, Option<String>)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let (mut authorization, mut content_type, mut body_bytes, mut waits_for_100) = (None, None, 0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "content-type" => content_type = Some(value.to_owned()),
            "content-length" => body_bytes = value.parse().unwrap(),
            "expect" => waits_for_100 = value == "100-continue",
            "transfer-encoding" => panic!("the program knows the length of what it sends"),
            _ => {}
        }
    }
    let (body, at) = (String::new(), Instant::now());
    let asked = Asked { method, path, authorization, body, body_bytes, waits_for_100, at };
    Ok(Some((asked, content_type)))
}

/// The actions of a bulk body: what is to be done to which document, and the lines.
pub fn actions(body: &str) -> Vec<(String, String, String)> {
    let mut actions = Vec::new();
    let mut lines = body.lines();
    while let Some(head) = lines.next() {
        let parsed: Value = serde_json::from_str(head).unwrap();
        let (operation, fields) = parsed.as_object().unwrap().iter().next().unwrap();
        let mut text = format!("{head}\n");
        if operation != "delete" {
            text.push_str(lines.next().unwrap());
            text.push('\n');
        }
        actions.push((operation.clone(), fields["_id"].as_str().unwrap().to_owned(), text));
    }
    actions
}

/// Passes on what is not refused, and puts the refusals into the answer where they belong.
fn refuse_items(
    shared: &Shared,
    asked: &Asked,
    content_type: Option<&str>,
    positions: &[usize],
    item: &Value,
) -> std::io::Result<(u16, String, Vec<u8>)> {
    let actions = actions(&asked.body);
    let passed: String = actions
        .iter()
        .enumerate()
        .filter(|(place, _)| !positions.contains(place))
        .map(|(_, (_, _, text))| text.as_str())
        .collect();
    let mut found = Vec::new();
    let mut product = "x-elastic-product: Elasticsearch\r\n".to_owned();
    if !passed.is_empty() {
        let (status, its_product, body) = pass_on(shared, asked, content_type, passed.into_bytes())?;
        let answered: Value = serde_json::from_slice(&body)?;
        let Some(items) = answered["items"].as_array() else { return Ok((status, its_product, body)) };
        found.clone_from(items);
        product = its_product;
    }
    let mut found = found.into_iter();
    let items: Vec<Value> = actions
        .iter()
        .enumerate()
        .map(|(place, (operation, _, _))| {
            if positions.contains(&place) {
                serde_json::json!({ operation: item })
            } else {
                found.next().unwrap()
            }
        })
        .collect();
    Ok((200, product, serde_json::json!({ "items": items }).to_string().into_bytes()))
}

/// Asks the server; returns its status, the header by which Elasticsearch is known, and the body.
fn pass_on(
    shared: &Shared,
    asked: &Asked,
    content_type: Option<&str>,
    body: Vec<u8>,
) -> std::io::Result<(u16, String, Vec<u8>)> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build();
    let mut request = ureq::http::Request::builder()
        .method(asked.method.as_str())
        .uri(format!("{}{}", shared.upstream, asked.path));
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let request = request.body(body).map_err(std::io::Error::other)?;
    let mut found = ureq::Agent::from(config).run(request).map_err(std::io::Error::other)?;
    let product = match found.headers().get("x-elastic-product") {
        Some(_) => "x-elastic-product: Elasticsearch\r\n".to_owned(),
        None => String::new(),
    };
    let body = found.body_mut().with_config().limit(1 << 30).read_to_vec().map_err(std::io::Error::other)?;
    Ok((found.status().as_u16(), product, body))
}

fn answer(mut stream: &TcpStream, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n", body.len())?;
    stream.write_all(body)
}
