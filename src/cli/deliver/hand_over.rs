//! A message given to the running server by SMTP (RFC 5321), by users without the rights to write the mail themselves.

use super::Outcome;
use super::options::Notices;
use crate::cli::{Failed, exit};
use crate::config::{Config, Place};
use crate::message::address;
use crate::message::dot::encode::{Encoder, LineEnds};
use crate::server::local;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

/// No answer takes longer; the server is on this machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most lines of a reply that are read.
const REPLY_LINES: usize = 100;

/// Longest line of a reply that is read, octets (RFC 5321 section 4.5.3.1.5: 512).
const REPLY_LINE: u64 = 2_048;

/// Sends the message that `read` appends to an empty buffer.
pub fn hand_over(
    config: &Config,
    sender: &str,
    recipients: &[String],
    asked: &Notices,
    read: impl FnOnce(&mut Vec<u8>) -> Result<(), Failed>,
) -> Outcome {
    if recipients.is_empty() {
        return Err(Failed::new(exit::USAGE, "no recipient; see --help"));
    }
    let recipients = recipients.iter().map(|recipient| path_of(config, recipient)).collect::<Result<Vec<_>, _>>()?;
    let mut message = Vec::new();
    read(&mut message)?;
    if message.len() as u64 > config.smtp.max_message_size {
        return Err(Failed::new(exit::DATA, "message too large"));
    }
    let mut server = Server(BufReader::new(connect(config)?));
    let is_ascii = sender.is_ascii() && recipients.iter().all(|recipient| recipient.is_ascii());
    let utf8 = if is_ascii { "" } else { " SMTPUTF8" };
    server.answer(exit::TEMPORARY)?;
    let extensions = server.say(&format!("EHLO {}", config.hostname), exit::TEMPORARY)?;
    let asked = if extensions.iter().any(|word| word == "DSN") { asked.clone() } else { Notices::default() };
    let eight_bit = if message.is_ascii() { "" } else { " BODY=8BITMIME" };
    let ret = asked.ret.map_or(String::new(), |ret| format!(" RET={}", ret.name()));
    let envid = asked.envid.map_or(String::new(), |id| format!(" ENVID={id}"));
    let notify = if asked.notify.is_given() { format!(" NOTIFY={}", asked.notify) } else { String::new() };
    server.say(&format!("MAIL FROM:<{sender}>{eight_bit}{utf8}{ret}{envid}"), exit::NO_PERMISSION)?;
    for recipient in recipients {
        server.say(&format!("RCPT TO:<{recipient}>{notify}"), exit::NO_USER)?;
    }
    server.say("DATA", exit::TEMPORARY)?;
    let mut lines = Vec::new();
    let mut encoder = Encoder::whole(LineEnds::Lf);
    encoder.encode(&message, &mut lines);
    encoder.finish(&mut lines);
    server.send(&lines)?;
    server.answer(exit::DATA)?;
    // The message is stored; a failure of QUIT changes nothing.
    let _ = server.say("QUIT", exit::TEMPORARY);
    Ok(ExitCode::SUCCESS)
}

/// An address for RCPT. A name alone is a user of this server.
fn path_of(config: &Config, recipient: &str) -> Result<String, Failed> {
    let recipient = recipient.trim();
    let bare = recipient.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(recipient);
    let mailbox = address::mailbox(bare);
    let mailbox =
        mailbox.map_err(|fault| Failed::new(exit::NO_USER, format!("{}: {}", bare.escape_debug(), fault.0)))?;
    let domain = if mailbox.domain.is_some() { String::new() } else { format!("@{}", config.home_domain()) };
    Ok(mailbox.text + &domain)
}

