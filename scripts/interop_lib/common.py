"""What all interop checks share: a server in a scratch folder, a hard message, and results."""
import json, os, pathlib, signal, socket, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 and sys.argv[1][0] != "-" else ROOT / "target/debug/mailbell").resolve()
PATIENCE = 30
# A mount or a link above a watched Maildir is noticed within a minute.
MOUNT_PATIENCE = 90
results = []

# A MIME mail with an attachment, 8-bit text, lines as long as RFC 5321 allows, and dots where they hurt.
MESSAGE = (
    b"From: Alice Example <alice@example.org>\r\n"
    b"To: bob@example.org\r\n"
    b"Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?= and a\r\n\tfolded line\r\n"
    b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n"
    b"Message-ID: <interop-%s@client.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n'
    b"\r\n"
    b"--b\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    + "Grüße aus Köln, 日本語も。\r\n".encode()
    + b".\r\n..\r\n.leading dot\r\n...\r\n"
    + b"x" * 990 + b"\r\n"
    + b"From the start of a line, which mbox would quote\r\n"
    b"\r\n"
    b"--b\r\n"
    b"Content-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment; filename=a.bin\r\n"
    b"\r\n"
    + b"".join(b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v\r\n" for _ in range(40))
    + b"--b--\r\n.\r\n"
)


class Mailbell:
    def __init__(self, scratch, top="", more=""):
        """`top` and `more` are put before and behind the configuration."""
        self.scratch = scratch
        self.process = None
        scratch.mkdir(exist_ok=True)
        # Postfix's programs and others that are not root go through it.
        scratch.chmod(0o755)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", scratch / "key.pem",
             "-out", scratch / "cert.pem"], check=True, capture_output=True)
        (scratch / "users").write_text("alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\n")
        (scratch / "mailbell.toml").write_text(top + """
hostname = "mail.example.org"
domains = ["example.org", "tcp.example.org", "pipe.example.org"]
state = "state"
[mail]
root = "mail"
min_free = "1MiB"
[users]
file = "users"
[smtp]
listen = ["127.0.0.1:0"]
[submission]
listen = ["127.0.0.1:0"]
[lmtp]
listen = ["./lmtp.sock", "127.0.0.1:0"]
[pop3]
listen = ["127.0.0.1:0"]
[tls]
certificate = "cert.pem"
key = "key.pem"
smtps = ["127.0.0.1:0"]
pop3s = ["127.0.0.1:0"]
[[pipe]]
path = "notify"
format = "json"
""" + more)

    def start(self, *before):
        """`before` is put in front of the command."""
        log = open(self.scratch / "log", "ab")
        begin = log.tell()
        self.process = subprocess.Popen([*before, BINARY, "serve", "-c", self.scratch / "mailbell.toml"], stderr=log)
        for _ in range(PATIENCE * 100):
            text = (self.scratch / "log").read_bytes()[begin:].decode()
            ready = [line for line in text.splitlines() if line.startswith("mailbell: ready ")]
            if ready:
                self.ports = {}
                for word in ready[0].split():
                    kind, _, address = word.partition("=")
                    if ":" in address:
                        self.ports[kind] = int(address.rsplit(":", 1)[1])
                return
            if self.process.poll() is not None:
                sys.exit("mailbell did not start:\n" + text)
            time.sleep(0.01)
        sys.exit("mailbell was not ready in time")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def files(self, user):
        return sorted(p for d in ("new", "cur") for p in (self.scratch / "mail" / user / d).glob("*"))

    def records(self):
        """Every event so far."""
        segments = sorted((self.scratch / "state/journal").glob("*.jsonl"))
        return [json.loads(line) for segment in segments for line in segment.read_text().splitlines()]

    def new_records(self, before, count):
        """The events after the first `before`, as soon as there are `count`, and a moment later, so that one too many shows."""
        until(lambda: len(self.records()) >= before + count, MOUNT_PATIENCE)
        time.sleep(0.3)
        found = self.records()[before:]
        if len(found) != count:
            raise RuntimeError(f"{len(found)} events instead of {count}: {[record['path'] for record in found]}")
        return found

    def empty(self, user):
        for path in self.files(user):
            path.unlink()


def run(command, stdin=None, env=None, cwd=None, ok=(0,)):
    done = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, timeout=PATIENCE, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if done.returncode not in ok:
        raise RuntimeError(f"{command[0]} exited {done.returncode}: {(done.stdout + done.stderr).decode(errors='replace')[-600:]}")
    return done.stdout


def as_mail(*command):
    """The command as the user mail, for programs that refuse to be root."""
    return ["setpriv", "--reuid=mail", "--regid=mail", "--clear-groups", *command] if os.geteuid() == 0 else list(command)


def until(ask, patience=PATIENCE):
    """Asks until the answer is true, and gives it; raises when that takes too long."""
    end = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > end:
            raise RuntimeError("waited too long")
        time.sleep(0.02)
    return answer


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


# ---- comparing

OURS = (b"return-path:", b"delivered-to:", b"received:")


def without_trace(stored):
    """The stored file less the trace fields at its top: what the client sent."""
    lines = stored.split(b"\n")
    at = 0
    while at < len(lines) and (lines[at].lower().startswith(OURS) or lines[at][:1] in (b" ", b"\t")):
        at += 1
    return b"\n".join(lines[at:])


def check(name, why):
    try:
        problem = why()
    except Exception as error:  # A client that fails is a result, not the end of the run.
        problem = f"{type(error).__name__}: {error}"
    results.append((name, problem))
    print(f"{'FAIL' if problem else 'ok  '} {name}{': ' + problem if problem else ''}", flush=True)


def difference(what, got, want):
    if got == want:
        return None
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    return f"{what} differs at octet {at}: {got[max(0, at - 20):at + 40]!r} instead of {want[max(0, at - 20):at + 40]!r}"
