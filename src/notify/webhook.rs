//! What a `[[webhook]]` does with a record: it sends an HTTP POST. An answer of the class 2xx acknowledges; any other
//! answer, or none within `timeout`, is a failure. Redirects are not followed, no cookie is kept, and no variable of the
//! environment names a proxy.
//!
//! ```text
//! secrets, message, name, connection -> the sandbox -> TLS -> request -> answer -> the connection is kept for the next
//! ```
//!
//! The thread of a try enters the sandbox before the first octet of the server's is looked at; what it needs of files, it
//! has opened before. A server that does not answer, answers slowly, or sends without end holds up its own events and
//! costs one thread; of its answer nothing is kept but the status and Retry-After, and nothing of it is logged.

use super::exchange::{self, Answered, Trouble};
use super::payload::{Body, Payload};
use super::signature;
use super::work::{Outcome, Work};
use super::{Enter, Filter, Retry};
use crate::journal::Record;
use crate::net::remote::conn::{Conn, Signal};
use crate::net::remote::secret::{self, Secret};
use crate::net::remote::tls::{Client, Trust};
use crate::net::remote::url::Url;
use crate::net::remote::{self, dial};
use crate::sys::Wake;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a clean stop waits for an answer before it gives the request up; it is sent again then.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a connection is kept without a request. Many servers keep it for a minute.
const IDLE: Duration = Duration::from_secs(30);

/// Longest wait that Retry-After can ask for.
const AFTER: Duration = Duration::from_secs(86_400);

/// `[[webhook]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSettings {
    /// Its name: of its cursor, and in the log.
    pub name: String,
    /// Where it is sent to.
    pub url: Url,
    /// What is sent.
    pub body: Body,
    /// The file with the key of the signature.
    pub secret_file: Option<PathBuf>,
    /// Further header fields.
    pub headers: Vec<(String, HeaderValue)>,
    /// For the whole request.
    pub timeout: Duration,
    /// How many at once, and how often.
    pub retry: Retry,
    /// No try begins.
    pub is_paused: bool,
    /// Which records.
    pub filter: Filter,
    /// Which certificates are trusted.
    pub trust: Trust,
}

/// The value of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// As it stands in the configuration.
    Text(Secret),
    /// The first line of a file.
    File(PathBuf),
}

impl HeaderValue {
    /// The value as it is now.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or others can read it, or its first line cannot be the value of a field.
    pub fn read(&self) -> Result<Secret, String> {
        let (value, path) = match self {
            HeaderValue::Text(value) => return Ok(value.clone()),
            HeaderValue::File(path) => (secret::read_file(path).map_err(|error| error.to_string())?, path),
        };
        match value.octets().iter().any(u8::is_ascii_control) {
            true => Err(format!("{}: the first line has a control character in it", path.display())),
            false => Ok(value),
        }
    }
}

/// A webhook that is served.
pub(super) struct Webhook {
    label: String,
    settings: WebhookSettings,
    enter: Enter,
    /// Made when it is needed first, and made anew after a failure of TLS: the files may be others then.
    client: Mutex<Option<Client>>,
    /// Connections without a request, and when the last one ended.
    idle: Mutex<Vec<(Conn, Instant)>>,
}

/// What a request says besides what is the same for all of them.
struct Secrets {
    key: Option<signature::Key>,
    headers: Vec<(String, Secret)>,
}

impl Webhook {
    /// With these settings; `enter` takes a thread into the sandbox.
    pub(super) fn new(settings: &WebhookSettings, enter: Enter) -> Webhook {
        let label = format!("webhook {}", settings.name);
        Webhook { label, settings: settings.clone(), enter, client: Mutex::default(), idle: Mutex::default() }
    }

    /// Sends one request.
    fn post(&self, record: &Record, stop: Signal, end: Instant) -> Result<Answered, Trouble> {
        let secrets = self.secrets().map_err(Trouble::Here)?;
        let mut payload =
            Payload::open(self.settings.body, record).map_err(|error| Trouble::Here(error.to_string()))?;
        let (mut conn, is_kept) = self.connect(stop, end)?;
        let sent = (|| {
            if !is_kept && self.settings.url.is_tls {
                let client = self.client().map_err(Trouble::Here)?;
                (self.enter)();
                conn.start_tls(&client, &self.settings.url.host)?;
            } else {
                (self.enter)();
            }
            let head = self.head(record, &secrets, &mut payload).map_err(|error| Trouble::Here(error.to_string()))?;
            exchange::exchange(&mut conn, head, payload, false, is_kept)
        })();
        match &sent {
            Ok(answered) if answered.keeps => lock(&self.idle).push((conn, Instant::now())),
            Ok(_) => conn.close(),
            Err(Trouble::Remote(remote::Error::Certificate(_) | remote::Error::Tls(_))) => *lock(&self.client) = None,
            // The server has closed them all, most likely.
            Err(Trouble::Stale) => lock(&self.idle).clear(),
            Err(_) => {}
        }
        sent
    }

