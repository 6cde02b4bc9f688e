"""Servers beside mailbell: Postfix hands mail over by LMTP and by pipe, HAProxy stands in front, Dovecot shares a Maildir."""
import poplib, shutil, smtplib

from interop_lib.common import *


class Daemon:
    """A process that is ended by its id."""

    def __init__(self, command, log):
        self.process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Postfix:
    """An instance of its own: configuration, queue and log in the scratch folder, SMTP on a free port of loopback."""

    def __init__(self, scratch, transports, services=(), more=""):
        self.config = scratch / "postfix"
        self.port = free_port()
        for folder in (self.config, scratch / "spool", scratch / "data"):
            folder.mkdir()
        shutil.chown(scratch / "data", "postfix")
        (self.config / "transport").write_text("".join(f"{domain} {transport}\n" for domain, transport in transports.items()))
        (self.config / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {scratch}/spool
data_directory = {scratch}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {scratch}/postfix.log
maillog_file_prefixes = {scratch}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = relay.example.org
mydestination =
alias_maps =
relay_domains = {", ".join(transports)}
transport_maps = texthash:{self.config}/transport
smtpd_relay_restrictions = permit_mynetworks, reject
minimal_backoff_time = 2s
maximal_backoff_time = 2s
queue_run_delay = 2s
{more}""")
        rows = [f"127.0.0.1:{self.port} inet n - n - - smtpd", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 2 1 qmgr",
                "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce",
                "trace unix - - n - 0 bounce", "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap", "anvil unix - - n - 1 anvil",
                "smtp unix - - n - - smtp", "lmtp unix - - n - - lmtp", "error unix - - n - - error",
                "retry unix - - n - - error", "scache unix - - n - 1 scache", "tlsmgr unix - - n 1000? 1 tlsmgr",
                "virtual unix - n n - - virtual", "postlog unix-dgram n - n - 1 postlogd", *services]
        (self.config / "master.cf").write_text("\n".join(rows) + "\n")

    def start(self):
        run(["postfix", "-c", self.config, "start"])
        until(lambda: answers(self.port))

    def stop(self):
        # `stop` ends the master and its children by the id that its lock file holds.
        run(["postfix", "-c", self.config, "stop"], ok=(0, 1))

    def send(self, to, message):
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.sendmail("alice@example.com", [to], message, ["BODY=8BITMIME"])


def handed_over(server, postfix, to, name, via, sender="alice@example.com"):
    """One message by Postfix: stored with its octets behind Postfix's own Received field, and one event that tells its way."""
    server.empty("bob")
    before = len(server.records())
    message = MESSAGE % name.encode()
    postfix.send(to, message)
    record = server.new_records(before, 1)[0]
    got = {field: record[field] for field in ("user", "via", "mail_from", "rcpt_to")}
    want = {"user": "bob", "via": via, "mail_from": sender, "rcpt_to": to}
    if got != want:
        return f"the event says {got} instead of {want}"
    stored = server.files("bob")[0].read_bytes()
    return difference("the stored message", stored[stored.find(b"From: Alice"):], message.replace(b"\r\n", b"\n"))


def of_mail(scratch):
    """A server that becomes the user mail, as on a real machine it becomes mailbell: Postfix and Dovecot refuse to be root."""
    server = Mailbell(scratch, top='user = "mail"\ngroup = "mail"\n')
    for folder in ("state", "mail"):
        (scratch / folder).mkdir()
    for path in (scratch, *scratch.iterdir()):
        shutil.chown(path, "mail", "mail")
    return server


def open_socket(server):
    """Postfix's programs are in no group but postfix, so an administrator opens the socket for them."""
    (server.scratch / "lmtp.sock").chmod(0o666)


def postfix_hands_over(scratch):
    server = of_mail(scratch)
    server.start()
    open_socket(server)
    postfix = None
    try:
        # The user's own programs may not be where mail may go; a copy is.
        binary = scratch / "mailbell"
        shutil.copy(BINARY, binary)
        postfix = Postfix(
            scratch,
            {"example.org": f"lmtp:unix:{scratch}/lmtp.sock", "tcp.example.org": f"lmtp:inet:127.0.0.1:{server.ports['lmtp']}",
             "pipe.example.org": "mailbell:"},
            [f"mailbell unix - n n - - pipe\n  flags=R user=mail null_sender= argv={binary} deliver -c {scratch}/mailbell.toml -f ${{sender}} -- ${{recipient}}"])
        postfix.start()
        check("Postfix hands over by LMTP, unix socket", lambda: handed_over(server, postfix, "bob@example.org", "lmtp", "lmtp"))
        check("Postfix hands over by LMTP, TCP", lambda: handed_over(server, postfix, "bob@tcp.example.org", "lmtp-tcp", "lmtp"))
        check("Postfix hands over by pipe", lambda: handed_over(server, postfix, "bob@pipe.example.org", "pipe", "deliver"))
        check("the null sender by pipe", lambda: null_sender(server, postfix))
        check("Postfix waits while mailbell is down", lambda: while_down(server, postfix))
    finally:
        if postfix:
            postfix.stop()
        server.stop()


def null_sender(server, postfix):
    before = len(server.records())
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=PATIENCE) as client:
        client.sendmail("", ["bob@pipe.example.org"], b"Subject: bounce\r\n\r\nx\r\n")
    record = server.new_records(before, 1)[0]
    return None if record["mail_from"] == "" else f"mail_from is {record['mail_from']!r}"


