//! What `[http]` serves to whom. A host that is not ours and a page of another site get nothing; the page itself is for
//! everybody, the rest for clients with the token.

use super::{Answer, Driver, page, query};
use crate::config::Domains;
use crate::http::{Refusal, Request, is_foreign};
use crate::net::conn::Error;
use crate::service::maillog::Line;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a client with a wrong token waits.
const WRONG_TOKEN: Duration = Duration::from_secs(1);

impl Driver<'_> {
    /// What a request to `[http]` gets.
    pub(super) fn route(&mut self, request: &Request) -> Result<Answer, Error> {
        if let Some(refusal) = self.elsewhere(request) {
            return Ok(Answer::Refuse(refusal));
        }
        if let Some((content_type, body, more)) = page::file(&request.path) {
            return Ok(Answer::Body(content_type, body.to_owned(), more));
        }
        if !matches!(request.path.as_str(), "/events" | "/status" | "/metrics") {
            return Ok(Answer::Refuse(Refusal::new(404, "there are /, /events, /status and /metrics")));
        }
        if let Some(refusal) = self.stranger(request)? {
            return Ok(Answer::Refuse(refusal));
        }
        Ok(match request.path.as_str() {
            "/events" => query::wanted(request).map_or_else(Answer::Refuse, Answer::Stream),
            "/status" => Answer::Body("application/json", (self.reports.status)(self.service) + "\n", ""),
            _ => self.metrics(),
        })
    }

    /// Why a request is refused whatever it asks for: its host is not ours, or a page of another site asks.
    fn elsewhere(&self, request: &Request) -> Option<Refusal> {
        let config = &self.service.config;
        let domains: &[String] = match &config.domains {
            Domains::These(domains) => domains,
            Domains::Any => &[],
        };
        let mut names = std::iter::once(&config.hostname).chain(domains).map(String::as_str);
        match &request.host {
            Some(host) if !host.is_ours(&mut names, self.conn.local_ip()) => {
                let why = format!(
                    "this server is not {host}; use an address of loopback, or a name in `hostname` or `domains` of its \
                     configuration"
                );
                Some(Refusal::new(421, why))
            }
            _ if is_foreign(request, request.path == "/") => {
                Some(Refusal::new(403, "a page of another site asks for this"))
            }
            _ => None,
        }
    }

    /// Why the client may not read: it has no token, or a wrong one.
    fn stranger(&mut self, request: &Request) -> Result<Option<Refusal>, Error> {
        let live = self.service.live();
        let Some(token) = &live.http_token else { return Ok(None) };
        let Some(authorization) = &request.authorization else {
            return Ok(Some(Refusal::new(401, "send the token of `http.token_file`: Authorization: Bearer TOKEN")));
        };
        let given = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given = given.map_or("", |(_, token)| token.trim_start());
        if is_same(token.octets(), given.as_bytes()) {
            self.conn.mark_login();
            return Ok(None);
        }
        self.service.counters.login_failures.one();
        let line = Line::new("login-failed");
        line.field("client", self.client).field("listener", self.kind).field("method", "BEARER").warn();
        // Guessing takes time, and a place.
        self.conn.pause(WRONG_TOKEN)?;
        Ok(Some(Refusal::new(401, "this is not the token of `http.token_file`")))
    }
}

/// Compares digests, so that the time that it takes tells nothing of the token.
fn is_same(ours: &[u8], given: &[u8]) -> bool {
    Sha256::digest(ours) == Sha256::digest(given)
}
