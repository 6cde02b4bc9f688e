//! A server with a certificate, and a client inside TLS that believes it.

use super::{BASIC, Scratch, Server};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::BufReader;
use std::net::TcpStream;
use std::sync::Arc;

/// The client's end of a TLS connection.
pub type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// A server with a certificate for `localhost` and `settings` in `[tls]` and behind it, and what a client needs to
/// believe it.
pub fn server(name: &str, settings: &str) -> (Server, ClientConfig) {
    let scratch = Scratch::new(name);
    let pair = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    fs::write(scratch.path("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(scratch.path("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let tls = "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    fs::write(scratch.path("mailbell.toml"), format!("{BASIC}{tls}{settings}")).unwrap();
    fs::write(scratch.path("users"), "alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\n").unwrap();
    fs::write(scratch.path("aliases"), "").unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(pair.cert.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Server::start_in(scratch, &[]), client)
}

/// TLS over a connection; the handshake comes with the first octets.
pub fn inside(client: &ClientConfig, stream: &TcpStream) -> Stream {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(client.clone()), name).unwrap();
    BufReader::new(StreamOwned::new(connection, stream.try_clone().unwrap()))
}
