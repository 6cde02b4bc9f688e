//! A receiver of webhooks that does what the test says: it answers, or does not, or goes on without end.

use super::wait_for;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request that came whole.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The number of its connection, from 0.
    pub connection: usize,
}

impl Request {
    /// A header field, by its name in lower case; an empty text where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    pub fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    /// The body as an event.
    pub fn event(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn seq(&self) -> u64 {
        self.event()["seq"].as_u64().unwrap()
    }
}

/// What the receiver does with a request.
pub enum Act {
    /// Sends these octets.
    Say(String),
    /// Sends these octets and closes the connection.
    SayAndClose(String),
    /// Sends these octets, and the second ones again and again, for as long as they are taken.
    Flood(String, &'static str),
    /// The same, one each 20 ms.
    Trickle(String, &'static str),
    /// Nothing, until the other end closes.
    Hang,
}

impl Act {
    pub fn status(status: u16) -> Act {
        Act::Say(format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nok"))
    }
}

type Script = Arc<dyn Fn(&Request, usize) -> Act + Send + Sync>;

/// Its address, and what came.
pub struct Receiver {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    /// `script` is told the request and how many came before it.
    pub fn start(script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static) -> Receiver {
        Receiver::over(script, |stream, work| work(&mut { stream }))
    }

    /// The same inside TLS.
    #[cfg(feature = "tls")]
    pub fn start_tls(
        config: rustls::ServerConfig,
        script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static,
    ) -> Receiver {
        let config = Arc::new(config);
        Receiver::over(script, move |stream, work| {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            work(&mut rustls::StreamOwned::new(connection, stream));
        })
    }

    fn over(
        script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static,
        wrap: impl Fn(TcpStream, &mut dyn FnMut(&mut dyn Stream)) + Send + Sync + 'static,
    ) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let (script, wrap, requests): (Script, _, _) = (Arc::new(script), Arc::new(wrap), receiver.requests.clone());
        let count = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let (script, wrap, requests, count) = (script.clone(), wrap.clone(), requests.clone(), count.clone());
                std::thread::spawn(move || {
                    wrap(stream, &mut |stream| serve(stream, number, &requests, &count, &script));
                });
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.address)
    }

    /// What came until now.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until so many came.
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        wait_for("requests", || Some(self.requests()).filter(|requests| requests.len() >= count))
    }
}

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn serve(
    stream: &mut dyn Stream,
    connection: usize,
    requests: &Mutex<Vec<Request>>,
    count: &AtomicUsize,
    script: &Script,
) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader, connection) {
        let before = count.fetch_add(1, Ordering::SeqCst);
        let act = script(&request, before);
        requests.lock().unwrap().push(request);
        let stream = reader.get_mut();
        let mut say = |text: &str| stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        match act {
            Act::Say(text) => {
                if say(&text).is_err() {
                    return;
                }
            }
            Act::SayAndClose(text) => return drop(say(&text)),
            Act::Flood(text, more) => {
                let block = more.repeat(1_000);
                let _ = say(&text);
                while say(&block).is_ok() {}
                return;
            }
            Act::Trickle(text, more) => {
                let _ = say(&text);
                while say(more).is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return;
            }
            Act::Hang => {
                let _ = reader.read(&mut [0]);
                return;
            }
        }
    }
}

fn read(reader: &mut BufReader<&mut dyn Stream>, connection: usize) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        Some(line.strip_suffix("\r\n")?.to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let field = line()?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(": ").unwrap();
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut request = Request { line: first, headers, body: Vec::new(), connection };
    request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}
