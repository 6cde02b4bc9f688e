"""Mail servers that mailbell fetches from, each with accounts in a scratch folder, on loopback ports that nobody uses.

Dovecot is installed; Courier, Cyrus, mailutils and popa3d are unpacked by scripts/install-peers into target/peers/root, and
run in a mount namespace that lays this folder over /usr. All need root. Every process is ended by its id.
"""
import hashlib, itertools, os, pathlib, shutil, signal, socket, ssl, subprocess, threading, time

from interop_lib.common import ROOT, answers, free_port, until

PEERS = ROOT / "target/peers/root"
NOBODY = 65534
PASSWORD = "secret-of-the-remote"


def certificate(scratch):
    """A self-signed one; gives its SHA-256."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-keyout", scratch / "key.pem", "-out", scratch / "cert.pem"], check=True, capture_output=True)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert((scratch / "cert.pem").read_text())).hexdigest()


def descendants(pid):
    """A process and all below it, itself first."""
    below = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(") ", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        below.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += below.get(each, [])
    return found


def kill(process):
    """SIGKILL to a process and all below it."""
    for pid in descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


numbers = itertools.count()


def deliver(maildir, octets, owner=NOBODY):
    """Delivers as an MDA does: tmp/, then new/."""
    name = f"{time.time_ns() // 1000}.M{next(numbers)}P{os.getpid()}.test"
    path = maildir / "tmp" / name
    path.write_bytes(octets.replace(b"\r\n", b"\n"))
    os.chown(path, owner, owner)
    path.rename(maildir / "new" / name)


def make_maildir(path, owner=NOBODY):
    for folder in (path, path / "tmp", path / "new", path / "cur"):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, owner, owner)


class Dovecot:
    """Accounts are created as they are named; each has a Maildir, its password is PASSWORD."""

    def __init__(self, scratch, users):
        self.scratch = scratch
        self.process = None
        scratch.mkdir(parents=True)
        scratch.chmod(0o755)
        self.fingerprint = certificate(scratch)
        self.ports = {kind: free_port() for kind in ("imap", "imaps", "pop3", "pop3s")}
        (scratch / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}::::::\n" for user in users))
        for user in users:
            make_maildir(self.maildir(user))
        (scratch / "run").mkdir()
        listener = "inet_listener {0} {{\n port = {1}\n }}\n inet_listener {0}s {{\n port = {2}\n ssl = yes\n }}"
        (scratch / "conf").write_text(f"""
protocols = imap pop3
base_dir = {scratch}/run
state_dir = {scratch}/run
log_path = {scratch}/dovecot.log
listen = 127.0.0.1
ssl = yes
ssl_cert = <{scratch}/cert.pem
ssl_key = <{scratch}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
mail_location = maildir:{scratch}/mail/%u
first_valid_uid = 1
mail_max_userip_connections = 100
default_vsz_limit = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {scratch}/users
}}
userdb {{
  driver = static
  args = uid={NOBODY} gid={NOBODY} home={scratch}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  {listener.format("imap", self.ports["imap"], self.ports["imaps"])}
}}
service pop3-login {{
  {listener.format("pop3", self.ports["pop3"], self.ports["pop3s"])}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")

    def maildir(self, user):
        return self.scratch / "mail" / user

    def messages(self, user):
        return [path for folder in ("new", "cur") for path in (self.maildir(user) / folder).iterdir()]

    def start(self):
        log = open(self.scratch / "start.log", "ab")
        self.process = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", self.scratch / "conf"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(lambda: answers(self.ports["imap"]) and answers(self.ports["pop3"]))

    def kill(self):
        kill(self.process)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
