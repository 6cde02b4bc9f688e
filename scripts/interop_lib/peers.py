"""Mail servers that mailbell fetches from, each with accounts in a scratch folder, on loopback ports that nobody uses.

Dovecot is installed; Courier, Cyrus, mailutils and popa3d are unpacked by scripts/install-peers into target/peers/root, and
run in a mount namespace that lays this folder over /usr. All need root. Every process is ended by its id.
"""
import hashlib, imaplib, itertools, os, pathlib, random, signal, socket, ssl, subprocess, time

from interop_lib.common import ROOT, answers, until

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
    """SIGKILL to a process and all below it, which cannot fork meanwhile."""
    process.send_signal(signal.SIGSTOP)
    for pid in descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def free_port():
    """One that no client is given while its server is down."""
    while True:
        with socket.socket() as s:
            try:
                port = random.randrange(20_000, 32_000)
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


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

    def deliver(self, user, octets):
        deliver(self.maildir(user), octets)

    def messages(self, user):
        return [path for folder in ("new", "cur") for path in (self.maildir(user) / folder).iterdir()]

    def start(self):
        log = open(self.scratch / "start.log", "ab")
        for _ in range(20):
            self.process = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", self.scratch / "conf"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            until(lambda: self.process.poll() is not None or answers(self.ports["imap"]) and answers(self.ports["pop3"]))
            if self.process.poll() is None:
                return
            time.sleep(0.2)
        raise RuntimeError("Dovecot does not start: " + (self.scratch / "start.log").read_text()[-500:])

    def kill(self):
        """SIGKILL, without the two minutes for which Dovecot would heed its own stale locks afterwards."""
        kill(self.process)
        for lock in self.scratch.glob("mail/*/*.lock"):
            lock.unlink()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


# ---- the unpacked ones

OWNER = 12345


