//! TLS and logins: counted and logged in the same way for SMTP and POP3, which answer each in their own words.

use crate::accounts::Turn;
use crate::config::ListenerKind;
use crate::net::conn::{Client, Conn, Error};
use crate::sasl::Credentials;
use crate::service::Service;
use crate::service::maillog::Line;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// The TLS handshake, with the certificate as it is now.
///
/// # Errors
///
/// When it failed, or a reload has removed the certificate. The connection must end then.
// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
pub fn start_tls(service: &Service, conn: &mut Conn, client: &Client, kind: ListenerKind) -> Result<(), Error> {
    let Some(config) = service.live().tls.clone() else {
        log::error!(
            "{kind}: TLS was asked for, but a reload has removed the certificate; set tls.certificate and tls.key"
        );
        return Err(Error::Closed);
    };
    if let Err(error) = conn.start_tls(&config) {
        service.counters.tls_failures.one();
        log::info!("{kind}: TLS handshake with {client} failed: {error}");
        return Err(Error::Closed);
    }
    service.counters.tls_handshakes.one();
    Ok(())
}

/// Waits for the turn of this try, then checks the credentials: the user's name, or `None`.
///
/// # Errors
///
/// When the peer left during the wait, or the session must end.
pub fn log_in(
    service: &Service,
    conn: &mut Conn,
    client: &Client,
    kind: ListenerKind,
    credentials: &Credentials,
    method: &str,
) -> Result<Option<String>, Error> {
    let verified = verify(service, conn, client, credentials)?;
    let counters = &service.counters;
    let (event, counter) = match verified {
        Some(_) => ("login", &counters.logins),
        None => ("login-failed", &counters.login_failures),
    };
    counter.one();
    let line = Line::new(event)
        .field("user", verified.as_deref().unwrap_or(credentials.name()))
        .field("client", client)
        .field("listener", kind)
        .field("method", method)
        .maybe("tls", conn.tls_description());
    if verified.is_some() {
        line.info()
    } else {
        line.warn()
    }
    Ok(verified)
}

// Not inlined: only the memory of a session that waits depends on it.
#[inline(never)]
fn verify(
    service: &Service,
    conn: &mut Conn,
    client: &Client,
    credentials: &Credentials,
) -> Result<Option<String>, Error> {
    let live = service.live();
    let this_try = service.penalties.begin(client.ip(), live.accounts.login_name(credentials.name()));
    let permit = loop {
        match service.penalties.turn(&this_try) {
            Turn::Now(permit) => break permit,
            Turn::In(wait) => conn.pause(wait)?,
        }
    };
    let verified = service.verifier.verify(&service.live().accounts, credentials);
    if verified.is_some() {
        permit.succeeded();
        conn.mark_login();
    }
    Ok(verified)
}

/// What APOP and CRAM-MD5 digest with the secret, without its angle brackets (RFC 1939 section 7, RFC 2195 section 2). It is
/// never the same twice and cannot be guessed.
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
