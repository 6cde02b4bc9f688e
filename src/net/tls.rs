//! TLS for the server's side, by rustls: certificate and key in, octets through.
//!
//! Without the cargo feature `tls` the same names exist and nothing of theirs can be made, so no caller needs a `cfg`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(not(feature = "tls"))]
pub use absent::{Config, Session};
#[cfg(feature = "tls")]
pub use present::{Config, Session};

/// Why a certificate and key do not make a TLS configuration.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// The file holds no certificate, or no private key, in PEM.
    Empty(PathBuf, &'static str),
    /// The file's PEM is damaged.
    Pem(PathBuf, String),
    /// Key and certificate do not belong together, or are of a kind that is not supported.
    Pair(PathBuf, PathBuf, String),
    /// Built without the feature.
    Absent,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Empty(path, what) => write!(f, "{}: holds no {what} in PEM form", path.display()),
            Error::Pem(path, why) => write!(f, "{}: damaged PEM: {why}", path.display()),
            Error::Pair(certificate, key, why) => {
                write!(f, "{} and {}: not usable together: {why}", certificate.display(), key.display())
            }
            Error::Absent => f.write_str("this mailbell was built without TLS (cargo feature `tls`)"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(feature = "tls")]
mod present {
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
    use rustls::{ServerConfig, ServerConnection};
    use std::io::{Read, Write};
    use std::sync::Arc;

    /// A certificate chain and its key, ready for handshakes.
    #[derive(Clone, Debug)]
    pub struct Config(Arc<ServerConfig>);

    impl Config {
        /// Reads a PEM chain (leaf first) and a PEM key.
        ///
        /// # Errors
        ///
        /// Says which file is wrong, and how.
        pub fn load(certificate: &Path, key: &Path) -> Result<Config, Error> {
            let pem = |path: &Path, what, error: pem::Error| match error {
                pem::Error::Io(error) => Error::Read(path.to_owned(), error),
                pem::Error::NoItemsFound => Error::Empty(path.to_owned(), what),
                error => Error::Pem(path.to_owned(), error.to_string()),
            };
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| pem(certificate, "certificate", error))?;
            if chain.is_empty() {
                return Err(Error::Empty(certificate.to_owned(), "certificate"));
            }
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, "private key", error))?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let pair = |error: rustls::Error| Error::Pair(certificate.to_owned(), key.to_owned(), error.to_string());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(pair)?
                .with_no_client_auth()
                .with_single_cert(chain, secret)
                .map_err(pair)?;
            Ok(Config(Arc::new(config)))
        }
    }

    /// The server's end of one TLS connection.
    #[derive(Debug)]
    pub struct Session(ServerConnection);

    fn invalid(error: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}"))
    }

    impl Session {
        /// Before the handshake.
        ///
        /// # Errors
        ///
        /// When rustls refuses the configuration.
        pub fn new(config: &Config) -> io::Result<Session> {
            ServerConnection::new(config.0.clone()).map(Session).map_err(invalid)
        }

        /// True until the handshake is done.
        pub fn is_handshaking(&self) -> bool {
            self.0.is_handshaking() || self.0.wants_write()
        }

        /// One step of the handshake: sends what is due, then waits for the peer's answer where one is due.
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

        /// Clear octets, at least one; 0 at the end. It reads the socket once: `Interrupted` says that what came made no
        /// whole record yet, so that the caller can look at its deadline before it goes on.
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
            let version = match self.0.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLS",
            };
            // rustls names TLS 1.3 suites TLS13_*; the registry (RFC 8446 appendix B.4) says TLS_*.
            let suite = self.0.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
            format!("{version} {}", suite.replacen("TLS13_", "TLS_", 1))
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
            // An end of file is told to rustls too: it knows whether close_notify came before it.
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
