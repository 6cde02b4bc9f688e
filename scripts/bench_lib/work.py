"""The work: clients that send and fetch, each in a process of its own, and the raw probes of the disk."""
import os, socket, struct, time

from bench_lib.servers import PATIENCE, USERS

clock = lambda: time.clock_gettime(time.CLOCK_MONOTONIC)


def in_processes(count, job):
    """Runs job(number) in `count` processes at once and gives the sum of the numbers that they return."""
    readers = []
    for number in range(count):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            # Whatever happens, a child ends here.
            try:
                os.write(into, struct.pack("d", job(number)))
            except BaseException as error:
                os.write(2, f"bench: {error!r}\n".encode())
            finally:
                os._exit(0)
        os.close(into)
        readers.append((child, out))
    total = 0
    for child, out in readers:
        octets = os.read(out, 8)
        os.close(out)
        os.waitpid(child, 0)
        if len(octets) != 8:
            raise SystemExit("bench: a client failed")
        total += struct.unpack("d", octets)[0]
    return total


class Talk:
    """A client that reads whole lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("rb", 65536)

    def expect(self, start, replies=1):
        for _ in range(replies):
            line = self.lines.readline()
            while line[3:4] == b"-" and line[:3].isdigit():
                line = self.lines.readline()
            if not line.startswith(start):
                raise RuntimeError(f"{line!r} instead of {start!r}")
        return line

    def say(self, text, start):
        self.socket.sendall(text + b"\r\n")
        return self.expect(start)

    def login(self, user):
        self.expect(b"+OK")
        self.say(b"USER " + user.encode(), b"+OK")
        self.say(b"PASS pw", b"+OK")

    def multi_line(self):
        while self.lines.readline() != b".\r\n":
            pass


def message(octets):
    head = b"From: a@example.com\r\nTo: b@bench.test\r\nSubject: bench\r\nDate: Mon, 23 Nov 2026 08:00:00 +0000\r\n\r\n"
    line = b"All work and no play makes a dull message, 72 octets to every line of it\r\n"
    return head + line * max(1, (octets - len(head)) // len(line))


def smtp(port, connections, octets, seconds):
    """Messages a second that are acknowledged, over connections that stay open; commands are pipelined."""
    data = message(octets) + b".\r\n"
    end = clock() + seconds

    def client(number):
        talk, sent = Talk(port), 0
        talk.expect(b"220")
        talk.say(b"EHLO client.example", b"250")
        while clock() < end:
            user = USERS[(number + sent) % 50].encode()
            talk.socket.sendall(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<" + user + b"@bench.test>\r\nDATA\r\n")
            talk.expect(b"250", 2)
            talk.expect(b"354")
            talk.socket.sendall(data)
            talk.expect(b"250")
            sent += 1
        rate = sent / (clock() - end + seconds)
        talk.say(b"QUIT", b"221")
        return rate

    return in_processes(connections, client)


def retr(port, user, messages, seconds):
    """Messages a second that one session fetches, one after the other."""
    def client(_):
        talk, number, begin = Talk(port), 0, clock()
        talk.login(user)
        while clock() - begin < seconds:
            talk.say(b"RETR %d" % (number % messages + 1), b"+OK")
            talk.multi_line()
            number += 1
        rate = number / (clock() - begin)
        talk.say(b"QUIT", b"+OK")
        return rate

    return in_processes(1, client)


def polls(port, user, seconds):
    """Sessions a second of a client that looks for new mail: login, STAT, UIDL, QUIT."""
    def client(_):
        number, begin = 0, clock()
        while clock() - begin < seconds:
            talk = Talk(port)
            talk.login(user)
            talk.say(b"STAT", b"+OK")
            talk.say(b"UIDL", b"+OK")
            talk.multi_line()
            talk.say(b"QUIT", b"+OK")
            number += 1
        return number / (clock() - begin)

    return in_processes(1, client)


def latency(server, messages):
    """Milliseconds from the 250 to the line in a reader's hands, sorted."""
    out, into = os.pipe()
    reader = os.fork()
    if reader == 0:
        try:
            fifo, seen = os.open(server.fifo, os.O_RDONLY), []
            os.write(into, b"r")
            while len(seen) < messages:
                seen += [clock()] * os.read(fifo, 65536).count(b"\n")
            octets = struct.pack(f"{messages}d", *seen[:messages])
            while octets:
                octets = octets[os.write(into, octets):]
        finally:
            os._exit(0)
    os.close(into)
    os.read(out, 1)
    talk, answered = Talk(server.smtp), []
    talk.expect(b"220")
    talk.say(b"EHLO client.example", b"250")
    for _ in range(messages):
        for command, reply in ((b"MAIL FROM:<>", b"250"), (b"RCPT TO:<u0@bench.test>", b"250"), (b"DATA", b"354")):
            talk.say(command, reply)
        talk.say(b"Subject: x\r\n\r\nx\r\n.", b"250")
        answered.append(clock())
        time.sleep(0.002)
    with os.fdopen(out, "rb") as file:
        seen = struct.unpack(f"{messages}d", file.read(8 * messages))
    os.waitpid(reader, 0)
    return sorted((line - answer) * 1000 for line, answer in zip(seen, answered))


def idle(server, sessions):
    """KiB that each of so many logged-in, silent POP3 sessions adds."""
    before, talks = server.memory(), []
    for number in range(sessions):
        talk = Talk(server.pop3)
        talk.login(USERS[number])
        talks.append(talk)
    after = server.memory()
    for talk in talks:
        talk.say(b"QUIT", b"+OK")
    return (after - before) / sessions


def probe(folder, writers, octets, seconds):
    """Files a second that are made as a message is: written, synced, renamed, and the folder synced."""
    data = message(octets)
    for name in ("tmp", "new"):
        (folder / name).mkdir(exist_ok=True)

    def writer(number):
        new, count, begin = os.open(folder / "new", os.O_RDONLY), 0, clock()
        while clock() - begin < seconds:
            name = f"{number}.{count}.{os.getpid()}"
            file = os.open(folder / "tmp" / name, os.O_WRONLY | os.O_CREAT)
            os.write(file, data)
            os.fsync(file)
            os.close(file)
            os.rename(folder / "tmp" / name, folder / "new" / name)
            os.fsync(new)
            count += 1
        return count / (clock() - begin)

    return in_processes(writers, writer)


def fill_box(maildirs, user, count, octets, owner):
    """A Maildir with so many read messages, for whoever serves it."""
    box = maildirs / user
    for name in ("tmp", "new", "cur"):
        (box / name).mkdir(parents=True)
    wire = message(octets)
    disk = wire.replace(b"\r\n", b"\n")
    for number in range(count):
        (box / "cur" / f"{1700000000 + number}.M1P1Q{number}.bench,S={len(disk)},W={len(wire)}:2,S").write_bytes(disk)
    if os.geteuid() == 0:
        for path in (maildirs, box, *box.iterdir()):
            os.chown(path, owner, owner)
