"""What the scale scripts share: the code blocks of docs/scale.md, boxes that run mailbell, clients that send, and results."""
import atexit, gzip, json, os, pathlib, re, shutil, signal, socket, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE = 120
results, processes = [], []


def until(what, ask, patience=PATIENCE):
    """Asks until the answer is true, and gives it; ends the script when that takes too long."""
    end = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > end:
            raise RuntimeError(f"waited too long for {what}")
        time.sleep(0.02)
    return answer


def check(what, holds):
    """Prints and keeps one result."""
    results.append(bool(holds))
    print(f"{'ok   ' if holds else 'FAIL '} {what}", flush=True)


def finish(skipped=False):
    """The last line, and the exit code. Without any result it is a failure, unless all may have been skipped."""
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not (results or skipped) else 0)


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


def blocks():
    """The files that docs/scale.md shows, by name: each code block whose line above begins with `/PATH/NAME` in backquotes."""
    page = (ROOT / "docs/scale.md").read_text()
    return {path.rsplit("/", 1)[1]: text for path, text in re.findall(r"^`(/[^`]+)`.*\n\n```\w*\n((?:.*\n)*?)```$", page, re.M)}


class Process:
    """A program that is started, killed and started again. Its output goes to FOLDER/NAME.log."""

    def __init__(self, name, folder, command, is_ready=None, env=None):
        self.name, self.command, self.is_ready, self.process = name, [str(word) for word in command], is_ready, None
        self.log, self.begin = folder / f"{name}.log", 0
        # The programs of Debian, also where other versions are installed before them.
        path = f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}"
        self.env = {**os.environ, "PATH": path, **(env or {})}

    def start(self):
        log = open(self.log, "ab")
        self.begin = log.tell()
        # A session of its own, so that what it starts can be ended with it.
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env,
                                        start_new_session=True)
        log.close()
        processes.append(self.process)
        if self.is_ready:
            until(f"{self.name} to be ready", lambda: self.is_ready() or self.process.poll() is not None)
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.said()[-2000:]}")
        return self

    def said(self):
        """What it has printed since its last start."""
        with open(self.log, "rb") as log:
            log.seek(self.begin)
            return log.read().decode(errors="replace")

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        end(self.process, signal.SIGKILL)

    def stop(self):
        end(self.process, signal.SIGTERM)


def end(process, how):
    """Ends the process and what it started, and waits."""
    if process is None or process.returncode is not None:
        return
    try:
        os.killpg(process.pid, how)
    except ProcessLookupError:
        pass
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def scratch_folder(name):
    """A folder that goes at the end, with every process that was started."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"mailbell-{name}-"))
    folder.chmod(0o755)

    def clean():
        for process in reversed(processes):
            end(process, signal.SIGKILL)
        if "--keep" in sys.argv:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(clean)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return folder


class Box(Process):
    """A mailbell with a state and Maildirs of its own."""

    def __init__(self, folder, name, binary, more="", address="127.0.0.1", port=0, users=("alice",), before=(), root="mail"):
        self.folder = folder / name
        self.folder.mkdir()
        self.config, self.binary, self.address, self.root = self.folder / "mailbell.toml", binary, address, self.folder / root
        (self.folder / "users").write_text("".join(f"{user}:{{PLAIN}}pw\n" for user in users))
        self.config.write_text(f"""
hostname = "{name}.example.org"
domains = ["example.org"]
state = "state"
pipe = []
[mail]
root = "{self.root}"
min_free = "1MiB"
[users]
file = "users"
[smtp]
listen = ["{address}:{port}"]
""" + ("" if "[pop3]" in more else "[pop3]\nlisten = []\n") + more)
        super().__init__(name, self.folder, [*before, binary, "serve", "-c", self.config], lambda: "mailbell: ready" in self.said())

    def start(self):
        """Starts, and keeps the port of SMTP and the seconds until the ready line."""
        began = time.monotonic()
        super().start()
        self.took = time.monotonic() - began
        self.port = int(re.search(r" smtp=\S+?:(\d+)", self.said()).group(1))
        return self

    def status(self):
        done = subprocess.run([self.binary, "status", "--json", "-c", self.config], capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"status ends with {done.returncode}: {done.stderr.decode()}")
        return json.loads(done.stdout)

    def subscriber(self, name):
        return next(each for each in self.status()["subscribers"] if each["name"] == name)

    def records(self):
        """Every record of the journal."""
        found = []
        for path in sorted((self.folder / "state/journal").glob("*.jsonl*")):
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            # A segment may have been made long enough for records to come.
            found += [json.loads(line) for line in text.splitlines() if line.strip(b"\0 ")]
        return found

    def files(self):
        """Every message in new/ and cur/."""
        return [path for folder in ("new", "cur") for path in self.root.glob(f"*/{folder}/*")]

    def memory(self):
        """Proportional set size, KiB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1))


class Client:
    """An SMTP session. A wrong answer raises OSError, as a lost connection does."""

    def __init__(self, address, port, timeout=PATIENCE):
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")
        self.expect(b"220")
        self.socket.sendall(b"HELO client.example\r\n")
        self.expect(b"250")

    def expect(self, code):
        line = self.replies.readline()
        if not line.startswith(code):
            raise OSError(f"{line!r} instead of {code.decode()}")

    def send(self, to, key, text=b"x\r\n"):
        """One message with this Message-ID. `self.is_open` is true while only the answer to its end is missing."""
        self.is_open = False
        self.socket.sendall(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<%s@example.org>\r\nDATA\r\n" % to.encode())
        for code in (b"250", b"250", b"354"):
            self.expect(code)
        self.is_open = True
        self.socket.sendall(b"From: a@example.com\r\nMessage-ID: <%s>\r\nSubject: %s\r\n\r\n%s.\r\n" % (key.encode(), key.encode(), text))
        self.expect(b"250")
        self.is_open = False

    def close(self):
        self.socket.close()
