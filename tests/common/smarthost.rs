//! A smarthost that answers as a test wants it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A message that was taken, or an attempt at one.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// MAIL with its parameters.
    pub mail: String,
    /// RCPT with its parameters, those that were accepted.
    pub rcpt: Vec<String>,
    /// As it came, dots removed, LF line ends.
    pub data: String,
    /// The number of the connection, from 0.
    pub connection: usize,
}

/// What the smarthost does instead of its usual answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Says this.
    Say(String),
    /// Closes the connection.
    Close,
    /// Says nothing until the client goes.
    Hang,
    /// Sends octets without a line end for as long as they are taken, a gigabyte at most.
    Flood,
}

type Rule = Box<dyn Fn(&str, usize) -> Option<Answer> + Send + Sync>;

/// One smarthost.
pub struct Smarthost {
    pub port: u16,
    pub ehlo: Mutex<Vec<String>>,
    pub taken: Mutex<Vec<Taken>>,
    /// Every command, without the octets of messages.
    pub commands: Mutex<Vec<String>>,
    pub connections: AtomicUsize,
    rule: Mutex<Rule>,
}

impl Smarthost {
    /// Takes everything.
    pub fn start() -> Arc<Smarthost> {
        Smarthost::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn on(listener: TcpListener) -> Arc<Smarthost> {
        let ehlo = ["PIPELINING", "SIZE 100000000", "8BITMIME"].map(str::to_owned).to_vec();
        let smarthost = Arc::new(Smarthost {
            port: listener.local_addr().unwrap().port(),
            ehlo: Mutex::new(ehlo),
            taken: Mutex::default(),
            commands: Mutex::default(),
            connections: AtomicUsize::new(0),
            rule: Mutex::new(Box::new(|_, _| None)),
        });
        let server = smarthost.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, number) = (server.clone(), server.connections.fetch_add(1, Ordering::SeqCst));
                std::thread::spawn(move || drop(server.session(stream.unwrap(), number)));
            }
        });
        smarthost
    }

    /// Answers by this rule: of a command (`CONNECT` before the greeting, `BODY` after a message) and how many commands with
    /// the same first word came before it on all connections.
    pub fn rule(&self, rule: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// The extensions of EHLO.
    pub fn offer(&self, extensions: &[&str]) {
        *self.ehlo.lock().unwrap() = extensions.iter().map(|each| (*each).to_owned()).collect();
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    pub fn count(&self, word: &str) -> usize {
        self.commands.lock().unwrap().iter().filter(|command| command.starts_with(word)).count()
    }

    fn answer(&self, command: &str) -> Option<Answer> {
        let word = command.split([' ', ':']).next().unwrap_or_default().to_owned();
        let before = self.count(&word);
        self.commands.lock().unwrap().push(command.to_owned());
        (self.rule.lock().unwrap())(command, before)
    }

    fn session(&self, mut stream: TcpStream, connection: usize) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.set_nodelay(true)?;
        let mut input = BufReader::new(stream.try_clone()?);
        let mut message = Taken { connection, ..Taken::default() };
        let mut command = "CONNECT".to_owned();
        let mut usual = "220 smarthost.example ESMTP".to_owned();
        loop {
            let said = match self.answer(&command) {
                None => usual.clone(),
                Some(Answer::Say(text)) => text,
                Some(Answer::Close) => return Ok(()),
                Some(Answer::Flood) => {
                    let block = [b'2'; 65_536];
                    return (0..16_384).try_for_each(|_| stream.write_all(&block));
                }
                Some(Answer::Hang) => return input.read_to_end(&mut Vec::new()).map(drop),
            };
            let is_good = said.starts_with('2');
            if is_good && command == "BODY" {
                self.taken.lock().unwrap().push(message.clone());
            }
            if is_good && command.starts_with("RCPT") {
                message.rcpt.push(command.clone());
            }
            if !said.is_empty() {
                stream.write_all(format!("{said}\r\n").as_bytes())?;
            }
            let upper = command.to_ascii_uppercase();
            if upper.starts_with("QUIT") {
                return Ok(());
            }
            if upper.starts_with("DATA") && said.starts_with("354") {
                message.data.clear();
                loop {
                    let mut line = Vec::new();
                    if input.read_until(b'\n', &mut line)? == 0 {
                        return Ok(());
                    }
                    assert!(line.ends_with(b"\r\n"), "a line end that is none: {}", line.escape_ascii());
                    let line = String::from_utf8_lossy(&line).replace("\r\n", "\n");
                    if line == ".\n" {
                        break;
                    }
                    message.data += line.strip_prefix('.').unwrap_or(&line);
                }
                (command, usual) = ("BODY".into(), "250 2.0.0 queued".into());
                continue;
            }
            command.clear();
            if input.read_line(&mut command)? == 0 {
                return Ok(());
            }
            command = command.trim_end().to_owned();
            let upper = command.to_ascii_uppercase();
            usual = if upper.starts_with("EHLO") {
                let mut lines = vec!["smarthost.example".to_owned()];
                lines.extend(self.ehlo.lock().unwrap().iter().cloned());
                let last = lines.len() - 1;
                let form =
                    |(index, line): (usize, &String)| format!("250{}{line}", if index == last { ' ' } else { '-' });
                lines.iter().enumerate().map(form).collect::<Vec<_>>().join("\r\n")
            } else if upper.starts_with("MAIL") {
                message = Taken { mail: command.clone(), connection, ..Taken::default() };
                "250 2.1.0 ok".into()
            } else if upper.starts_with("DATA") {
                "354 go on".into()
            } else if let Some(size) = upper.strip_prefix("BDAT ") {
                let size: usize = size.split(' ').next().unwrap().parse().unwrap();
                let mut octets = vec![0; size];
                input.read_exact(&mut octets)?;
                message.data = String::from_utf8_lossy(&octets).replace("\r\n", "\n");
                command = "BODY".into();
                "250 2.0.0 queued".into()
            } else if upper.starts_with("AUTH") {
                "235 2.7.0 ok".into()
            } else if upper.starts_with("QUIT") {
                "221 bye".into()
            } else {
                "250 2.0.0 ok".into()
            };
        }
    }
}

/// TLS before a smarthost: by STARTTLS, or from the first octet. `certificate` and `key` are PEM.
pub fn behind_tls(port: u16, starttls: bool, certificate: &str, key: &str) -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let config = config.clone();
            std::thread::spawn(move || drop(pump(stream.unwrap(), port, starttls, config)));
        }
    });
    front
}

fn pump(mut stream: TcpStream, port: u16, starttls: bool, config: Arc<rustls::ServerConfig>) -> std::io::Result<()> {
    let mut inner = TcpStream::connect(("127.0.0.1", port))?;
    if starttls {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        stream.write_all(b"220 front\r\n")?;
        for answer in ["250-front\r\n250 STARTTLS\r\n", "220 go\r\n"] {
            lines.next().transpose()?;
            stream.write_all(answer.as_bytes())?;
        }
        // The greeting was said already.
        let mut octet = [0];
        while octet[0] != b'\n' {
            inner.read_exact(&mut octet)?;
        }
    }
    let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
    let soon = Some(Duration::from_millis(10));
    tls.sock.set_read_timeout(soon)?;
    inner.set_read_timeout(soon)?;
    let mut block = [0; 16_384];
    loop {
        for from_client in [true, false] {
            let read = if from_client { tls.read(&mut block) } else { inner.read(&mut block) };
            match read {
                Ok(0) => return Ok(()),
                Ok(count) if from_client => inner.write_all(&block[..count])?,
                Ok(count) => tls.write_all(&block[..count])?,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
    }
}
