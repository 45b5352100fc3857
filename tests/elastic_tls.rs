//! Which certificates are trusted, and which of ours is shown: a server of our own, certificates made here by `openssl`.

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

use pgsluice::client_certificate::ClientCertificateFiles;
use pgsluice::elastic::Client;
use pgsluice::error::Error;
use pgsluice::settings::{Credentials, ElasticSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};

const ROOT: &str = r#"{"version":{"number":"8.16.6"},"tagline":"You Know, for Search"}"#;

/// Makes an authority, and certificates for 127.0.0.1 and for a client signed by it; nothing if there is no `openssl`.
fn make_certificates(folder: &Path) -> Option<()> {
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    for command in [
        &format!("req -x509 {key} -subj /CN=authority -keyout ca.key -out ca.pem"),
        &format!("req -x509 {key} -subj /CN=another -keyout other.key -out other.pem"),
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node -keyout node.key -out node.csr",
        "x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out node.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -keyout client.key -out client.csr",
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out client.pem",
        "ec -in client.key -out client.sec1.key",
        "pkcs8 -topk8 -in client.key -passout pass:secret -out client.locked.key",
        "req -newkey rsa:2048 -nodes -subj /CN=rsa -keyout rsa.key -out rsa.csr",
        "x509 -req -in rsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out rsa.pem",
        "rsa -in rsa.key -traditional -out rsa.pkcs1.key",
    ] {
        let made = Command::new("openssl").args(command.split(' ')).current_dir(folder).output().ok()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    Some(())
}

/// Answers `GET /` on every connection as Elasticsearch does; returns its port.
fn serve(folder: &Path, knows_clients: bool, versions: &[&'static SupportedProtocolVersion]) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let builder =
        rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = if knows_clients {
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder
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
    client_with(node, ca, None).unwrap()
}

fn client_with(
    node: String,
    ca: Option<PathBuf>,
    client_certificate: Option<ClientCertificateFiles>,
) -> Result<Client, Error> {
    Client::new(&ElasticSettings {
        nodes: vec![node],
        credentials: Credentials::None,
        ca,
        client_certificate,
        request_timeout: Duration::from_secs(10),
        gzip: false,
    })
}

#[test]
fn only_the_authority_that_is_named_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    if make_certificates(folder.path()).is_none() {
        println!("left out: there is no openssl");
        return;
    }
    let port = serve(folder.path(), false, rustls::ALL_VERSIONS);
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
fn a_certificate_of_ours_is_shown_to_a_node_that_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    if make_certificates(folder.path()).is_none() {
        println!("left out: there is no openssl");
        return;
    }
    let path = |name: &str| folder.path().join(name);
    let ours = |certificate: &str, key: &str| {
        Some(ClientCertificateFiles {
            certificate: path(certificate),
            key: path(key),
            settings: ["ELASTIC_CLIENT_CERT", "ELASTIC_CLIENT_KEY"],
        })
    };
    let both = [std::fs::read(path("client.pem")).unwrap(), std::fs::read(path("client.key")).unwrap()];
    std::fs::write(path("both.pem"), both.concat()).unwrap();
    for version in [&TLS12, &TLS13] {
        let port = serve(folder.path(), true, &[version]);
        let ask = |certificate: Option<ClientCertificateFiles>| {
            client_with(format!("https://127.0.0.1:{port}"), Some(path("ca.pem")), certificate)
                .and_then(|client| client.server_info())
        };
        // Every form in which a key is written.
        for (certificate, key) in [
            ("client.pem", "client.key"),
            ("client.pem", "client.sec1.key"),
            ("both.pem", "both.pem"),
            ("rsa.pem", "rsa.key"),
            ("rsa.pem", "rsa.pkcs1.key"),
        ] {
            assert_eq!(ask(ours(certificate, key)).unwrap().version, "8.16.6", "{certificate} {key}");
        }
        // None, and one that the node does not trust.
        for certificate in [None, ours("other.pem", "other.key")] {
            let error = ask(certificate).unwrap_err();
            // The node's reason may be lost with the connection, which then looks cut.
            assert!(matches!(error.exit_code(), 2 | 3), "{error:?}");
            assert!(error.story().contains("ELASTIC_CLIENT_CERT"), "{}", error.story());
        }
    }
    // What cannot be used is found out before anything is asked.
    for (certificate, key, texts) in [
        ("client.pem", "other.key", ["does not fit", "ELASTIC_CLIENT_KEY"]),
        ("client.pem", "client.locked.key", ["not encrypted", "ELASTIC_CLIENT_KEY"]),
        ("client.pem", "client.pem", ["there is none in it", "ELASTIC_CLIENT_KEY"]),
        ("client.key", "client.key", ["there is none in it", "ELASTIC_CLIENT_CERT"]),
        ("nowhere.pem", "client.key", ["No such file", "ELASTIC_CLIENT_CERT"]),
    ] {
        let error = client_with("https://127.0.0.1:1".to_owned(), None, ours(certificate, key)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error:?}");
        assert!(texts.iter().all(|text| error.story().contains(text)), "{}", error.story());
    }
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
