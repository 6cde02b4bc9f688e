//! Messages to the program that started the server: the ready line on standard error, and the datagrams of sd_notify(3).

use super::acceptor::Acceptor;
use crate::config::ListenerKind;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// Says that all sockets listen; of the embedded default also where its page is.
pub fn ready(acceptor: &Acceptor, is_embedded: bool) {
    let places: Vec<String> = acceptor.places().map(|(kind, place)| format!("{kind}={place}")).collect();
    let ready = format!("ready {}", places.join(" "));
    if let Some((_, place)) = acceptor.places().find(|(kind, _)| is_embedded && *kind == ListenerKind::Http) {
        let _ = std::io::stderr().write_all(format!("mailbell: the page: http://{place}/\n").as_bytes());
    }
    // In one write(2), so that a program that waits for the line never sees a part of it.
    let _ = std::io::stderr().write_all(format!("mailbell: {ready}\n").as_bytes());
    tell(&format!("READY=1\nSTATUS={ready}"));
}

/// Says that a reload begins.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000));
}

/// Says that a reload has ended.
pub fn reloaded() {
    tell("READY=1");
}

/// Says that a clean stop begins.
pub fn stopping() {
    tell("STOPPING=1");
}

/// Sends one datagram to `$NOTIFY_SOCKET`, where the environment names one.
fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&name, state) {
        log::warn!("NOTIFY_SOCKET: {error}");
    }
}

fn send(name: &OsString, state: &str) -> rustix::io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        path => SocketAddrUnix::new(path)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, state.as_bytes(), SendFlags::NOSIGNAL, &address).map(drop)
}
