//! Debian's Dovecot on a loopback port, with one account, for tests of `[[remote]]`. Needs root and the packages
//! dovecot-imapd and dovecot-pop3d.

use super::{Scratch, wait_for};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Dovecot {
    pub scratch: Scratch,
    child: Option<Child>,
    pub imap: u16,
    pub pop3: u16,
    pub imaps: u16,
    pub pop3s: u16,
}

/// One below those that the system gives to clients: it is still free when Dovecot starts a second time.
fn free_port() -> u16 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    loop {
        let number = first.wrapping_add(NUMBER.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + number % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

const NOBODY: u32 = 65_534;

impl Dovecot {
    /// With the account `me@example.com`, password `secret`. `None` where it cannot run.
    pub fn start(name: &str) -> Option<Dovecot> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        if ["/usr/sbin/dovecot", "/usr/lib/dovecot/imap", "/usr/lib/dovecot/pop3"]
            .iter()
            .any(|file| fs::metadata(file).is_err())
        {
            eprintln!("skipped: needs dovecot-imapd and dovecot-pop3d");
            return None;
        }
        let scratch = Scratch::new(&format!("dovecot-{name}"));
        let mut dovecot = Dovecot {
            scratch,
            child: None,
            imap: free_port(),
            pop3: free_port(),
            imaps: free_port(),
            pop3s: free_port(),
        };
        dovecot.make_certificates();
        let root = dovecot.scratch.0.display();
        let Dovecot { imap, pop3, imaps, pop3s, .. } = dovecot;
        let configuration = format!(
            "base_dir = {root}/run\nlog_path = {root}/dovecot.log\nprotocols = imap pop3\nssl = yes\nssl_cert = <{root}/cert.pem\nssl_key = <{root}/key.pem\n\
             listen = 127.0.0.1\ndisable_plaintext_auth = no\nauth_mechanisms = plain login xoauth2 oauthbearer\n\
             mail_location = maildir:{root}/Maildir\nfirst_valid_uid = 1\nmail_max_userip_connections = 100\n\
             auth_failure_delay = 0\n\
             passdb {{\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%u {root}/passwd\n}}\n\
             userdb {{\n  driver = static\n  args = uid={NOBODY} gid={NOBODY} home={root}/home\n}}\n\
             namespace inbox {{\n  inbox = yes\n  separator = /\n}}\n\
             service imap-login {{\n  inet_listener imap {{\n    port = {imap}\n  }}\n  inet_listener imaps {{\n    port = {imaps}\n    ssl = yes\n  }}\n}}\n\
             service pop3-login {{\n  inet_listener pop3 {{\n    port = {pop3}\n  }}\n  inet_listener pop3s {{\n    port = {pop3s}\n    ssl = yes\n  }}\n}}\n\
             service stats {{\n  unix_listener stats-writer {{\n    mode = 0666\n  }}\n}}\n"
        );
        fs::write(dovecot.scratch.path("dovecot.conf"), configuration).unwrap();
        fs::write(dovecot.scratch.path("passwd"), "me@example.com:{PLAIN}secret::::::\n").unwrap();
        for folder in ["Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur", "home"] {
            fs::create_dir_all(dovecot.scratch.path(folder)).unwrap();
            std::os::unix::fs::chown(dovecot.scratch.path(folder), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // Its workers run as users of their own.
        fs::set_permissions(&dovecot.scratch.0, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        dovecot.up();
        Some(dovecot)
    }

    /// A CA in `ca.pem`, and a certificate of its for 127.0.0.1 and localhost.
    fn make_certificates(&self) {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
        let root = ca.self_signed(&ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let leaf = rcgen::CertificateParams::new(names).unwrap();
        let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
        fs::write(self.scratch.path("ca.pem"), root.pem()).unwrap();
        fs::write(self.scratch.path("cert.pem"), leaf.pem()).unwrap();
        fs::write(self.scratch.path("key.pem"), key.serialize_pem()).unwrap();
    }

    /// Starts it, again.
    pub fn up(&mut self) {
        let child = Command::new("/usr/sbin/dovecot")
            .args(["-F", "-c"])
            .arg(self.scratch.path("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let port = self.imap;
        wait_for("Dovecot", || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Ends it and its sessions.
    pub fn down(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        let _ = child.wait();
        let port = self.imap;
        wait_for("Dovecot's end", || TcpStream::connect(("127.0.0.1", port)).err());
    }

    /// Delivers a message with this subject and, unless it is empty, this Message-ID.
    pub fn deliver(&self, subject: &str, message_id: &str) -> PathBuf {
        let id = if message_id.is_empty() { String::new() } else { format!("Message-ID: <{message_id}>\n") };
        self.deliver_to(
            "Maildir",
            &format!("From: sender@example.com\nTo: me@example.com\nSubject: {subject}\n{id}\nbody of {subject}\n"),
        )
    }

    /// Delivers octets into a Maildir.
    pub fn deliver_to(&self, maildir: &str, message: &str) -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.M{number:06}P{}.test", 1_795_423_499 + number, std::process::id());
        let (tmp, new) =
            (self.scratch.path(&format!("{maildir}/tmp/{name}")), self.scratch.path(&format!("{maildir}/new/{name}")));
        let mut file = fs::File::create(&tmp).unwrap();
        file.write_all(message.as_bytes()).unwrap();
        std::os::unix::fs::chown(&tmp, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::rename(&tmp, &new).unwrap();
        new
    }

    /// Message files in the INBOX.
    pub fn messages(&self) -> Vec<PathBuf> {
        let mut all = super::files(&self.scratch.path("Maildir/new"));
        all.extend(super::files(&self.scratch.path("Maildir/cur")));
        all
    }

    /// Runs doveadm for the account.
    pub fn admin(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("doveadm").arg("-c").arg(self.scratch.path("dovecot.conf")).args(arguments).output().unwrap();
        assert!(output.status.success(), "doveadm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path("dovecot.log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Dovecot's log:\n{}", self.log());
        }
        self.down();
    }
}