    /// A connection that was kept, or a new one; true for the first.
    fn connect(&self, stop: Signal, end: Instant) -> Result<(Conn, bool), Trouble> {
        loop {
            let kept = lock(&self.idle).pop();
            let Some((mut conn, since)) = kept else { break };
            if since.elapsed() < IDLE && conn.is_quiet() {
                conn.heed(stop);
                conn.end_at(end);
                return Ok((conn, true));
            }
        }
        let url = &self.settings.url;
        let stream = dial::dial_until(&url.host, url.port, false, end)?;
        if stop.is_given() {
            return Err(Trouble::Remote(remote::Error::Interrupted));
        }
        let mut conn = Conn::new(stream, stop).map_err(remote::Error::from)?;
        conn.end_at(end);
        Ok((conn, false))
    }

    fn client(&self) -> Result<Client, String> {
        let mut client = lock(&self.client);
        match &*client {
            Some(client) => Ok(client.clone()),
            None => Ok(client.insert(Client::new(&self.settings.trust)?).clone()),
        }
    }

    fn secrets(&self) -> Result<Secrets, String> {
        let settings = &self.settings;
        let key = settings.secret_file.as_deref().map(signature::Key::read).transpose()?;
        let read = |(name, value): &(String, HeaderValue)| Ok((name.clone(), value.read()?));
        let headers = settings.headers.iter().map(read).collect::<Result<_, String>>()?;
        Ok(Secrets { key, headers })
    }

    /// The request up to its empty line.
    fn head(&self, record: &Record, secrets: &Secrets, payload: &mut Payload) -> std::io::Result<Secret> {
        let id = signature::id(record);
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut mac = secrets.key.as_ref().map(|key| key.begin(&id, timestamp));
        let length = payload.measure(record, |octets| {
            if let Some(mac) = &mut mac {
                mac.add(octets);
            }
        })?;
        let mut fields = format!(
            "Content-Type: {}\r\nContent-Length: {length}\r\nwebhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\n",
            self.settings.body.content_type()
        );
        if let Some(mac) = mac {
            fields += &format!("webhook-signature: {}\r\n", mac.signature());
        }
        Ok(exchange::head("POST", &self.settings.url, &fields, &secrets.headers))
    }

    /// Sends a HEAD, for `mailbell check --online`. Gives the status.
    pub(super) fn probe(&self) -> Result<u16, String> {
        let secrets = self.secrets()?;
        let stop = Signal::new().map_err(|error| error.to_string())?;
        let (mut conn, _) =
            self.connect(stop, Instant::now() + self.settings.timeout).map_err(|trouble| trouble.to_string())?;
        if self.settings.url.is_tls {
            let began = conn.start_tls(&self.client()?, &self.settings.url.host);
            began.map_err(|error| error.to_string())?;
        }
        let head = exchange::head("HEAD", &self.settings.url, "", &secrets.headers);
        let answered = exchange::exchange(&mut conn, head, Payload::empty(), true, false);
        answered.map(|answered| answered.status).map_err(|trouble| trouble.to_string())
    }
}

impl Work for Webhook {
    fn label(&self) -> &str {
        &self.label
    }

    fn try_once(&self, record: &Record, cancel: &Wake) -> Outcome {
        let end = Instant::now() + self.settings.timeout;
        let stop = match cancel.as_fd().try_clone_to_owned() {
            Ok(descriptor) => Signal::of(descriptor),
            Err(error) => return Outcome::failed(error),
        };
        match self.post(record, stop, end) {
            Ok(Answered { status: 200..=299, .. }) => Outcome::Done,
            Ok(Answered { status, after, .. }) => {
                let hint = match status {
                    300..=399 => "; redirects are not followed: write the new address as `url`",
                    _ => "",
                };
                let after = after.map(|after| after.min(AFTER));
                Outcome::Failed { why: format!("answered {status}{hint}"), after }
            }
            Err(Trouble::Stale) => Outcome::Again,
            Err(Trouble::Remote(remote::Error::Interrupted)) => Outcome::Cancelled,
            Err(trouble) => Outcome::failed(trouble),
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn is_quiet(&self) -> bool {
        true
    }

    fn tidy(&self) -> Option<Instant> {
        let mut idle = lock(&self.idle);
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.iter().map(|(_, since)| *since + IDLE).min()
    }
}

/// Sends a HEAD to a webhook's URL, with its header fields, and gives the status of the answer.
///
/// # Errors
///
/// Why there is no answer.
pub fn probe(settings: &WebhookSettings) -> Result<u16, String> {
    Webhook::new(settings, std::sync::Arc::new(|| {})).probe()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
