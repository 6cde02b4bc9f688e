//! What would let strangers send mail to others through this server, or come close to that.

use super::Findings;
use crate::config::{AuthPolicy, Domains, Place};

/// Warns of it, where mail is sent to others.
pub(super) fn check(findings: &mut Findings<'_>) {
    let config = findings.config;
    if !config.relays() {
        return;
    }
    if config.domains == Domains::Any {
        findings.doubtful(
            "domains",
            "\"*\" takes every address for a user here, so nothing goes to the relay; name the domains",
        );
    }
    for (index, name) in config.any_sender.iter().enumerate() {
        if name == "*" {
            let message = "\"*\" lets every user send to others in the name of any person; name the users that need it";
            findings.doubtful(&format!("submission.any_sender[{index}]"), message);
        }
    }
    for (index, network) in config.proxy_trusted.iter().enumerate() {
        if network.bits == 0 {
            let message = format!(
                "{network} is every address: any client can claim to come from any other one, and neither limits nor \
                 fail2ban see the true one; name the proxies alone"
            );
            findings.doubtful(&format!("proxy.trusted[{index}]"), message);
        }
    }
    if !config.tls.required_for_auth {
        findings.doubtful(
            "tls.required_for_auth",
            "false lets clients send passwords in clear, and with a password that was overheard strangers send to others",
        );
    }
    if config.limits.penalty_exempt.iter().any(|network| network.bits == 0) {
        findings.doubtful(
            "limits.penalty_exempt",
            "all addresses may guess passwords without delay, and with a password strangers send to others",
        );
    }
    let everywhere = |place: &Place| matches!(place, Place::Tcp(address) if !address.ip().is_loopback());
    let can_log_in =
        config.smtp.auth != AuthPolicy::Off || !config.submission.is_empty() || !config.tls.smtps.is_empty();
    if !can_log_in && config.smtp.listen.iter().any(everywhere) {
        findings.doubtful(
            "relay.host",
            "no listener lets clients log in, so only aliases and `sendmail` on this machine use the relay; see \
             `submission.listen`",
        );
    }
}