class Unpacked:
    """A server from target/peers/root. `users` are users of the system inside its mount namespace."""

    def __init__(self, scratch, users):
        self.scratch, self.users = scratch, users
        self.process = None
        self.ports = {}
        for folder in (scratch, scratch / "etc", scratch / "run", scratch / "lib", scratch / "lib/popa3d", scratch / "home", scratch / "spool", scratch / "spool/mail"):
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        (scratch / "spool/mail").chmod(0o1777)
        secret = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True).stdout.strip()
        names = {user: OWNER + number for number, user in enumerate(users)}
        system = {"courier": 12301, "cyrus": 12302, "popa3d": 12303}
        self.owners = names
        passwd, shadow, group = (pathlib.Path(f"/etc/{name}").read_text() for name in ("passwd", "shadow", "group"))
        for name, uid in {**names, **system}.items():
            home = scratch / "home" / name
            home.mkdir()
            os.chown(home, uid, uid)
            passwd += f"{name}:x:{uid}:{uid}::{home}:/bin/sh\n"
            shadow += f"{name}:{secret if name in names else '*'}:20000:0:99999:7:::\n"
            group += f"{name}:x:{uid}:\n"
        for name, text in (("passwd", passwd), ("shadow", shadow), ("group", group)):
            (scratch / "etc" / name).write_text(text)
        (scratch / "etc/shadow").chmod(0o600)
        self.prepare()

    def inside(self, script):
        """Starts a shell script in the mount namespace."""
        mounts = f"""set -e
mount -t overlay overlay -o lowerdir={PEERS}/usr:/usr /usr
mount -t overlay overlay -o lowerdir={self.scratch}/etc:{PEERS}/etc:/etc /etc
mount -t overlay overlay -o lowerdir={self.scratch}/lib:/var/lib /var/lib
mount --bind {self.scratch}/run /run
mount --bind {self.scratch}/spool/mail /var/mail
mkdir -p /run/courier/authdaemon
"""
        log = open(self.scratch / "server.log", "ab")
        return subprocess.Popen(["unshare", "-m", "sh", "-c", mounts + script], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        self.process = self.inside(self.script())
        until(lambda: all(answers(port) for port in self.ports.values()))

    def stop(self):
        if self.process and self.process.poll() is None:
            kill(self.process)

    def listen(self, kind, program):
        """Words that serve one port as inetd does."""
        self.ports.setdefault(kind, free_port())
        return f"couriertcpd -address=127.0.0.1 -maxprocs=20 -maxperip=20 -nodnslookup -noidentlookup {self.ports[kind]} {program}"


class Courier(Unpacked):
    def prepare(self):
        for user, owner in self.owners.items():
            make_maildir(self.scratch / "home" / user / "Maildir", owner)
        self.listen("imap", ""), self.listen("pop3", "")

    def script(self):
        return ("/usr/lib/courier/courier-authlib/authdaemond & export AUTHMODULES=authdaemon; set -a; . /etc/courier/imapd; "
                f"{self.listen('imap', '/usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir')} & "
                f". /etc/courier/pop3d; {self.listen('pop3', '/usr/lib/courier/courier/courierpop3login /usr/lib/courier/courier/courierpop3d Maildir')} & wait")

    def deliver(self, user, octets):
        deliver(self.scratch / "home" / user / "Maildir", octets, self.owners[user])


class Spool(Unpacked):
    """Mail in mbox files."""

    def deliver(self, user, octets):
        path = self.scratch / "spool/mail" / user
        with open(path, "ab") as mbox:
            mbox.write(b"From sender@example.com Sat Nov 28 08:00:00 2026\n" + octets.replace(b"\r\n", b"\n").replace(b"\nFrom ", b"\n>From ") + b"\n")
        os.chown(path, self.owners[user], self.owners[user])
        path.chmod(0o600)


class Mailutils(Spool):
    def prepare(self):
        (self.scratch / "etc/mu").write_text(
            "mailbox { mail-spool /var/mail; mailbox-type mbox; };\nauth { authentication generic:system; authorization system; };\n")
        self.listen("imap", ""), self.listen("pop3", "")

    def script(self):
        return (f"{self.listen('imap', '/usr/sbin/imap4d --inetd --config-file=/etc/mu')} & "
                f"{self.listen('pop3', '/usr/sbin/pop3d --inetd --config-file=/etc/mu')} & wait")


class Popa3d(Spool):
    def prepare(self):
        self.listen("pop3", "")

    def script(self):
        return f"{self.listen('pop3', '/usr/sbin/popa3d')} & wait"


class Cyrus(Unpacked):
    """Accepts any password: its SASL library checks none."""

    def prepare(self):
        self.base = self.scratch / "cyrus"
        for name in ("", "db", "log", "msg", "proc", "socket", "ptclient", "spool", "spool/stage."):
            (self.base / name).mkdir()
            os.chown(self.base / name, 12302, 12302)
        self.ports = {"imap": free_port(), "pop3": free_port()}
        (self.scratch / "etc/imapd.conf").write_text(f"""
configdirectory: {self.base}
partition-default: {self.base}/spool
defaultpartition: default
sasl_pwcheck_method: alwaystrue
sasl_mech_list: PLAIN
allowplaintext: yes
autocreate_quota: 0
autocreate_post: yes
cyrus_user: cyrus
unixhierarchysep: yes
idlesocket: {self.base}/socket/idle
""")
        (self.scratch / "etc/cyrus.conf").write_text(f"""
START {{
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -r"
  idled cmd="/usr/lib/cyrus/bin/idled"
}}
SERVICES {{
  imap cmd="/usr/lib/cyrus/bin/imapd" listen="127.0.0.1:{self.ports['imap']}" prefork=0
  pop3 cmd="/usr/lib/cyrus/bin/pop3d" listen="127.0.0.1:{self.ports['pop3']}" prefork=0
}}
EVENTS {{
}}
""")

    def script(self):
        return f"exec /usr/lib/cyrus/bin/master -p {self.base}/master.pid"

    def deliver(self, user, octets):
        client = imaplib.IMAP4("127.0.0.1", self.ports["imap"], timeout=30)
        client.login(user, PASSWORD)
        client.append("INBOX", None, None, octets)
        client.logout()