/// Joins standard input and output to the server: what `-bs` says is said to the server.
pub fn dialogue(config: &Config) -> Outcome {
    let mut server = connect(config)?;
    // The program on standard input may take its time: the server's own timeouts hold.
    server.wait_without_limit().map_err(lost)?;
    let mut writer = server.twin().map_err(lost)?;
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut writer);
        // The server answers what was said, and closes.
        let _ = writer.end();
    });
    let (mut block, mut stdout) = ([0; 4_096], io::stdout().lock());
    loop {
        match server.read(&mut block).map_err(lost)? {
            0 => return Ok(ExitCode::SUCCESS),
            length => stdout.write_all(&block[..length]).and_then(|()| stdout.flush()).map_err(lost)?,
        }
    }
}

/// A connection to the server.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn twin(&self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
        }
    }

    fn wait_without_limit(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(None),
            Stream::Unix(stream) => stream.set_read_timeout(None),
        }
    }

    fn end(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(octets),
            Stream::Unix(stream) => stream.read(octets),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(octets),
            Stream::Unix(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Connects to the server's socket for local users, else to the first of its SMTP listeners.
fn connect(config: &Config) -> Result<Stream, Failed> {
    if let Ok(stream) = local::connect(&config.state) {
        let timeouts = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        return timeouts.map(|()| Stream::Unix(stream)).map_err(lost);
    }
    let place = config.smtp.listen.first().ok_or("it has no SMTP listener".to_owned());
    let connected = place.and_then(|place| {
        let stream = match place {
            Place::Tcp(address) => tcp(*address, config).map(Stream::Tcp),
            Place::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        };
        stream.map_err(|error| format!("{place}: {error}"))
    });
    let because = |why| {
        format!("this user may not write the mail, and the server cannot be asked: {why}; is `mailbell serve` running?")
    };
    connected.map_err(|why| Failed::new(exit::TEMPORARY, because(why)))
}

struct Server(BufReader<Stream>);

impl Server {
    /// Says a line and waits for the answer.
    fn say(&mut self, line: &str, refused: u8) -> Result<Vec<String>, Failed> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.answer(refused)
    }

    fn send(&mut self, octets: &[u8]) -> Result<(), Failed> {
        self.0.get_mut().write_all(octets).map_err(lost)
    }

    /// Reads a reply; gives the texts of its lines. One that begins with 5 is an error with the exit code `refused`, one with
    /// 4 a temporary one.
    fn answer(&mut self, refused: u8) -> Result<Vec<String>, Failed> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            self.0.by_ref().take(REPLY_LINE).read_until(b'\n', &mut line).map_err(lost)?;
            let text = String::from_utf8_lossy(&line);
            lines.push(text.get(4..).unwrap_or_default().trim_end().to_owned());
            let code = match line.first() {
                Some(b'2' | b'3') if line.get(3) == Some(&b'-') && lines.len() < REPLY_LINES => continue,
                Some(b'2' | b'3') => return Ok(lines),
                // The sender may not send from this address.
                Some(b'5') if line.starts_with(b"553") => exit::NO_PERMISSION,
                // A full mailbox may have room again, as where this command delivers itself. 530 asks for AUTH, which says
                // nothing about the message: the socket for local users does not ask for it.
                Some(b'5') if line.get(4..9) != Some(b"5.2.2") && !line.starts_with(b"530") => refused,
                _ => exit::TEMPORARY,
            };
            let said = if line.is_empty() { "nothing, and closes the connection" } else { text.trim_end() };
            return Err(Failed::new(code, format!("the server says: {}", said.escape_debug())));
        }
    }
}

/// Connects to a listener of the server on this machine.
pub(in crate::cli) fn tcp(mut address: SocketAddr, config: &Config) -> io::Result<TcpStream> {
    // A listener for every address is on this one, too.
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    if config.is_proxy(stream.local_addr()?.ip()) {
        // A listener that expects a proxy on this machine wants its header; without a client it means this machine.
        stream.write_all(b"PROXY UNKNOWN\r\n")?;
    }
    Ok(stream)
}

fn lost(error: io::Error) -> Failed {
    Failed::new(exit::TEMPORARY, format!("the connection to the server failed: {error}"))
}
