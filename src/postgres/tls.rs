//! TLS to PostgreSQL, with libpq's meaning of `sslmode`.
//!
//! `prefer` and `require` encrypt without looking at the certificate, unless a root certificate is given, which makes
//! `require` mean `verify-ca`. `verify-ca` wants a chain to a trusted root, `verify-full` also the host's name.

use std::error::Error as StdError;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::client_certificate::ClientCertificate;
use crate::error::{Error, Result};
use crate::settings::{SourceSettings, SslMode};

/// Makes the TLS connector that the settings ask for.
pub(super) fn connector(settings: &SourceSettings) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let scope = match (settings.ssl_mode, &settings.ssl_root_cert) {
        (SslMode::VerifyFull, _) => Scope::ChainAndName,
        (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Scope::Chain,
        (SslMode::Disable | SslMode::Prefer | SslMode::Require, _) => Scope::Nothing,
    };
    let verifier = Verifier {
        scope,
        chain: chain_verifier(settings, scope, &provider)?,
        provider: Arc::clone(&provider),
    };
    let failed = |error| Error::wrong("cannot set up TLS to PostgreSQL").because(error);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &settings.client_certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let ClientCertificate { chain, key } = ClientCertificate::read(files)?;
            builder.with_client_auth_cert(chain, key).map_err(failed)?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// What to do about a failed verification; nothing if that was not the trouble.
pub(super) fn hint(error: &postgres::Error) -> Option<&'static str> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(source) = cause {
        // A rustls error comes wrapped in an I/O error, whose own source skips it.
        let inner = source.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let found = inner
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .or_else(|| source.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(_)) = found {
            return Some(
                "the server's certificate is not trusted: name its root certificate in PG_DSN__SSLROOTCERT, connect \
                 by the name it was made out to, or lower PG_DSN__SSLMODE",
            );
        }
        cause = source.source();
    }
    None
}

/// How much of the server's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Nothing,
    Chain,
    ChainAndName,
}

fn chain_verifier(
    settings: &SourceSettings,
    scope: Scope,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>> {
    if scope == Scope::Nothing {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    let place = match &settings.ssl_root_cert {
        Some(path) => {
            let place = path.display().to_string();
            let unreadable = || format!("cannot read the root certificate {place}");
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
                .map_err(|error| {
                    Error::wrong(unreadable())
                        .because(error)
                        .hint("PG_DSN__SSLROOTCERT names a readable file with certificates in PEM form")
                })?;
            roots.add_parsable_certificates(certificates);
            place
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "the system's certificate store".to_owned()
        }
    };
    if roots.is_empty() {
        return Err(Error::wrong(format!("{place} holds no root certificate"))
            .hint("name a file with certificates in PEM form in PG_DSN__SSLROOTCERT"));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(Some)
        .map_err(|error| Error::wrong(format!("cannot use the root certificates of {place}")).because(error))
}

/// Verifies as much as its scope says; signatures of the handshake always.
#[derive(Debug)]
struct Verifier {
    scope: Scope,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is verified before the name, so a wrong name means a good chain.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.scope == Scope::Chain => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
