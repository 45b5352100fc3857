//! Which certificates the servers must be vouched for by.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};

/// Makes the TLS configuration: the certificates of the file `ca` alone, or else the system's.
///
/// A system without any (a bare container) gets Mozilla's, which are built in.
pub(crate) fn tls_config(ca: Option<&Path>) -> Result<TlsConfig> {
    let roots = match ca {
        Some(path) => read_ca(path)?,
        None => system_roots(),
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
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
            let error = tls_config(Some(&path)).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let story = error.story();
            assert!(story.contains(expected) && story.contains("ca.pem"), "{story}");
            assert!(story.contains("ELASTIC_CA"), "{story}");
        }
    }
}
