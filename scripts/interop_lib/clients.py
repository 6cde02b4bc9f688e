"""Clients that send to mailbell, and clients that fetch from it."""
import email, email.policy, poplib, pty, re, select, shutil, smtplib, ssl

from interop_lib.common import *


# ---- senders: each sends MESSAGE (with its own Message-ID) from alice to bob

def send_curl(s, m, tls):
    url = f"smtps://localhost:{s.ports['smtps']}" if tls else f"smtp://127.0.0.1:{s.ports['smtp']}"
    extra = ["--cacert", s.scratch / "cert.pem", "--user", "alice:secret-a"] if tls else []
    run(["curl", "-sS", "--mail-from", "alice@example.org", "--mail-rcpt", "bob@example.org", "-T", "-", *extra, url], m)


def send_swaks(s, m, tls):
    # swaks takes a last line of one dot for the end of the data, and ends the last line itself.
    m = m.removesuffix(b".\r\n")
    (s.scratch / "swaks.eml").write_bytes(m.removesuffix(b"\r\n").replace(b"\r\n", b"\n"))
    extra = ["--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "secret-a"] if tls else []
    run(["swaks", "--server", "127.0.0.1", "--port", s.ports["submission" if tls else "smtp"], "--from",
         "alice@example.org", "--to", "bob@example.org", "--data", f"@{s.scratch / 'swaks.eml'}",
         "--hide-send", *extra])
    return m


def send_msmtp(s, m, tls):
    port = s.ports["submission" if tls else "smtp"]
    auth = f"auth on\nuser alice\npassword secret-a\ntls on\ntls_trust_file {s.scratch / 'cert.pem'}\n" if tls else "auth off\ntls off\n"
    rc = private(s.scratch / "msmtprc", f"account default\nhost localhost\nport {port}\nfrom alice@example.org\n{auth}")
    run(["msmtp", "-C", rc, "bob@example.org"], m.replace(b"\r\n", b"\n"))


def send_smtplib(s, m, tls):
    with smtplib.SMTP("localhost", s.ports["submission" if tls else "smtp"], timeout=PATIENCE) as client:
        if tls:
            client.starttls(context=ssl.create_default_context(cafile=s.scratch / "cert.pem"))
            client.login("alice", "secret-a")
        client.sendmail("alice@example.org", ["bob@example.org"], m, ["BODY=8BITMIME"])


def send_lmtplib(s, m, tls):
    with smtplib.LMTP(str(s.scratch / "lmtp.sock")) as client:
        client.sendmail("alice@example.org", ["bob@example.org"], m, ["BODY=8BITMIME"])


def send_deliver(s, m, tls):
    run([BINARY, "deliver", "-f", "alice@example.org", "bob"], m.replace(b"\r\n", b"\n"),
        {"MAILBELL_CONFIG": str(s.scratch / "mailbell.toml")})


def s_nail(s, tls):
    """s-nail writes the message itself, so what its reader sees is compared: subject, text and attachment."""
    s.empty("bob")
    (s.scratch / "attached.bin").write_bytes(bytes(range(256)) * 8)
    port = s.ports["submission" if tls else "smtp"]
    login = "alice:secret-a@" if tls else ""
    extra = ["-S", "smtp-use-starttls", "-S", f"tls-ca-file={s.scratch / 'cert.pem'}", "-S", "tls-ca-no-defaults",
             "-S", "tls-verify=strict", "-S", "smtp-auth=login"] if tls else ["-S", "smtp-auth=none"]
    text = "Grüße\n.\n.dot\n..\nlast line\n"
    run(["s-nail", "-:/", "-S", "v15-compat", "-S", f"mta=smtp://{login}localhost:{port}", *extra, "-S", "sendwait",
         "-S", "ttycharset=utf-8", "-r", "alice@example.org", "-s", "Grüße von s-nail", "-a", s.scratch / "attached.bin",
         "bob@example.org"], text.encode(), env={"HOME": str(s.scratch), "LC_ALL": "C.UTF-8"})
    until(lambda: s.files("bob"))
    message = email.message_from_bytes(s.files("bob")[0].read_bytes(), policy=email.policy.default)
    parts = list(message.walk())
    got = {"subject": message["subject"], "text": parts[1].get_content().replace("\r\n", "\n")}
    want = {"subject": "Grüße von s-nail", "text": text}
    if got != want:
        return f"{got} instead of {want}"
    return difference("the attachment", parts[2].get_payload(decode=True), bytes(range(256)) * 8)


def smtp_source(s):
    """Postfix's load generator: many messages, several sessions at once."""
    s.empty("bob")
    before = len(s.records())
    run(["smtp-source", "-4", "-s", "5", "-m", "200", "-l", "3000", "-f", "alice@example.org", "-t", "bob@example.org",
         f"127.0.0.1:{s.ports['smtp']}"])
    s.new_records(before, 200)
    sizes = {path.stat().st_size for path in s.files("bob")}
    return None if len(s.files("bob")) == 200 else f"{len(s.files('bob'))} files, sizes {sizes}"


# ---- fetchers: each brings bob's only message, and gives its octets

def fetch_curl(s, tls):
    url = f"pop3s://localhost:{s.ports['pop3s']}/1" if tls else f"pop3://127.0.0.1:{s.ports['pop3']}/1"
    extra = ["--cacert", s.scratch / "cert.pem"] if tls else []
    return run(["curl", "-sS", "--user", "bob:secret-b", *extra, url])


def fetch_poplib(s, tls):
    context = ssl.create_default_context(cafile=s.scratch / "cert.pem")
    box = (poplib.POP3_SSL("localhost", s.ports["pop3s"], context=context, timeout=PATIENCE) if tls
           else poplib.POP3("localhost", s.ports["pop3"], timeout=PATIENCE))
    box.user("bob"), box.pass_("secret-b")
    listed = int(box.list(1).split()[2])
    lines = box.retr(1)[1]
    box.quit()
    octets = b"".join(line + b"\r\n" for line in lines)
    assert len(octets) == listed, f"LIST says {listed}, RETR sent {len(octets)}"
    return octets


def fetch_mpop(s, tls):
    box = s.scratch / "mpop-box"
    shutil.rmtree(box, ignore_errors=True)
    for d in ("tmp", "new", "cur"):
        (box / d).mkdir(parents=True)
    security = f"tls on\ntls_starttls on\ntls_trust_file {s.scratch / 'cert.pem'}\n" if tls else "tls off\n"
    rc = private(s.scratch / "mpoprc", f"account default\nhost localhost\nport {s.ports['pop3']}\nuser bob\n"
                 f"password secret-b\nauth user\nkeep on\ndelivery maildir {box}\nreceived_header off\n"
                 f"uidls_file {s.scratch / 'mpop-uidls'}\n{security}")
    (s.scratch / "mpop-uidls").unlink(missing_ok=True)
    run(["mpop", "-q", "-C", rc])
    return next((box / "new").iterdir()).read_bytes()


def fetch_fetchmail(s, tls):
    out = s.scratch / "fetchmail.out"
    out.unlink(missing_ok=True)
    ssl_words = f'sslproto "auto" sslcertck sslcertfile "{s.scratch / "cert.pem"}"' if tls else 'sslproto ""'
    rc = private(s.scratch / "fetchmailrc", f'set invisible\npoll localhost proto pop3 port {s.ports["pop3"]} uidl\n'
                 f'  user "bob" password "secret-b" keep fetchall no rewrite stripcr {ssl_words}\n'
                 f'  mda "cat > {out}"\n')
    run(["fetchmail", "-f", rc, "--pidfile", s.scratch / "fetchmail.pid", "-i", s.scratch / "fetchmail.ids", "--nosyslog"],
        env={"FETCHMAILHOME": str(s.scratch), "HOME": str(s.scratch)})
    return out.read_bytes()


def fetch_getmail(s, tls):
    box = s.scratch / "getmail-box"
    shutil.rmtree(box, ignore_errors=True)
    shutil.rmtree(s.scratch / "getmail", ignore_errors=True)
    (s.scratch / "getmail").mkdir()
    for d in ("tmp", "new", "cur"):
        (box / d).mkdir(parents=True)
    kind, port = ("SimplePOP3SSLRetriever", "pop3s") if tls else ("SimplePOP3Retriever", "pop3")
    ca = f"ca_certs = {s.scratch / 'cert.pem'}\n" if tls else ""
    private(s.scratch / "getmail/rc", f"[retriever]\ntype = {kind}\nserver = localhost\nport = {s.ports[port]}\n"
            f"username = bob\npassword = secret-b\n{ca}[destination]\ntype = Maildir\npath = {box}/\n"
            "[options]\ndelivered_to = false\nreceived = false\nread_all = true\ndelete = false\n")
    if os.geteuid() == 0:
        for path in (box, *box.iterdir(), s.scratch / "getmail", s.scratch / "getmail/rc"):
            shutil.chown(path, "mail", "mail")
    run(as_mail("getmail", f"--getmaildir={s.scratch / 'getmail'}", "--rcfile=rc", "-q"))
    return next((box / "new").iterdir()).read_bytes()


def fetch_perl(s, tls):
    start = "$p->starttls(SSL_ca_file => $ENV{CA}) or die 'starttls';" if tls else ""
    code = ("use Net::POP3; my $p = Net::POP3->new('localhost', Port => $ENV{PORT}, Timeout => 30) or die $@;" + start +
            "defined $p->login('bob', 'secret-b') or die 'login'; binmode STDOUT; print @{$p->get(1)}; $p->quit;")
    return run(["perl", "-e", code], env={"PORT": str(s.ports["pop3"]), "CA": str(s.scratch / "cert.pem")})


def fetch_node(s, tls):
    """node-pop3 hands out what the wire has: the dots are still doubled, and the last line end is cut off with the dot."""
    code = """
const Pop3 = require('node-pop3');
(async () => {
  const {env} = process, tls = env.TLS === '1';
  const box = new Pop3({user: 'bob', password: 'secret-b', host: 'localhost', port: +env.PORT, tls, timeout: 30000,
    tlsOptions: tls ? {ca: require('fs').readFileSync(env.CA)} : {}});
  await box.connect();
  await box.command('USER', 'bob');
  await box.command('PASS', 'secret-b');
  const [, stream] = await box.command('RETR', 1);
  const parts = [];
  for await (const part of stream) parts.push(part);
  process.stdout.write(Buffer.concat(parts));
  await box.command('QUIT');
})().catch((error) => { console.error(error); process.exit(1); });
"""
    octets = run(["node", "-e", code], env={"TLS": "01"[tls], "PORT": str(s.ports["pop3s" if tls else "pop3"]),
                                            "CA": str(s.scratch / "cert.pem"), "NODE_PATH": str(ROOT / "target/peers/node_modules")})
    return re.sub(rb"^\.\.", b".", octets, flags=re.M) + b"\r\n"


def fetch_mutt(s, tls):
    out = s.scratch / "mutt-box"
    shutil.rmtree(out, ignore_errors=True)
    for d in ("tmp", "new", "cur"):
        (out / d).mkdir(parents=True)
    url = f"pops://bob@localhost:{s.ports['pop3s']}" if tls else f"pop://bob@localhost:{s.ports['pop3']}"
    rc = private(s.scratch / "muttrc", f"set pop_pass=secret-b\nset ssl_ca_certificates_file={s.scratch / 'cert.pem'}\n"
                 "set ssl_starttls=no\nset mbox_type=Maildir\nset confirmappend=no\nset confirmcreate=no\n"
                 f"set folder={s.scratch}\nset delete=no\nset move=no\nset pop_authenticators=user\n")
    with Terminal(["mutt", "-n", "-F", str(rc), "-f", url], {"TERM": "vt100", "HOME": str(s.scratch)}) as terminal:
        terminal.expect(b"Msgs:1")
        # Copy; the prompt has a suggestion, which is cleared.
        terminal.type(b"C")
        terminal.expect(b"Copy to mailbox")
        terminal.type(b"\x15" + bytes(out) + b"\r")
        copied = until(lambda: [path for d in ("new", "cur") for path in (out / d).iterdir()])
        terminal.type(b"x")
    # mutt adds fields of its own to what it saves.
    return re.sub(rb"\n(Content-Length|Lines): \d+", b"", copied[0].read_bytes(), count=2)


class Terminal:
    """A program that wants a terminal gets one, and keys as a person would type them."""

    def __init__(self, command, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {**os.environ, **env})
        self.screen = b""

    def expect(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.screen:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            try:
                octets = os.read(self.fd, 65536) if ready else b""
            except OSError:
                octets = b""
            if not octets:
                raise RuntimeError(f"{text!r} did not come: {self.screen[-300:]!r}")
            self.screen += octets

    def type(self, keys):
        os.write(self.fd, keys)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def sent(server, sender, name, tls):
    server.empty("bob")
    message = MESSAGE % name.encode()
    message = sender(server, message, tls) or message
    for _ in range(200):
        if server.files("bob"):
            break
        time.sleep(0.01)
    files = server.files("bob")
    if len(files) != 1:
        return f"{len(files)} messages arrived"
    return difference("the stored message", without_trace(files[0].read_bytes()), message.replace(b"\r\n", b"\n"))


def unfolded(message):
    """getmail folds long fields of the header anew."""
    header, body = message.split(b"\n\n", 1)
    return re.sub(rb"\n[ \t]+", b" ", header) + b"\n\n" + body


def fetched(server, fetcher, tls):
    octets, stored = fetcher(server, tls).replace(b"\r\n", b"\n"), server.files("bob")[0].read_bytes()
    if fetcher is fetch_getmail:
        octets, stored = unfolded(octets), unfolded(stored)
    return difference("the fetched message", octets, stored)


def run_all(scratch):
    server = Mailbell(scratch)
    server.start()
    try:
        senders = [("curl", send_curl, (False, True)), ("swaks", send_swaks, (False, True)),
                   ("msmtp", send_msmtp, (False, True)), ("smtplib", send_smtplib, (False, True)),
                   ("lmtplib", send_lmtplib, (False,)), ("deliver", send_deliver, (False,))]
        for name, sender, ways in senders:
            for tls in ways:
                check(f"{name} sends{' with TLS and AUTH' if tls else ''}", lambda: sent(server, sender, name, tls))
        for tls in (False, True):
            check(f"s-nail sends{' with TLS and AUTH' if tls else ''}", lambda: s_nail(server, tls))
        check("smtp-source sends 200 in 5 sessions", lambda: smtp_source(server))
        fetchers = [("curl", fetch_curl), ("poplib", fetch_poplib), ("mpop", fetch_mpop), ("fetchmail", fetch_fetchmail),
                    ("getmail6", fetch_getmail), ("Net::POP3", fetch_perl), ("node-pop3", fetch_node), ("mutt", fetch_mutt)]
        check("a message to fetch", lambda: sent(server, send_smtplib, "fetch", False))
        for name, fetcher in fetchers:
            for tls in (False, True):
                check(f"{name} fetches{' with TLS' if tls else ''}", lambda: fetched(server, fetcher, tls))
    finally:
        server.stop()
