"""mailbell hands mail to others to a smarthost: Postfix (submission with SASL through Dovecot) and Exim with STARTTLS and a
login, and OpenSMTPD in clear, because every TLS handshake of Debian 12's fails (OpenSSL 3). Real clients submit; what the far
end stores is compared octet by octet. OpenSMTPD and Exim are unpacked by scripts/install-peers, and run in a mount namespace
of their own.
"""
import email, email.policy, shutil, smtplib, ssl

from interop_lib.common import *
from interop_lib.peers import certificate, kill
from interop_lib.servers import Daemon, Postfix

PEERS = ROOT / "target/peers/smarthosts"
LOGIN, SECRET = "office", "secret-of-the-office"
UTF8 = "jõgeva"
# The mailboxes of else.example; any other is refused with 550 at RCPT.
KNOWN = ["out", UTF8, *(f"u{number}" for number in range(100))]
# What servers put on top of a stored message.
TRACE = (b"return-path:", b"delivered-to:", b"x-original-to:", b"envelope-to:", b"delivery-date:", b"received:")
BOX_UID = 65534


def without_trace(stored):
    lines = stored.split(b"\n")
    at = 0
    while at < len(lines) and (lines[at].lower().startswith(TRACE) or at and lines[at][:1] in (b" ", b"\t")):
        at += 1
    return b"\n".join(lines[at:])


class Smarthost:
    """`boxes` holds a Maildir for each known mailbox."""
    has_utf8 = True
    has_tls = True

    def __init__(self, scratch):
        self.scratch, self.port, self.boxes = scratch, free_port(), scratch / "boxes"
        for folder in (scratch, self.boxes):
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        os.chown(self.boxes, BOX_UID, BOX_UID)
        self.fingerprint = certificate(scratch)
        self.prepare()

    def files(self, name):
        return sorted(path for folder in ("new", "cur") for path in (self.boxes / name / folder).glob("*"))

    def empty(self):
        for path in self.boxes.glob("*/*/*"):
            path.unlink()


