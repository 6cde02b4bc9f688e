use super::*;
use crate::net::remote::tls::{Trust, fingerprint, parse_fingerprint};
use crate::net::tls as server;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::{JoinHandle, spawn};

const LONG: Duration = Duration::from_secs(60);

fn soon() -> Instant {
    Instant::now() + LONG
}

/// A server of one connection.
fn serve(act: impl FnOnce(TcpStream) + Send + 'static) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, spawn(move || act(listener.accept().unwrap().0)))
}

fn client(port: u16) -> Conn {
    connect("127.0.0.1", port, None, true, &Signal::new().unwrap()).unwrap()
}

/// A certificate for 127.0.0.1 and its key in files, the CA's certificate in a third.
struct Pki {
    folder: PathBuf,
    leaf: Vec<u8>,
}

impl Pki {
    fn new(name: &str) -> Pki {
        let folder = std::env::temp_dir().join(format!("mailbell-pki-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        // As Proton Bridge's: a CA that is its own server.
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        Pki { folder, leaf: certificate.der().to_vec() }
    }

    /// Serves TLS, says `hello` in it, then waits for the end.
    fn serve(&self) -> (u16, JoinHandle<()>) {
        let config = server::Config::load(&self.folder.join("cert.pem"), &self.folder.join("key.pem")).unwrap();
        serve(move |mut stream| {
            let mut session = server::Session::new(&config).unwrap();
            while session.is_handshaking() {
                if session.exchange(&mut stream).is_err() {
                    return;
                }
            }
            session.write_all(&mut stream, b"hello\r\n").unwrap();
            let mut octets = [0; 100];
            while let Err(error) = session.read(&mut stream, &mut octets) {
                if error.kind() != io::ErrorKind::Interrupted {
                    return;
                }
            }
            session.write_all(&mut stream, &octets[..5]).unwrap();
            session.close(&mut stream);
        })
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn lines_are_bounded_and_have_deadlines() {
    let (port, server) = serve(|mut stream| {
        stream.write_all(b"one\r\ntwo\nthree").unwrap();
        let mut octets = [0; 4];
        stream.read_exact(&mut octets).unwrap();
        stream.write_all(&[b'x'; 100]).unwrap();
        stream.write_all(b"\r\nlast\r\n").unwrap();
    });
    let mut conn = client(port);
    assert_eq!(conn.line(50, soon(), "a line", &[]).unwrap(), Some(&b"one"[..]));
    assert_eq!(conn.line(50, soon(), "a line", &[]).unwrap(), Some(&b"two"[..]));
    let late = conn.line(50, Instant::now(), "a line", &[]);
    assert!(matches!(late, Err(Error::Timeout("a line"))), "{late:?}");
    conn.send(b"go!\n").unwrap();
    assert_eq!(conn.line(50, soon(), "a line", &[]).unwrap(), None);
    assert_eq!(conn.line(50, soon(), "a line", &[]).unwrap(), Some(&b"last"[..]));
    let end = conn.line(50, soon(), "a line", &[]).map(|line| line.map(<[u8]>::to_vec));
    assert!(matches!(end, Err(Error::Closed)), "{end:?}");
    server.join().unwrap();
}

#[test]
fn a_wait_is_interrupted() {
    let (port, server) = serve(|mut stream| {
        let _ = stream.read(&mut [0; 10]);
    });
    let mut conn = client(port);
    let look = Signal::new().unwrap();
    let from_outside = look.clone();
    let giver = spawn(move || from_outside.give());
    assert!(matches!(conn.line(50, soon(), "a line", &[&look]), Err(Error::Interrupted)));
    assert!(look.is_given() && look.take() && !look.take());
    giver.join().unwrap();
    conn.stop.give();
    assert!(matches!(conn.line(50, soon(), "a line", &[]), Err(Error::Interrupted)));
    drop(conn);
    server.join().unwrap();
}

#[test]
fn tls_by_a_ca_or_a_fingerprint_and_not_without() {
    let pki = Pki::new("trust");
    let trusted = fingerprint(&pki.leaf);
    let text = crate::net::remote::tls::hexadecimal(&trusted);
    assert_eq!(parse_fingerprint(&text.to_uppercase()), Some(trusted));
    let say_hello = |trust: Trust| -> Result<(), Error> {
        let (port, server) = pki.serve();
        let outcome = (|| {
            let client = Client::new(&trust).unwrap();
            let mut conn = connect("127.0.0.1", port, Some(&client), true, &Signal::new().unwrap())?;
            assert_eq!(conn.line(50, soon(), "a line", &[])?, Some(&b"hello"[..]));
            assert!(conn.tls_description().unwrap().starts_with("TLSv1.3 TLS_"));
            assert_eq!(conn.fingerprint(), Some(trusted));
            conn.send(b"echo\n")?;
            assert_eq!(conn.line(50, soon(), "a line", &[])?, Some(&b"echo"[..]));
            let end = conn.line(50, soon(), "a line", &[]).map(|line| line.map(<[u8]>::to_vec));
            assert!(matches!(end, Err(Error::Closed)), "{end:?}");
            Ok(())
        })();
        server.join().unwrap();
        outcome
    };
    say_hello(Trust::Fingerprints(vec![[0; 32], trusted])).unwrap();
    match say_hello(Trust::Fingerprints(vec![[0; 32]])) {
        Err(Error::Certificate(why)) => assert!(why.contains(&text), "{why}"),
        other => panic!("{other:?}"),
    }
    // rustls refuses a CA's own certificate even where it is the root.
    let by_file = say_hello(Trust::File(pki.folder.join("cert.pem")));
    assert!(matches!(by_file, Err(Error::Certificate(_))), "{by_file:?}");
    assert!(Client::new(&Trust::File(pki.folder.join("key.pem"))).is_err());
    assert!(Client::new(&Trust::File(pki.folder.join("none.pem"))).is_err());
    assert!(parse_fingerprint("ab").is_none() && parse_fingerprint(&"g".repeat(64)).is_none());
}
