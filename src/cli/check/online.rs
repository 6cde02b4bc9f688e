//! `--online`: tries what only the running system knows: ports, the free space of the disk, the MX records of the domains.

use super::dns::{self, Answer};
use super::{Findings, ports};
use crate::config::{Domains, Place};
use crate::message::idn;
use crate::server::listener::{self, Listener};
use crate::server::monitor::control_socket;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Tries all of it.
pub(super) fn check(findings: &mut Findings<'_>) {
    let is_running = UnixStream::connect(control_socket(&findings.config.state)).is_ok();
    if is_running {
        findings.notes.push("a server is running with this state".into());
    }
    listeners(findings, is_running);
    disk(findings);
    domains(findings);
    #[cfg(feature = "remote")]
    super::remotes::online(findings);
    #[cfg(feature = "relay")]
    super::smarthost::online(findings);
    #[cfg(feature = "mqtt")]
    super::mqtt::online(findings);
    #[cfg(feature = "webhook")]
    super::webhooks::online(findings);
}

/// Binds every port for a moment, and names the program that has a port which is taken.
fn listeners(findings: &mut Findings<'_>, is_running: bool) {
    let config = findings.config;
    for (_, key, place) in config.listeners() {
        // A unix socket is not tried: that would take it from a running server.
        let Place::Tcp(address) = place else { continue };
        if listener::has_no_family(*address) {
            continue; // `files` reports it.
        }
        match Listener::bind_tcp(*address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => match ports::holder(address.port()) {
                Some(holder) if holder.name == "mailbell" && is_running => {
                    findings.notes.push(format!("{place}: mailbell (pid {}) listens there", holder.pid));
                }
                Some(holder) => {
                    findings.wrong(&key, format!("{place} is taken by {} (pid {})", holder.name, holder.pid));
                }
                None if is_running => findings.notes.push(format!("{place}: taken, most likely by the running server")),
                None => findings.wrong(&key, format!("{place} is taken by another program")),
            },
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                findings.doubtful(&key, format!("{place}: {error}; ports below 1024 need root, or sockets of systemd"));
            }
            Err(error) => findings.wrong(&key, format!("{place}: {error}")),
        }
    }
}

fn disk(findings: &mut Findings<'_>) {
    let root = &findings.config.mail.root;
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let (mib, least) = (free >> 20, findings.config.mail.min_free);
            if free < least {
                let message = format!(
                    "only {mib} MiB are free for {}, so no mail would be accepted; make room, or lower this",
                    root.display()
                );
                findings.wrong("mail.min_free", message);
            } else {
                findings.notes.push(format!("{}: {mib} MiB free", root.display()));
            }
        }
        Err(error) => findings.wrong("mail.root", format!("{}: {error}", there.display())),
    }
}

fn domains(findings: &mut Findings<'_>) {
    let Domains::These(domains) = &findings.config.domains else { return };
    let Some(resolver) = dns::resolver() else {
        return findings.notes.push("no network: /etc/resolv.conf names no resolver".into());
    };
    // Names without a dot and address literals have no MX records.
    for domain in domains.iter().filter(|domain| domain.contains('.') && !domain.starts_with('[')) {
        match dns::mail_exchangers(resolver, &idn::to_ascii(domain)) {
            Ok(Answer::Exchangers(hosts)) => {
                let ours = hosts.iter().any(|(_, host)| idn::same_domain(host, &findings.config.hostname));
                let list: Vec<String> = hosts.iter().map(|(rank, host)| format!("{rank} {host}")).collect();
                let hint = if ours { "" } else { "; none of them is `hostname`" };
                findings.notes.push(format!("{domain}: MX {}{hint}", list.join(", ")));
            }
            Ok(Answer::None) => {
                findings.doubtful("domains", format!("{domain} has no MX record, so mail goes to its own address"));
            }
            Ok(Answer::NoSuchDomain) => findings.doubtful("domains", format!("the DNS knows no domain {domain}")),
            // Without a network, each further domain would wait as long.
            Err(error) => return findings.notes.push(format!("no network: {resolver} did not answer: {error}")),
        }
    }
}
