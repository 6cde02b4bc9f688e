//! The socket for local users: `sendmail` of users without rights on the mail speaks SMTP to it; the settings of the
//! other listeners do not apply. It is an abstract unix socket, because such users reach no folder of the server; its name
//! is made from the state folder's.

use super::listener::Listener;
use md5::{Digest, Md5};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket_with, sockopt};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Listens, for local users only: no other machine can connect.
///
/// # Errors
///
/// As bind(2) says: mostly that another process has this name.
pub fn listen(state: &Path) -> io::Result<Listener> {
    Listener::bind_abstract(&address(state)?)
}

/// Connects to a running server.
///
/// # Errors
///
/// When no server runs, or the process that listens belongs neither to root nor to the owner of the state folder: any user
/// can bind any abstract name.
pub fn connect(state: &Path) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, rustix::net::SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address(state)?)?;
    let peer = sockopt::socket_peercred(&socket)?.uid.as_raw();
    let is_ours = peer == 0 || std::fs::metadata(state).is_ok_and(|folder| folder.uid() == peer);
    if is_ours { Ok(socket.into()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

fn address(state: &Path) -> io::Result<SocketAddrUnix> {
    let digest = Md5::digest(state.as_os_str().as_bytes());
    Ok(SocketAddrUnix::new_abstract_name(format!("mailbell-{:032x}", u128::from_be_bytes(digest.into())).as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Uid;

    #[test]
    fn a_process_of_another_user_is_no_server() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        // On Linux each thread has its own rights. The folder of this state belongs to root.
        let state = std::path::PathBuf::from(format!("/mailbell-no-such-state-{}", std::process::id()));
        let stranger = std::thread::spawn({
            let state = state.clone();
            move || {
                rustix::thread::set_thread_uid(Uid::from_raw(65_534)).unwrap();
                listen(&state).unwrap()
            }
        });
        let listener = stranger.join().unwrap();
        assert_eq!(connect(&state).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(listen(&state).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(connect(&state).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listener = listen(&state).unwrap();
        connect(&state).unwrap();
        drop(listener);
    }
}
