//! A message given to the running server by SMTP (RFC 5321), by users who may not touch the mail themselves.

use super::{Outcome, own_domain};
use crate::cli::{Failed, exit};
use crate::config::{Config, Place};
use crate::message::dot::encode::{Encoder, LineEnds};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

/// No answer takes longer; the server is on this machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest line of a reply that is read, octets (RFC 5321 section 4.5.3.1.5: 512).
const REPLY_LINE: u64 = 2_048;

/// Sends the message that `read` appends to an empty buffer.
pub fn hand_over(
    config: &Config,
    sender: &str,
    recipients: &[String],
    read: impl FnOnce(&mut Vec<u8>) -> Result<(), Failed>,
) -> Outcome {
    if recipients.is_empty() {
        return Err(Failed::new(exit::USAGE, "no recipient; see --help"));
    }
    let mut message = Vec::new();
    read(&mut message)?;
    if message.len() as u64 > config.smtp.max_message_size {
        return Err(Failed::new(exit::DATA, "message too large"));
    }
    let mut server = Server::connect(config)?;
    let is_ascii = sender.is_ascii() && recipients.iter().all(|recipient| recipient.is_ascii());
    let utf8 = if is_ascii { "" } else { " SMTPUTF8" };
    server.answer(exit::TEMPORARY)?;
    server.say(&format!("EHLO {}", config.hostname), exit::TEMPORARY)?;
    let eight_bit = if message.is_ascii() { "" } else { " BODY=8BITMIME" };
    server.say(&format!("MAIL FROM:<{sender}>{eight_bit}{utf8}"), exit::NO_PERMISSION)?;
    for recipient in recipients {
        let bare = recipient.trim().trim_start_matches('<').trim_end_matches('>');
        let domain = if bare.contains('@') { String::new() } else { format!("@{}", own_domain(config)) };
        server.say(&format!("RCPT TO:<{bare}{domain}>"), exit::NO_USER)?;
    }
    server.say("DATA", exit::TEMPORARY)?;
    let mut lines = Vec::new();
    let mut encoder = Encoder::whole(LineEnds::Lf);
    encoder.encode(&message, &mut lines);
    encoder.finish(&mut lines);
    server.send(&lines)?;
    server.answer(exit::DATA)?;
    // It is stored, whatever becomes of the rest.
    let _ = server.say("QUIT", exit::TEMPORARY);
    Ok(ExitCode::SUCCESS)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Server(BufReader<Box<dyn Stream>>);

impl Server {
    /// Connects to the first of the server's SMTP listeners.
    fn connect(config: &Config) -> Result<Server, Failed> {
        let place = config.smtp.listen.first().ok_or("the server has no SMTP listener".to_owned());
        let connected = place.and_then(|place| {
            let stream: io::Result<Box<dyn Stream>> = match place {
                Place::Tcp(address) => tcp(*address, config).map(|stream| Box::new(stream) as _),
                Place::Unix(path) => UnixStream::connect(path).map(|stream| Box::new(stream) as _),
            };
            stream.map_err(|error| format!("{place}: {error}"))
        });
        let because = |why| format!("the mail is not yours to write, and the server cannot be asked: {why}");
        connected.map(|stream| Server(BufReader::new(stream))).map_err(|why| Failed::new(exit::TEMPORARY, because(why)))
    }

    /// Says a line and waits for the answer.
    fn say(&mut self, line: &str, refused: u8) -> Result<(), Failed> {
        if line.contains(char::is_control) {
            return Err(Failed::new(exit::USAGE, "an address with a control character"));
        }
        self.send(format!("{line}\r\n").as_bytes())?;
        self.answer(refused)
    }

    fn send(&mut self, octets: &[u8]) -> Result<(), Failed> {
        self.0.get_mut().write_all(octets).map_err(lost)
    }

    /// Reads a reply. One that begins with 5 is an error with the exit code `refused`, one with 4 a temporary one.
    fn answer(&mut self, refused: u8) -> Result<(), Failed> {
        loop {
            let mut line = Vec::new();
            self.0.by_ref().take(REPLY_LINE).read_until(b'\n', &mut line).map_err(lost)?;
            let text = String::from_utf8_lossy(&line);
            let code = match line.first() {
                Some(b'2' | b'3') if line.get(3) == Some(&b'-') => continue,
                Some(b'2' | b'3') => return Ok(()),
                // A full mailbox may have room again, as where this command delivers itself.
                Some(b'5') if line.get(4..9) != Some(b"5.2.2") => refused,
                _ => exit::TEMPORARY,
            };
            let said = if line.is_empty() { "it has closed the connection" } else { text.trim_end() };
            return Err(Failed::new(code, format!("the server says: {}", said.escape_debug())));
        }
    }
}

fn tcp(mut address: SocketAddr, config: &Config) -> io::Result<TcpStream> {
    // A listener for every address is on this one, too.
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    if config.is_proxy(stream.local_addr()?.ip()) {
        // Where a proxy stands on this machine, nobody else of it is listened to; without a client it speaks for itself.
        stream.write_all(b"PROXY UNKNOWN\r\n")?;
    }
    Ok(stream)
}

fn lost(error: io::Error) -> Failed {
    Failed::new(exit::TEMPORARY, format!("the server was lost: {error}"))
}
