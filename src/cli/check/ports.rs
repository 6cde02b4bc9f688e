//! The process that listens on a TCP port, as /proc shows it.

use std::fs;
use std::path::Path;

/// A process that listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) name: String,
}

/// The process that listens on a port; `None` when none does, or when it is another user's and this process is not root's.
pub(super) fn holder(port: u16) -> Option<Holder> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|file| listening(&fs::read_to_string(file).unwrap_or_default(), port))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find_map(|pid| {
        let folder = Path::new("/proc").join(pid.to_string());
        let descriptors = fs::read_dir(folder.join("fd")).ok()?.filter_map(Result::ok);
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        let is_held = targets.any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()));
        let name = fs::read_to_string(folder.join("comm")).ok()?.trim().to_owned();
        is_held.then_some(Holder { pid, name })
    })
}

/// The sockets (`socket:[INODE]`) that listen on a port, in the form of proc(5)'s net/tcp.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?.rsplit_once(':')?.1;
        let (state, inode) = (fields.nth(1)?, fields.nth(5)?);
        (u16::from_str_radix(local, 16) == Ok(port) && state == LISTEN).then(|| format!("socket:[{inode}]"))
    };
    table.lines().filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_table_of_proc_is_read() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100
   1: 0100007F:0019 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0000000000000000 100
   2: 00000000000000000000000001000000:0019 00:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12347 1 0 100
   3: short";
        assert_eq!(listening(table, 25), ["socket:[12345]", "socket:[12347]"]);
        assert!(listening(table, 110).is_empty());
    }

    #[test]
    fn we_find_ourselves() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = holder(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(holder.pid, std::process::id());
    }
}