class PostfixHost(Smarthost):
    name = "Postfix"

    def prepare(self):
        (self.scratch / "known").write_text("".join(f"{name}@else.example {name}/\n" for name in KNOWN))
        self.postfix = Postfix(self.scratch, {}, more=f"""
mynetworks = 192.0.2.0/24
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {self.scratch}/cert.pem
smtpd_tls_key_file = {self.scratch}/key.pem
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {self.scratch}/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_sasl_authenticated, reject
virtual_mailbox_domains = else.example
virtual_mailbox_maps = texthash:{self.scratch}/known
virtual_mailbox_base = {self.boxes}
virtual_uid_maps = static:{BOX_UID}
virtual_gid_maps = static:{BOX_UID}
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 64000000
""")
        self.port = self.postfix.port
        (self.scratch / "secrets").write_text(f"{LOGIN}:{{PLAIN}}{SECRET}::::::\n")
        (self.scratch / "run").mkdir()
        (self.scratch / "dovecot.conf").write_text(f"""
protocols =
base_dir = {self.scratch}/run
state_dir = {self.scratch}/run
log_path = {self.scratch}/dovecot.log
ssl = no
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = {self.scratch}/secrets
}}
service auth {{
  unix_listener {self.scratch}/auth {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")

    def start(self):
        self.dovecot = Daemon(["/usr/sbin/dovecot", "-F", "-c", self.scratch / "dovecot.conf"], open(self.scratch / "start.log", "ab"))
        until(lambda: (self.scratch / "auth").exists())
        self.postfix.start()

    def stop(self):
        self.postfix.stop()
        self.dovecot.stop()


class Unpacked(Smarthost):
    """A server from target/peers/smarthosts. `USERS` are users of the system inside its mount namespace."""
    USERS = {}

    def begin(self, command):
        for folder in ("etc", "lib", "spool", "run"):
            (self.scratch / folder).mkdir(exist_ok=True)
            (self.scratch / folder).chmod(0o755)
        for file, line in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/bin/sh\n"), ("group", "{0}:x:{1}:\n")):
            text = pathlib.Path(f"/etc/{file}").read_text()
            (self.scratch / "etc" / file).write_text(text + "".join(line.format(*user) for user in self.USERS.items()))
        mounts = f"""set -e
mount -t overlay overlay -o lowerdir={PEERS}/usr:/usr /usr
mount -t overlay overlay -o lowerdir={self.scratch}/etc:/etc /etc
mount -t overlay overlay -o lowerdir={self.scratch}/lib:/var/lib /var/lib
mount --bind {self.scratch}/spool /var/spool
mount --bind {self.scratch}/run /run
exec {command}
"""
        log = open(self.scratch / "server.log", "ab")
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", mounts], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self.process.poll() is not None or answers(self.port))

    def stop(self):
        if self.process.poll() is None:
            kill(self.process)


class OpenSmtpd(Unpacked):
    name = "OpenSMTPD"
    # It has no SMTPUTF8.
    has_utf8 = False
    has_tls = False
    USERS = {"opensmtpd": 12311, "opensmtpq": 12312, "vmail": BOX_UID - 1}

    def prepare(self):
        os.chown(self.boxes, self.USERS["vmail"], self.USERS["vmail"])
        (self.scratch / "lib/opensmtpd/empty").mkdir(parents=True)
        (self.scratch / "known").write_text("".join(f"{name}@else.example\n" for name in KNOWN if name.isascii()))
        (self.scratch / "virtual").write_text("@else.example: vmail\n")
        (self.scratch / "smtpd.conf").write_text(f"""
table known file:{self.scratch}/known
table users file:{self.scratch}/virtual
smtp max-message-size 64M
listen on 127.0.0.1 port {self.port} hostname relay.else.example
action "deliver" maildir "{self.boxes}/%{{rcpt.user}}" virtual <users>
match from any for rcpt-to <known> action "deliver"
""")

    def start(self):
        self.begin(f"/usr/sbin/smtpd -d -f {self.scratch}/smtpd.conf")


class Exim(Unpacked):
    name = "Exim"
    USERS = {"Debian-exim": 12321}

    def prepare(self):
        owner = self.USERS["Debian-exim"]
        (self.scratch / "exim").mkdir()
        for path in (self.boxes, self.scratch / "exim", self.scratch / "key.pem"):
            os.chown(path, owner, owner)
        (self.scratch / "known").write_text("".join(f"{name}: {name}\n" for name in KNOWN))
        mailbox = f"${{lookup{{$local_part}}lsearch{{{self.scratch}/known}}}}"
        # The place that needs no -C, with which Exim gives up its rights.
        (self.scratch / "etc/exim4").mkdir(parents=True)
        (self.scratch / "etc/exim4/exim4.conf").write_text(f"""
spool_directory = {self.scratch}/exim
log_file_path = {self.scratch}/exim/%slog
primary_hostname = relay.else.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
tls_advertise_hosts = *
tls_certificate = {self.scratch}/cert.pem
tls_privatekey = {self.scratch}/key.pem
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
smtputf8_advertise_hosts = *
message_size_limit = 64M
keep_environment =
acl_smtp_rcpt = to
begin acl
to:
  accept authenticated = *
         domains = else.example
         condition = ${{if !eq{{{mailbox}}}{{}}}}
  deny message = 5.1.1 unknown user
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {self.boxes}/{mailbox}
  maildir_format
  user = Debian-exim
  delivery_date_add
  envelope_to_add
  return_path_add
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{LOGIN}}}}}{{eq{{$auth3}}{{{SECRET}}}}}}}}}
  server_set_id = $auth2
