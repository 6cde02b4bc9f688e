//! TLS on the server's side, by rustls: certificate, key, handshake, and the octets inside.
//!
//! Without the cargo feature `tls` the same types exist, and no value of them can be made; so no caller needs a `cfg`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(not(feature = "tls"))]
pub use absent::{Config, Session};
#[cfg(feature = "tls")]
pub(super) use present::description;
#[cfg(feature = "tls")]
pub use present::{Config, Session};

/// Why a certificate and key do not make a TLS configuration.
#[derive(Debug)]
pub enum Error {
    /// A file cannot be used, or the two files do not belong together: the file, what is wrong, and what to do.
    File(PathBuf, String),
    /// Built without the feature.
    Absent,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(path, why) => write!(f, "{}: {why}", path.display()),
            Error::Absent => f.write_str("this mailbell was built without TLS (cargo feature `tls`)"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(feature = "tls")]
mod present {
    use super::*;
    use crate::net::x509::{Certificate, SUPPORTED};
    use crate::sys::read_regular;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{InconsistentKeys, ServerConfig, ServerConnection};
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::time::{SystemTime, UNIX_EPOCH};

    /// Longest file that is read, in octets; no chain and no key is as long.
    const LONGEST: u64 = 1 << 20;

    /// A certificate chain and its key, ready for handshakes.
    #[derive(Clone, Debug)]
    pub struct Config {
        server: Arc<ServerConfig>,
        warning: Option<String>,
        dates: Option<(u64, u64)>,
    }

    impl Config {
        /// Reads a PEM chain (leaf first) and a PEM key.
        ///
        /// # Errors
        ///
        /// Says which file is wrong, and how.
        pub fn load(certificate: &Path, key: &Path) -> Result<Config, Error> {
            let of_certificate = |why: String| Error::File(certificate.to_owned(), why);
            let of_key = |why: String| Error::File(key.to_owned(), why);
            let chain = chain(certificate).map_err(of_certificate)?;
            let leaf = Certificate::look(chain.first().map_or(&[], |leaf| leaf));
            if let Some(fault) = leaf.as_ref().and_then(Certificate::fault) {
                return Err(of_certificate(fault));
            }
            let secret = secret(key).map_err(of_key)?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let signer = provider.key_provider.load_private_key(secret);
            let signer = signer.map_err(|_| of_key(format!("this kind of private key cannot be used; {SUPPORTED}")))?;
            let pair = CertifiedKey::new(chain, signer);
            match pair.keys_match() {
                Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
                Err(rustls::Error::InconsistentKeys(_)) => {
                    let certificate = certificate.display();
                    let why = format!(
                        "this private key does not belong to the first certificate of {certificate}; the server's own \
                         certificate comes first in the chain"
                    );
                    return Err(of_key(why));
                }
                Err(_) => return Err(of_certificate("the first certificate is damaged; get or make it anew".into())),
            }
            let failed = |error: rustls::Error| of_certificate(format!("cannot be used: {error}"));
            let server = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(failed)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let dates = leaf.as_ref().and_then(Certificate::dates);
            let warning = leaf.and_then(|leaf| leaf.date_fault(now));
            Ok(Config { server: Arc::new(server), warning, dates })
        }

        /// When the certificate ends, seconds since 1970.
        pub fn expires(&self) -> Option<u64> {
            self.dates.map(|(_, to)| to)
        }

        /// When it should have been renewed, seconds since 1970: 14 days before its end, or when a third of its time is
        /// left, where that is less.
        pub fn renew_by(&self) -> Option<u64> {
            self.dates.map(|(from, to)| to - (to.saturating_sub(from) / 3).min(14 * 86_400))
        }

        /// Why clients will refuse the certificate, which can be used all the same: its dates.
        pub fn warning(&self) -> Option<&str> {
            self.warning.as_deref()
        }
    }

    fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        let octets = read_regular(path, LONGEST).map_err(|error| error.to_string())?;
        let chain =
            CertificateDer::pem_slice_iter(&octets).collect::<Result<Vec<_>, _>>().map_err(|error| why(&error))?;
        if chain.is_empty() {
            let is_der = Certificate::look(&octets).is_some();
            let hint = if is_der { "; it is in DER form: `openssl x509 -inform der` converts it" } else { "" };
            return Err(format!("holds no certificate in PEM form{hint}"));
        }
        Ok(chain)
    }

