"""mailbell fetches from other servers, and from itself: everything once, and nothing a second time."""
import re

from interop_lib.common import *
from interop_lib.peers import PASSWORD, PEERS, Courier, Cyrus, Dovecot, Mailutils, Popa3d

WAYS = [(protocol, after) for protocol in ("imap", "pop3") for after in ("leave", "delete")]


def messages(batch):
    """Hard ones: 8-bit, dots, no Message-ID, one Message-ID twice, an empty body, a large one."""
    head = b"From: a@example.com\r\nTo: b@example.org\r\n"
    # A line "From ..." is not among them: mbox files cannot keep it.
    yield (MESSAGE % batch).replace(b"From the start", b"Of the start")
    yield head + b"Subject: no id " + batch + b"\r\n\r\nx\r\n"
    for number in (b"1", b"2"):
        yield head + b"Subject: same id " + number + b"\r\nMessage-ID: <same-" + batch + b"@x>\r\n\r\nbody " + number + b"\r\n"
    yield head + b"Subject: empty\r\nMessage-ID: <empty-" + batch + b"@x>\r\n\r\n"
    yield head + b"Subject: large\r\nMessage-ID: <large-" + batch + b"@x>\r\n\r\n" + b"".join(b".line %d\r\n" % n for n in range(50_000))


class Fetching:
    """A mailbell with a remote for each way; the account there has the remote's name."""

    def __init__(self, scratch, peer, ways, settings=lambda protocol: 'tls = "off"'):
        self.peer, self.ways = peer, ways
        remotes = "".join(f"""
[[remote]]
name = "{protocol}-{after}"
protocol = "{protocol}"
host = "127.0.0.1"
port = {peer.ports[protocol]}
{settings(protocol)}
login = "{protocol}-{after}"
password_file = "password"
user = "{protocol}-{after}"
after = "{after}"
only_new = false
""" for protocol, after in ways)
        self.server = Mailbell(scratch, more=remotes)
        (scratch / "users").write_text("".join(f"{protocol}-{after}:{{PLAIN}}x\n" for protocol, after in ways))
        private(scratch / "password", PASSWORD + "\n")
        self.seen = {}

    def look(self, name):
        run([BINARY, "fetch", "-c", self.server.scratch / "mailbell.toml", name])

    def came(self, name, batch):
        """Delivers a batch there; it comes here as it was, once."""
        sent = list(messages(batch))
        for octets in sent:
            self.peer.deliver(name, octets)
        self.look(name)
        problem = self.nothing(name, len(sent))
        if problem:
            return problem
        # mailutils adds a field of its own.
        left = lambda octets: re.sub(rb"\nX-UIDL: .*", b"", octets[octets.find(b"From: "):]).rstrip(b"\n")
        want = sorted(left(octets.replace(b"\r\n", b"\n")) for octets in sent)
        got = sorted(left(path.read_bytes()) for path in self.new)
        return next((difference("a message", each, other) for each, other in zip(got, want) if each != other), None)

    def nothing(self, name, count=0):
        """A look that finds `count` messages more than the last one."""
        before = self.seen.get(name, set())
        self.look(name)
        files = set(self.server.files(name))
        self.new, self.seen[name] = files - before, files
        records = [record for record in self.server.records() if record["user"] == name]
        if len(self.new) != count or len(records) != len(files):
            return f"{len(self.new)} new files instead of {count}; {len(files)} files and {len(records)} records in all"
        if {record["path"] for record in records} != {str(path) for path in files}:
            return "records and files differ"


def fetches_from(title, scratch, peer, ways):
    fetching = None
    try:
        peer.start()
        fetching = Fetching(scratch / "mailbell", peer, ways)
        fetching.server.start()
        for protocol, after in ways:
            name, words = f"{protocol}-{after}", f"{title}, {protocol.upper()}, {after}"
            check(f"mailbell fetches from {words}", lambda: fetching.came(name, b"one"))
            check(f"  and nothing twice from {words}", lambda: fetching.nothing(name))
        fetching.server.stop()
        fetching.server.start()
        for protocol, after in ways:
            name, words = f"{protocol}-{after}", f"{title}, {protocol.upper()}, {after}"
            check(f"  and after a restart, what is new from {words}", lambda: fetching.came(name, b"two"))
    except RuntimeError as error:
        check(f"mailbell fetches from {title}", lambda: str(error))
    finally:
        if fetching:
            fetching.server.stop()
        peer.stop()


class Itself:
    """Another mailbell, by POP3 with and without TLS."""

    def __init__(self, scratch, users):
        self.server = Mailbell(scratch)
        (scratch / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in users))

    def start(self):
        self.server.start()
        self.ports = {"pop3": self.server.ports["pop3"]}

    def stop(self):
        self.server.stop()

    def deliver(self, user, octets):
        run([BINARY, "deliver", "-f", "a@example.com", user], octets.replace(b"\r\n", b"\n"),
            {"MAILBELL_CONFIG": str(self.server.scratch / "mailbell.toml")})


def run_all(scratch):
    if os.geteuid() != 0:
        check("mailbell fetches from other servers", lambda: "they need root")
        return
    if not PEERS.exists():
        check("mailbell fetches from other servers", lambda: "scripts/install-peers first")
        return
    scratch.mkdir()
    scratch.chmod(0o755)
    names = [f"{protocol}-{after}" for protocol, after in WAYS]
    of_pop3 = [way for way in WAYS if way[0] == "pop3"]
    for title, kind, ways in (("Dovecot", Dovecot, WAYS), ("Courier", Courier, WAYS), ("Cyrus", Cyrus, WAYS),
                              ("mailutils", Mailutils, WAYS), ("popa3d", Popa3d, of_pop3), ("mailbell", Itself, of_pop3)):
        folder = scratch / title.lower()
        folder.mkdir()
        folder.chmod(0o755)
        fetches_from(title, folder, kind(folder / "peer", names), ways)