""")

    def start(self):
        self.begin("/usr/sbin/exim4 -bdf -q1m")


# ---- clients: each submits, with a login, MESSAGE with its own Message-ID from alice to out@else.example

def by_curl(s, m):
    run(["curl", "-sS", "--mail-from", "alice@example.org", "--mail-rcpt", "out@else.example", "-T", "-", "--cacert",
         s.scratch / "cert.pem", "--user", "alice:secret-a", f"smtps://localhost:{s.ports['smtps']}"], m)


def by_swaks(s, m):
    # swaks takes a last line of one dot for the end of the data, and ends the last line itself.
    m = m.removesuffix(b".\r\n")
    (s.scratch / "swaks.eml").write_bytes(m.removesuffix(b"\r\n").replace(b"\r\n", b"\n"))
    run(["swaks", "--server", "127.0.0.1", "--port", s.ports["submission"], "--from", "alice@example.org", "--to",
         "out@else.example", "--data", f"@{s.scratch / 'swaks.eml'}", "--hide-send", "--tls", "--auth", "PLAIN",
         "--auth-user", "alice", "--auth-password", "secret-a"])
    return m


def by_msmtp(s, m):
    rc = private(s.scratch / "msmtprc", f"account default\nhost localhost\nport {s.ports['submission']}\nfrom alice@example.org\n"
                 f"auth on\nuser alice\npassword secret-a\ntls on\ntls_trust_file {s.scratch / 'cert.pem'}\n")
    run(["msmtp", "-C", rc, "out@else.example"], m.replace(b"\r\n", b"\n"))


def session(s):
    client = smtplib.SMTP("localhost", s.ports["submission"], timeout=PATIENCE)
    client.starttls(context=ssl.create_default_context(cafile=s.scratch / "cert.pem"))
    client.login("alice", "secret-a")
    return client


def by_python(s, m):
    with session(s) as client:
        client.sendmail("alice@example.org", ["out@else.example"], m, ["BODY=8BITMIME"])


def by_sendmail(s, m):
    run([BINARY, "sendmail", "-f", "alice@example.org", "-i", "out@else.example"], m.replace(b"\r\n", b"\n"),
        {"MAILBELL_CONFIG": str(s.scratch / "mailbell.toml")})


def arrived(host, name="out"):
    return until(lambda: host.files(name), MOUNT_PATIENCE)[0].read_bytes()


def one(s, host, name, client):
    host.empty()
    message = MESSAGE % f"{name}-{host.name}".encode()
    message = client(s, message) or message
    return difference("the far end", without_trace(arrived(host)), message.replace(b"\r\n", b"\n"))


def composed(s, host, send, subject, text):
    """What a mail program composes itself: its reader sees subject and text."""
    host.empty()
    send()
    message = email.message_from_bytes(arrived(host), policy=email.policy.default)
    got = (message["subject"], message.get_body().get_content().replace("\r\n", "\n"), bool(message["date"] and message["message-id"]))
    return None if got == (subject, text, True) else f"{got}"


def s_nail(s):
    run(["s-nail", "-:/", "-S", "v15-compat", "-S", f"mta=smtp://alice:secret-a@localhost:{s.ports['submission']}", "-S",
         "smtp-use-starttls", "-S", f"tls-ca-file={s.scratch / 'cert.pem'}", "-S", "tls-ca-no-defaults", "-S", "tls-verify=strict",
         "-S", "smtp-auth=login", "-S", "sendwait", "-S", "ttycharset=utf-8", "-r", "alice@example.org", "-s", "Grüße", "out@else.example"],
        "Grüße\n.\n".encode(), env={"HOME": str(s.scratch), "LC_ALL": "C.UTF-8"})


def mutt(s):
    """By `sendmail`, as mutt does where nothing else is set."""
    rc = private(s.scratch / "muttrc", f"set sendmail=\"{BINARY} sendmail -oem -oi\"\nset from=alice@example.org\nset use_envelope_from=yes\n"
                 "set copy=no\nset dsn_notify=failure,delay\nset dsn_return=hdrs\n")
    run(["mutt", "-F", rc, "-n", "-s", "Grüße", "out@else.example"], "Grüße\n.\n".encode(),
        env={"HOME": str(s.scratch), "LC_ALL": "C.UTF-8", "MAILBELL_CONFIG": str(s.scratch / "mailbell.toml")})


def large(s, host):
    host.empty()
    line = bytes(range(33, 127)) * 8 + b"\r\n"
    message = MESSAGE % f"large-{host.name}".encode()
    message += line * ((24 * 2**20 + 900_000 - len(message)) // len(line))
    with session(s) as client:
        client.sendmail("alice@example.org", ["out@else.example"], message)
    return difference("the far end", without_trace(arrived(host)), message.replace(b"\r\n", b"\n"))


def many(s, host):
    """100 recipients, one of them here: each has it once."""
    host.empty(), s.empty("bob")
    message = MESSAGE % f"many-{host.name}".encode()
    to = [f"u{number}@else.example" for number in range(99)] + ["bob@example.org"]
    with session(s) as client:
        refused = client.sendmail("alice@example.org", to, message, ["BODY=8BITMIME"])
    if refused:
        return f"refused: {refused}"
    for number in range(99):
        stored = arrived(host, f"u{number}")
        if problem := difference(f"u{number}", without_trace(stored), message.replace(b"\r\n", b"\n")):
            return problem
        if b"u98@else.example" in stored and number != 98:
            return f"u{number} is told of other recipients: {stored[:2000]!r}"
    time.sleep(0.3)
    twice = [number for number in range(99) if len(host.files(f"u{number}")) != 1]
    if twice:
        return f"not once: {twice}"
    return difference("bob's", without_trace(s.files("bob")[0].read_bytes()), message.replace(b"\r\n", b"\n"))


def utf8(s, host):
    host.empty(), s.empty("alice")
    before = len(s.records())
    message = MESSAGE % f"utf8-{host.name}".encode()
    with session(s) as client:
        client.sendmail("alice@example.org", [f"{UTF8}@else.example"], message, ["SMTPUTF8", "BODY=8BITMIME"])
    if host.has_utf8:
        return difference("the far end", without_trace(arrived(host, UTF8)), message.replace(b"\r\n", b"\n"))
    return bounce(s, before, f"{UTF8}@else.example", "5.6.7")


def bounced(s, host):
    """One good recipient and one that the smarthost refuses."""
    host.empty(), s.empty("alice")
    before = len(s.records())
    message = MESSAGE % f"bounce-{host.name}".encode()
    with session(s) as client:
        client.sendmail("alice@example.org", ["out@else.example", "nobody@else.example"], message, ["BODY=8BITMIME"])
    problem = difference("the far end", without_trace(arrived(host)), message.replace(b"\r\n", b"\n"))
    return problem or bounce(s, before, "nobody@else.example", "5.")


def bounce(s, before, address, status):
    """The notice in alice's Maildir, read by Python; and its event."""
    record = s.new_records(before, 1)[0]
    notice = pathlib.Path(record["path"]).read_bytes()
    parsed = email.message_from_bytes(notice, policy=email.policy.default)
    good = (record["via"] == "bounce" and record["user"] == "alice" and record["mail_from"] == ""
            and parsed.get_content_type() == "multipart/report" and f";{address}\nAction: failed\nStatus: {status}".encode() in notice)
    return None if good else f"{record} {notice[:2500]!r}"


