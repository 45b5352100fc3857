//! Which certificates are trusted: a server of our own with a certificate made here by `openssl`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it leaves out, and fails by panic"
)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pgsluice::elastic::Client;
use pgsluice::settings::{Credentials, ElasticSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const ROOT: &str = r#"{"version":{"number":"8.16.6"},"tagline":"You Know, for Search"}"#;

/// Makes an authority, and a certificate for 127.0.0.1 signed by it; nothing if there is no `openssl`.
fn make_certificates(folder: &Path) -> Option<()> {
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    for command in [
        &format!("req -x509 {key} -subj /CN=authority -keyout ca.key -out ca.pem"),
        &format!("req -x509 {key} -subj /CN=another -keyout other.key -out other.pem"),
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node -keyout node.key -out node.csr",
        "x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out node.pem",
    ] {
        let made = Command::new("openssl").args(command.split(' ')).current_dir(folder).output().ok()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    Some(())
}

/// Answers `GET /` on every connection as Elasticsearch does; returns its port.
fn serve(folder: &Path) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(folder.join("node.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(folder.join("node.key")).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
                request.push(byte[0]);
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ROOT}", ROOT.len());
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.flush();
        }
    });
    port
}

fn client(node: String, ca: Option<PathBuf>) -> Client {
    Client::new(&ElasticSettings {
        nodes: vec![node],
        credentials: Credentials::None,
        ca,
        request_timeout: Duration::from_secs(10),
    })
    .unwrap()
}

#[test]
fn only_the_authority_that_is_named_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    if make_certificates(folder.path()).is_none() {
        println!("left out: there is no openssl");
        return;
    }
    let port = serve(folder.path());
    let ca = |name: &str| Some(folder.path().join(name));
    let node = format!("https://127.0.0.1:{port}");

    assert_eq!(client(node.clone(), ca("ca.pem")).server_info().unwrap().version, "8.16.6");

    for untrusting in [None, ca("other.pem")] {
        let error = client(node.clone(), untrusting).server_info().unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error:?}");
        assert!(error.story().contains("ELASTIC_CA"), "{error:?}");
    }

    // The certificate is for the address, not for this name.
    let error = client(format!("https://localhost:{port}"), ca("ca.pem")).server_info().unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error:?}");
}

#[test]
fn a_node_without_tls_is_told_from_one_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let error = client(format!("https://127.0.0.1:{port}"), None).server_info().unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error:?}");
    assert!(error.story().contains("http://"), "{error:?}");
}
