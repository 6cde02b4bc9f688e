//! `[http]`: whether its token can be read by the server, and by nobody else.

use super::Findings;
use crate::server::token;
use crate::sys::Ids;

pub(super) fn check(findings: &mut Findings<'_>, server: Option<Ids>) {
    let config = findings.config;
    if let Some(Err(problem)) = findings.as_server(server, || token::read(config)) {
        findings.wrong("http.token_file", problem);
    }
}