def relay(host):
    security = f'''
host = "localhost"
fingerprint = ["{host.fingerprint}"]
login = "{LOGIN}"
password_file = "office.secret"
''' if host.has_tls else '''
host = "127.0.0.1"
tls = "off"
'''
    return f'\n[relay]\nport = {host.port}\nretry = "1s..2s"\n{security}'


def run_all(scratch):
    if os.geteuid() != 0:
        print("skipped: the relay part needs root")
        return
    scratch.mkdir()
    scratch.chmod(0o755)
    for number, kind in enumerate((PostfixHost, OpenSmtpd, Exim)):
        server = Mailbell(scratch / f"mailbell-{number}")
        private(server.scratch / "office.secret", SECRET + "\n")
        host = None
        try:
            host = kind(scratch / kind.name.lower())
            host.start()
            with open(server.scratch / "mailbell.toml", "a") as file:
                file.write(relay(host))
            server.start()
            clients = {"curl": by_curl, "swaks": by_swaks, "msmtp": by_msmtp, "Python": by_python, "sendmail": by_sendmail}
            for name, client in clients.items():
                check(f"relay: {name} to {host.name}", lambda: one(server, host, name, client))
            check(f"relay: s-nail to {host.name}", lambda: composed(server, host, lambda: s_nail(server), "Grüße", "Grüße\n.\n"))
            check(f"relay: mutt to {host.name}", lambda: composed(server, host, lambda: mutt(server), "Grüße", "Grüße\n.\n"))
            check(f"relay: 25 MiB to {host.name}", lambda: large(server, host))
            check(f"relay: 100 recipients to {host.name}", lambda: many(server, host))
            check(f"relay: an address in UTF-8 to {host.name}", lambda: utf8(server, host))
            check(f"relay: a bounce from {host.name}", lambda: bounced(server, host))
        finally:
            server.stop()
            if host and hasattr(host, "stop"):
                try:
                    host.stop()
                except Exception as error:
                    print(f"{host.name}: {error}")
