//! How a connection comes to be trusted: TLS, and the login behind it. Counted and logged alike for SMTP and POP3; which
//! words are said about it is theirs.

use crate::net::conn::{Client, Conn, Error};
use crate::sasl::Credentials;
use crate::service::maillog::Line;
use crate::service::{Door, Service};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Shakes hands, with the certificate of this moment.
///
/// # Errors
///
/// When that failed, or a reload has taken the certificate away; the connection is of no use then.
pub fn start_tls(service: &Service, conn: &mut Conn, client: &Client, door: Door) -> Result<(), Error> {
    let Some(config) = service.live().tls.clone() else {
        log::error!("{door}: there is no certificate any more");
        return Err(Error::Closed);
    };
    if let Err(error) = conn.start_tls(&config) {
        service.counters.tls_failures.one();
        log::info!("{door}: TLS handshake with {client} failed: {error}");
        return Err(Error::Closed);
    }
    service.counters.tls_handshakes.one();
    Ok(())
}

/// Waits as long as guessing from there costs, then believes the credentials or not: the user's name, or `None`.
///
/// # Errors
///
/// When the peer left during the wait, or the server stops.
pub fn log_in(
    service: &Service,
    conn: &mut Conn,
    client: &Client,
    door: Door,
    credentials: &Credentials,
    method: &str,
) -> Result<Option<String>, Error> {
    let address = client.ip();
    let delay = service.penalties.delay(address);
    if !delay.is_zero() {
        conn.pause(delay)?;
    }
    let verified = service.verifier.verify(&service.live().accounts, credentials);
    let line = |event: &str| {
        Line::new(event)
            .field("user", verified.as_deref().unwrap_or(credentials.name()))
            .field("client", client)
            .field("door", door)
            .field("method", method)
            .maybe("tls", conn.tls_description())
    };
    if verified.is_some() {
        service.penalties.succeeded(address);
        service.counters.logins.one();
        line("login").info();
    } else {
        service.penalties.failed(address);
        service.counters.login_failures.one();
        line("login-failed").warn();
    }
    Ok(verified)
}

/// What APOP and CRAM-MD5 digest with the secret, without its angle brackets (RFC 1939 section 7, RFC 2195 section 2): never
/// the same twice, and not to be guessed before it is said.
pub fn stamp(hostname: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Relaxed);
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let mut noise = [0; 16];
    // Without noise the stamp is still new.
    let _ = rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty());
    format!("{:x}.{}.{count}.{micros}@{hostname}", u128::from_ne_bytes(noise), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stamp_comes_twice_and_each_is_a_msg_id() {
        let stamps: std::collections::HashSet<String> = (0..1_000).map(|_| stamp("mail.example.org")).collect();
        assert_eq!(stamps.len(), 1_000);
        assert!(stamps.iter().all(|stamp| stamp.ends_with("@mail.example.org") && !stamp.contains(['<', '>', ' '])));
    }
}