def while_down(server, postfix):
    before = len(server.records())
    server.stop()
    postfix.send("bob@example.org", MESSAGE % b"down")
    time.sleep(1)
    server.start()
    open_socket(server)
    server.new_records(before, 1)


# ---- HAProxy

def haproxy_stands_in_front(scratch):
    """The true client's address counts, not the proxy's: the client speaks from another address of loopback."""
    server = Mailbell(scratch, more='[proxy]\ntrusted = ["127.0.0.1/32"]\n')
    server.start()
    haproxy = None
    try:
        fronts = {(kind, version): free_port() for kind in ("smtp", "pop3", "smtps") for version in ("send-proxy", "send-proxy-v2")}
        sections = "".join(
            f"listen {kind}-{version}\n  bind 127.0.0.1:{port}\n  server mailbell 127.0.0.1:{server.ports[kind]} {version}\n"
            for (kind, version), port in fronts.items())
        (scratch / "haproxy.cfg").write_text(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n" + sections)
        haproxy = Daemon(["haproxy", "-db", "-f", scratch / "haproxy.cfg"], open(scratch / "haproxy.log", "wb"))
        until(lambda: all(answers(port) for port in fronts.values()))
        for version, words in (("send-proxy", "version 1"), ("send-proxy-v2", "version 2")):
            check(f"HAProxy in front of SMTP, PROXY {words}", lambda: behind(server, fronts["smtp", version], False))
            check(f"HAProxy in front of smtps, PROXY {words}", lambda: behind(server, fronts["smtps", version], True))
            check(f"HAProxy in front of POP3, PROXY {words}", lambda: pop3_behind(fronts["pop3", version]))
        check("without a header the proxy gets nothing", lambda: no_header(server))
    finally:
        if haproxy:
            haproxy.stop()
        server.stop()


def behind(server, port, tls):
    before = len(server.records())
    extra = ["--cacert", server.scratch / "cert.pem", "--user", "alice:secret-a"] if tls else []
    run(["curl", "-sS", "--interface", "127.0.0.5", "--connect-to", f"localhost:{port}:127.0.0.1:{port}", "--mail-from",
         "alice@example.org", "--mail-rcpt", "bob@example.org", "-T", "-", *extra,
         f"{'smtps' if tls else 'smtp'}://localhost:{port}"], MESSAGE % b"proxy")
    record = server.new_records(before, 1)[0]
    return None if record["client"] == "127.0.0.5" else f"the event's client is {record['client']}"


def pop3_behind(port):
    box = poplib.POP3("127.0.0.1", port, timeout=PATIENCE)
    box.user("bob"), box.pass_("secret-b")
    count = box.stat()[0]
    box.quit()
    return None if count else "no message"


def no_header(server):
    with socket.create_connection(("127.0.0.1", server.ports["smtp"]), PATIENCE) as client:
        client.settimeout(PATIENCE)
        client.sendall(b"EHLO client.example\r\n")
        try:
            octets = client.recv(100)
        except ConnectionResetError:
            octets = b""
    return f"the server says {octets!r}" if octets.startswith(b"220") else None


# ---- Dovecot on the same Maildir

def dovecot_shares(scratch):
    server = of_mail(scratch)
    server.start()
    dovecot = None
    try:
        for name in (b"one", b"two", b"three"):
            run(["curl", "-sS", "--mail-from", "a@example.com", "--mail-rcpt", "bob@example.org", "-T", "-",
                 f"smtp://127.0.0.1:{server.ports['smtp']}"], MESSAGE % name)
        port = free_port()
        base = scratch / "dovecot"
        base.mkdir()
        for folder in ("control", "index"):
            (base / folder).mkdir()
            shutil.chown(base / folder, "mail", "mail")
        (base / "users").write_text("bob:{PLAIN}secret-b:mail:mail::/nonexistent::\n")
        (base / "conf").write_text(f"""
protocols = pop3
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/dovecot.log
listen = 127.0.0.1
mail_location = maildir:{scratch}/mail/%u:CONTROL={base}/control/%u:INDEX={base}/index/%u
first_valid_uid = 1
first_valid_gid = 1
mail_uid = mail
mail_gid = mail
ssl = no
disable_plaintext_auth = no
mail_plugins = zlib
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = passwd-file
  args = {base}/users
}}
""")
        dovecot = Daemon(["dovecot", "-F", "-c", base / "conf"], open(base / "start.log", "wb"))
        until(lambda: answers(port))
        check("Dovecot and mailbell list the same sizes", lambda: same_listing(server, port))
        check("Dovecot and mailbell hand out the same octets", lambda: same_octets(server, port))
        check("unique-ids stay when Dovecot moves and flags", lambda: ids_stay(server, port))
        check("no event comes of that", lambda: server.new_records(3, 0) and None)
    finally:
        if dovecot:
            dovecot.stop()
        server.stop()


def fetch(port, work):
    box = poplib.POP3("127.0.0.1", port, timeout=PATIENCE)
    box.user("bob"), box.pass_("secret-b")
    found = work(box)
    box.quit()
    return found


def listing(box):
    return [int(line.split()[1]) for line in box.list()[1]]


def same_listing(server, port):
    ours, theirs = fetch(server.ports["pop3"], listing), fetch(port, listing)
    return None if ours == theirs and len(ours) == 3 else f"mailbell {ours}, Dovecot {theirs}"


def same_octets(server, port):
    messages = lambda box: [b"\r\n".join(box.retr(number)[1]) for number in (1, 2, 3)]
    ours, theirs = fetch(server.ports["pop3"], messages), fetch(port, messages)
    return next((difference(f"message {n + 1}", a, b) for n, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)


def ids_stay(server, port):
    ids = lambda box: [line.split()[1] for line in box.uidl()[1]]
    before = fetch(server.ports["pop3"], ids)
    # Reading by Dovecot moves to cur/ and flags; what mutt does by hand is done by hand.
    fetch(port, lambda box: box.retr(1))
    path = server.files("bob")[-1]
    path.rename(path.parent.parent / "cur" / (path.name.split(":")[0] + ":2,FRS"))
    after = fetch(server.ports["pop3"], ids)
    return None if before == after else f"{before} became {after}"


def run_all(scratch):
    if os.geteuid() != 0:
        check("Postfix, HAProxy and Dovecot", lambda: "they need root")
        return
    postfix_hands_over(scratch / "postfix")
    haproxy_stands_in_front(scratch / "haproxy")
    dovecot_shares(scratch / "dovecot")
