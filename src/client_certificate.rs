//! A certificate of ours with its key, by which a server knows us in the TLS handshake.
//!
//! Both are read and tried together before a connection is opened: what is wrong is one clear error that names the file.

use std::path::PathBuf;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::{Error, Result};

/// Where a certificate of ours and its key are written, both in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificateFiles {
    /// The file of the certificate, followed by those between it and its authority.
    pub certificate: PathBuf,
    /// The file of its private key, which may be the same.
    pub key: PathBuf,
    /// The settings that name them, for messages.
    pub settings: [&'static str; 2],
}

/// A certificate of ours with its key, which belong together.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// The certificate and those that lead to its authority.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub(crate) key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// Reads both files and tries whether the key is that of the certificate.
    pub(crate) fn read(files: &ClientCertificateFiles) -> Result<Self> {
        let ClientCertificateFiles { certificate, key, settings: [certificate_setting, key_setting] } = files;
        let chain_wrong = |text: String| {
            Error::wrong(text)
                .hint(format!("{certificate_setting} names a PEM file that begins with our certificate"))
        };
        let key_wrong = |text: String| {
            Error::wrong(text).hint(format!(
                "{key_setting} names a PEM file with the private key of that certificate, not encrypted"
            ))
        };
        let attempt = format!("cannot read the certificate {}", certificate.display());
        let text = std::fs::read(certificate).map_err(|error| chain_wrong(attempt.clone()).because(error))?;
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| chain_wrong(attempt.clone()).because(error))?;
        if chain.is_empty() {
            return Err(chain_wrong(format!("{attempt}: there is none in it")));
        }
        let attempt = format!("cannot read the private key {}", key.display());
        let text = std::fs::read(key).map_err(|error| key_wrong(attempt.clone()).because(error))?;
        let private_key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            PemError::NoItemsFound => {
                key_wrong(format!("{attempt}: there is none in it that is not encrypted"))
            }
            error => key_wrong(attempt.clone()).because(error),
        })?;
        // The connection itself would only fail at its first handshake, and ureq by a panic.
        CertifiedKey::from_der(chain.clone(), private_key.clone_key(), &default_provider()).map_err(
            |error| {
                key_wrong(format!("the private key {} does not fit {}", key.display(), certificate.display()))
                    .because(error)
            },
        )?;
        Ok(Self { chain, key: private_key })
    }
}