    fn secret(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
        let octets = read_regular(path, LONGEST).map_err(|error| error.to_string())?;
        let has = |text: &str| memchr::memmem::find(&octets, text.as_bytes()).is_some();
        // The two forms of encrypted keys: PKCS #8, and the older one of OpenSSL.
        if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
            let decrypt =
                "`openssl pkey -in OLD -out NEW` takes the passphrase off; keep the file readable for the server alone";
            return Err(format!(
                "the private key is encrypted, and a server cannot be asked for a passphrase; {decrypt}"
            ));
        }
        PrivateKeyDer::from_pem_slice(&octets).map_err(|error| match error {
            pem::Error::NoItemsFound => "holds no private key in PEM form".into(),
            error => why(&error),
        })
    }

    fn why(error: &pem::Error) -> String {
        match error {
            pem::Error::MissingSectionEnd { .. } => "damaged PEM: a line `-----END ...-----` is missing".into(),
            pem::Error::IllegalSectionStart { .. } => "damaged PEM: a line `-----BEGIN ...` is not whole".into(),
            pem::Error::Base64Decode(_) => "damaged PEM: a line is not base64".into(),
            _ => "damaged PEM".into(),
        }
    }

    /// Version and cipher of a connection of either side.
    pub fn description(connection: &rustls::CommonState) -> String {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLS",
        };
        // rustls names TLS 1.3 suites TLS13_*; the registry (RFC 8446 appendix B.4) says TLS_*.
        let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        format!("{version} {}", suite.replacen("TLS13_", "TLS_", 1))
    }

    /// The server's end of one TLS connection.
    #[derive(Debug)]
    pub struct Session(ServerConnection);

    fn invalid(error: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}"))
    }

    impl Session {
        /// A session before its handshake.
        ///
        /// # Errors
        ///
        /// When rustls refuses the configuration.
        pub fn new(config: &Config) -> io::Result<Session> {
            ServerConnection::new(config.server.clone()).map(Session).map_err(invalid)
        }

        /// True until the handshake is done.
        pub fn is_handshaking(&self) -> bool {
            self.0.is_handshaking() || self.0.wants_write()
        }

        /// Does one step of the handshake: sends what is due, then waits for the peer's answer where one is due.
        ///
        /// # Errors
        ///
        /// A failed handshake (its alert is sent), or the socket's error.
        pub fn exchange<S: Read + Write>(&mut self, socket: &mut S) -> io::Result<()> {
            self.send(socket)?;
            if self.0.is_handshaking() {
                self.receive(socket)?;
                self.send(socket)?;
            }
            Ok(())
        }

        /// Reads clear octets, at least one; 0 at the end. The socket is read once: `Interrupted` says that no record was
        /// whole yet, so that the caller can look at its deadline before it tries again.
        ///
        /// # Errors
        ///
        /// A damaged record, a connection cut without close_notify, or the socket's error.
        pub fn read<S: Read + Write>(&mut self, socket: &mut S, into: &mut [u8]) -> io::Result<usize> {
            match self.0.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            self.receive(socket)?;
            self.send(socket)?;
            match self.0.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::Interrupted.into()),
                done => done,
            }
        }

        /// Sends all of `octets`.
        ///
        /// # Errors
        ///
        /// The socket's error.
        pub fn write_all<S: Write>(&mut self, socket: &mut S, mut octets: &[u8]) -> io::Result<()> {
            while !octets.is_empty() {
                let count = self.0.writer().write(octets)?;
                octets = &octets[count..];
                self.send(socket)?;
            }
            Ok(())
        }

        /// Sends close_notify.
        pub fn close<S: Write>(&mut self, socket: &mut S) {
            self.0.send_close_notify();
            let _ = self.send(socket);
        }

        /// Version and cipher, for example `TLSv1.3 TLS13_AES_256_GCM_SHA384`.
        pub fn description(&self) -> String {
            description(&self.0)
        }

        fn send<S: Write>(&mut self, socket: &mut S) -> io::Result<()> {
            while self.0.wants_write() {
                if self.0.write_tls(socket)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(())
        }

        fn receive<S: Read + Write>(&mut self, socket: &mut S) -> io::Result<()> {
            // rustls is told of the end too: it knows whether close_notify came before it.
            let count = self.0.read_tls(socket)?;
            if let Err(error) = self.0.process_new_packets() {
                let _ = self.send(socket);
                return Err(invalid(error));
            }
            if count == 0 && self.0.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(())
        }
    }
}

#[cfg(not(feature = "tls"))]
mod absent {
    use super::*;
    use std::convert::Infallible;
    use std::io::{Read, Write};

    /// Cannot be made without the feature.
    #[derive(Clone, Debug)]
    pub struct Config(Infallible);

    impl Config {
        /// Always [`Error::Absent`].
        ///
        /// # Errors
        ///
        /// Always.
        pub fn load(_certificate: &Path, _key: &Path) -> Result<Config, Error> {
            Err(Error::Absent)
        }

        /// Never called.
        pub fn expires(&self) -> Option<u64> {
            match self.0 {}
        }

        /// Never called.
        pub fn renew_by(&self) -> Option<u64> {
            match self.0 {}
        }

        /// Never called.
        pub fn warning(&self) -> Option<&str> {
            match self.0 {}
        }
    }

    /// Cannot be made without the feature.
    #[derive(Debug)]
    pub struct Session(Infallible);

    #[allow(missing_docs, clippy::missing_errors_doc)]
    impl Session {
        pub fn new(config: &Config) -> io::Result<Session> {
            match config.0 {}
        }
        pub fn is_handshaking(&self) -> bool {
            match self.0 {}
        }
        pub fn exchange<S: Read + Write>(&mut self, _socket: &mut S) -> io::Result<()> {
            match self.0 {}
        }
        pub fn read<S: Read + Write>(&mut self, _socket: &mut S, _into: &mut [u8]) -> io::Result<usize> {
            match self.0 {}
        }
        pub fn write_all<S: Write>(&mut self, _socket: &mut S, _octets: &[u8]) -> io::Result<()> {
            match self.0 {}
        }
        pub fn close<S: Write>(&mut self, _socket: &mut S) {
            match self.0 {}
        }
        pub fn description(&self) -> String {
            match self.0 {}
        }
    }
}
