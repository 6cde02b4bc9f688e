//! TLS for the client's side, by rustls: the system's roots, an own CA, or the certificate's fingerprint.

use super::Error;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep their roots: Debian and Alpine, Red Hat, SUSE, BSD.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

/// Which certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system's roots vouch for.
    System,
    /// Those that the certificates of this PEM file vouch for.
    File(PathBuf),
    /// These and no other; nothing else of them is checked.
    Fingerprints(Vec<Fingerprint>),
}

/// Settings for handshakes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Reads what `trust` names.
    ///
    /// # Errors
    ///
    /// Says which file is wrong, or which package has the system's roots.
    pub fn new(trust: &Trust) -> Result<Client, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let by_roots = |roots: RootCertStore| {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map(Trusted::ByRoots)
                .map_err(|error| error.to_string())
        };
        let trusted = match trust {
            Trust::System => by_roots(roots(&system_roots_file()?)?)?,
            Trust::File(path) => by_roots(roots(path)?)?,
            Trust::Fingerprints(trusted) => Trusted::ByFingerprint(trusted.clone()),
        };
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { trusted, provider }))
            .with_no_client_auth();
        Ok(Client(Arc::new(config)))
    }
}

/// The file that the system's roots are read from.
///
/// # Errors
///
/// Names the package that is missing.
pub fn system_roots_file() -> Result<PathBuf, String> {
    if let Some(file) = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()) {
        return Ok(file.into());
    }
    let found = ROOTS.iter().map(Path::new).find(|path| path.is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        "this system has no root certificates: install the package ca-certificates, or set `ca` or `fingerprint`".into()
    })
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let said = |error: pem::Error| format!("{}: {error}", path.display());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(said)? {
        // One root of a kind that is not supported is no reason to do without the others.
        let _ = store.add(certificate.map_err(said)?);
    }
    if store.is_empty() {
        return Err(format!("{}: holds no certificate in PEM form that can be a root", path.display()));
    }
    Ok(store)
}

/// The fingerprint of a certificate.
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// As hexadecimal digits.
pub fn hexadecimal(fingerprint: &Fingerprint) -> String {
    fingerprint.iter().fold(String::with_capacity(64), |mut text, octet| {
        // unwrap: writing to a string cannot fail.
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

/// Reads 64 hexadecimal digits, in any case, with colons or blanks between them as other programs print them.
pub fn parse_fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: Vec<u8> = text.bytes().filter(|octet| !matches!(octet, b':' | b' ')).collect();
    let mut fingerprint = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (octet, pair) in fingerprint.iter_mut().zip(digits.as_chunks::<2>().0) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(fingerprint)
}

/// Why a certificate is not trusted, where the library has only the name of its own error.
fn words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "no CA that is trusted here has signed it".into(),
        CertificateError::Other(error) if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            "it has signed itself, as that of a CA does".into()
        }
        other => other.to_string(),
    }
}

/// What makes a certificate trusted.
#[derive(Debug)]
enum Trusted {
    ByRoots(Arc<WebPkiServerVerifier>),
    /// By its SHA-256. That the server has the certificate's key is still checked, by the signature of the handshake.
    ByFingerprint(Vec<Fingerprint>),
}

/// Says with every refusal which certificate came, so that its fingerprint can be compared and trusted.
#[derive(Debug)]
struct Verifier {
    trusted: Trusted,
    provider: Arc<CryptoProvider>,
}

/// A certificate that was not trusted.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let came = fingerprint(end_entity);
        let why = match &self.trusted {
            Trusted::ByFingerprint(trusted) if trusted.contains(&came) => return Ok(ServerCertVerified::assertion()),
            Trusted::ByFingerprint(_) => "it is none of `fingerprint`".to_owned(),
            Trusted::ByRoots(roots) => {
                match roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Err(rustls::Error::InvalidCertificate(why)) => words(&why),
                    other => return other,
                }
            }
        };
        let refused = Refused(format!("{why}; the fingerprint that came is {}", hexadecimal(&came)));
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The client's end of one TLS connection.
#[derive(Debug)]
pub struct Session(ClientConnection);

impl Session {
    /// Before the handshake.
    ///
    /// # Errors
    ///
    /// When the host's name cannot be in a certificate.
    pub fn new(client: &Client, host: &str) -> Result<Session, Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Error::Tls(format!("{host}: {error}")))?;
        let mut connection = ClientConnection::new(client.0.clone(), name).map_err(|error| failed(&error))?;
        // What waits to be sent is bounded by what the caller gives at once.
        connection.set_buffer_limit(Some(64 * 1024));
        Ok(Session(connection))
    }

    /// True until the handshake is done.
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Whether there is something to send.
    pub fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    /// Sends what is due, as far as the socket takes it.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn send(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.0.wants_write() {
            if self.0.write_tls(socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Reads the socket once.
    ///
    /// # Errors
    ///
    /// The socket's, a certificate that is not trusted, or damaged records.
    pub fn receive(&mut self, socket: &mut impl Read) -> Result<(), Error> {
        let count = self.0.read_tls(socket)?;
        self.0.process_new_packets().map_err(|error| failed(&error))?;
        if count == 0 && self.0.is_handshaking() {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Clear octets that have come; `None` when there are none yet, 0 at the end.
    ///
    /// # Errors
    ///
    /// A connection cut without close_notify.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.reader().read(into) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes some of `octets` to be sent, and says how many.
    ///
    /// # Errors
    ///
    /// Never in practice; the type of `Write`.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.writer().write(octets)
    }

    /// Says that nothing follows.
    pub fn close(&mut self) {
        self.0.send_close_notify();
    }

    /// The fingerprint of the server's certificate, after the handshake.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.0.peer_certificates().and_then(|chain| chain.first()).map(|first| fingerprint(first))
    }

    /// Version and cipher, for example `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub fn description(&self) -> String {
        crate::net::tls::description(&self.0)
    }
}

fn failed(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(why)) => Error::Certificate(why.0.to_string()),
        rustls::Error::InvalidCertificate(why) => Error::Certificate(why.to_string()),
        error => Error::Tls(error.to_string()),
    }
}
