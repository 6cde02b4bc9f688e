//! A client of the server on this machine: lines to it, replies from it. SMTP (RFC 5321 section 4.2) and POP3 (RFC 1939
//! section 3).

use crate::cli::deliver::tcp;
use crate::config::Config;
use crate::server::local;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Longest line of a reply, octets.
const LINE: u64 = 4_096;

/// Most lines of a reply.
const LINES: usize = 100_000;

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// A connection.
pub struct Talk(BufReader<Box<dyn Stream>>);

impl Talk {
    /// To a listener.
    pub fn tcp(address: SocketAddr, config: &Config, patience: Duration) -> io::Result<Talk> {
        let stream = tcp(address, config)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Talk(BufReader::new(Box::new(stream))))
    }

    /// To the socket for local users.
    pub fn local(config: &Config, patience: Duration) -> io::Result<Talk> {
        let stream = local::connect(&config.state)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Talk(BufReader::new(Box::new(stream))))
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(octets)
    }

    /// Sends a command of SMTP and reads the last line of the reply.
    pub fn smtp(&mut self, command: &str) -> io::Result<String> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// The last line of a reply of SMTP.
    pub fn reply(&mut self) -> io::Result<String> {
        for _ in 0..LINES {
            let line = self.line()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
        Err(io::Error::other("the reply has no end"))
    }

    /// Sends a command of POP3 and reads the reply's line; `Err` is what the server refused it with.
    pub fn pop3(&mut self, command: &str) -> io::Result<Result<String, String>> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.status()
    }

    /// The first line of a reply of POP3.
    pub fn status(&mut self) -> io::Result<Result<String, String>> {
        let line = self.line()?;
        Ok(if line.starts_with("+OK") { Ok(line) } else { Err(line) })
    }

    /// The further lines of a reply of POP3.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        while lines.len() < LINES {
            match self.line()? {
                line if line == "." => return Ok(lines),
                line => lines.push(line),
            }
        }
        Err(io::Error::other("the reply has no end"))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        match String::from_utf8_lossy(&line).strip_suffix('\n') {
            Some(line) => Ok(line.trim_end().to_owned()),
            None if line.is_empty() => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"))
            }
            None => Err(io::Error::other("the server's line has no end")),
        }
    }
}
