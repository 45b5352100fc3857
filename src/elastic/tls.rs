//! Which certificates the servers must be vouched for by.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::client_certificate::{ClientCertificate, ClientCertificateFiles};
use crate::error::{Error, Result};

/// Makes the TLS configuration: the certificates of the file `ca` alone, or else the system's, and ours if there is one.
///
/// A system without any (a bare container) gets Mozilla's, which are built in.
pub(crate) fn tls_config(ca: Option<&Path>, ours: Option<&ClientCertificateFiles>) -> Result<TlsConfig> {
    let roots = match ca {
        Some(path) => read_ca(path)?,
        None => system_roots(),
    };
    let ours = ours.map(ClientCertificate::read).transpose()?;
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .client_cert(ours.as_ref().map(in_words_of_ureq).transpose()?)
        .build())
}

fn in_words_of_ureq(ours: &ClientCertificate) -> Result<ClientCert> {
    let chain: Vec<_> =
        ours.chain.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let label = match &ours.key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    // As text, since ureq does not let others name the kind of a binary key.
    let body = STANDARD.encode(ours.key.secret_der());
    let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let key = PrivateKey::from_pem(text.as_bytes())
        .map_err(|error| Error::wrong("cannot use our private key").because(error))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn system_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::debug!("a certificate of the system was passed over: {error}");
    }
    if found.certs.is_empty() {
        return RootCerts::WebPki;
    }
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).into()
}

fn read_ca(path: &Path) -> Result<RootCerts> {
    const CURE: &str = "ELASTIC_CA names a PEM file of the certificates that signed the servers' own";
    let attempt = || format!("cannot read the certificates of {}", path.display());
    let text = std::fs::read(path).map_err(|error| Error::wrong(attempt()).because(error).hint(CURE))?;
    let mut certificates = Vec::new();
    let mut store = RootCertStore::empty();
    for item in parse_pem(&text) {
        let item = item.map_err(|error| Error::wrong(attempt()).because(error).hint(CURE))?;
        if let PemItem::Certificate(certificate) = item {
            // ureq passes over what is no certificate; here it is an error while the file's name is known.
            store
                .add(CertificateDer::from(certificate.der()))
                .map_err(|error| Error::wrong(attempt()).because(error).hint(CURE))?;
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(Error::wrong(format!("{}: there is no certificate in it", attempt())).hint(CURE));
    }
    Ok(certificates.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_one_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for (text, expected) in [
            (None, "No such file"),
            (Some("hello"), "there is no certificate in it"),
            (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "ertificate"),
            (Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "ca.pem"),
        ] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = tls_config(Some(&path), None).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let story = error.story();
            assert!(story.contains(expected) && story.contains("ca.pem"), "{story}");
            assert!(story.contains("ELASTIC_CA"), "{story}");
        }
    }
}
