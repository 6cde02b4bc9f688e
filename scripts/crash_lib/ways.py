"""What scripts/crash-run attaches with --ways besides pipe, hook and `watch`: the receiver of a webhook, an MQTT broker, a
reader of /events, and a smarthost. Each notes what it was told, in the order in which it was told."""
import collections, json, socket, socketserver, threading, time


def told(record):
    """A record as the lines of the other subscribers have it."""
    return record["seq"], f"{record['user']}/{record['id']}"


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Listener:
    """A server on loopback, with a thread for each connection."""

    def __init__(self):
        self.pairs = []

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(handler):
                try:
                    self.serve(handler.rfile, handler.wfile)
                except (OSError, EOFError):
                    pass

        server = Server(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()


def whole(file, count):
    """So many octets, or EOFError."""
    octets = file.read(count)
    if len(octets) < count:
        raise EOFError
    return octets


class Webhook(Listener):
    """Acknowledges each request, and notes which events had another id than before."""

    def __init__(self):
        super().__init__()
        self.ids, self.odd = {}, []

    def serve(self, reader, writer):
        while reader.readline():
            fields = {}
            while (line := reader.readline().strip()):
                name, _, value = line.lower().partition(b": ")
                fields[name] = value
            record = json.loads(whole(reader, int(fields[b"content-length"])))
            if self.ids.setdefault(record["seq"], fields[b"webhook-id"]) != fields[b"webhook-id"]:
                self.odd.append(record["seq"])
            self.pairs.append(told(record))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class Broker(Listener):
    """MQTT 3.1.1, as much of it as a publisher with QoS 1 needs."""

    def serve(self, reader, writer):
        while True:
            first, length, shift = whole(reader, 1)[0], 0, 0
            while True:
                octet = whole(reader, 1)[0]
                length |= (octet & 127) << shift
                shift += 7
                if octet < 128:
                    break
            body = whole(reader, length)
            if first >> 4 == 1:
                writer.write(b"\x20\x02\0\0")
            elif first >> 4 == 3:
                at = 2 + int.from_bytes(body[:2], "big")
                self.pairs.append(told(json.loads(body[at + 2:])))
                writer.write(b"\x40\x02" + body[at:at + 2])
            elif first >> 4 == 12:
                writer.write(b"\xd0\0")


class Smarthost(Listener):
    """Takes everything. `cut` has the last message of each connection that ended without QUIT: only that one's 250 may not
    have been noted."""

    def __init__(self):
        super().__init__()
        self.taken, self.cut, self.lock, self.connections = collections.defaultdict(list), set(), threading.Lock(), 0

    def serve(self, reader, writer):
        with self.lock:
            self.connections += 1
            number = self.connections
        last = None
        try:
            writer.write(b"220 smarthost.example\r\n")
            recipients = []
            for line in iter(reader.readline, b""):
                word = line[:4].upper().strip()
                if word == b"EHLO":
                    writer.write(b"250-smarthost.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif word == b"DATA":
                    writer.write(b"354 go on\r\n")
                    while (line := reader.readline()) != b".\r\n":
                        if not line:
                            return
                    with self.lock:
                        last = recipients
                        for address in recipients:
                            self.taken[address].append(number)
                    writer.write(b"250 2.0.0 queued\r\n")
                elif word == b"QUIT":
                    last = None
                    writer.write(b"221 bye\r\n")
                    return
                else:
                    if word == b"MAIL":
                        recipients = []
                    elif word == b"RCPT":
                        recipients = recipients + [line.decode().split("<")[1].split(">")[0]]
                    writer.write(b"250 ok\r\n")
        finally:
            with self.lock:
                self.cut.update((address, number) for address in last or [])

    def doubles(self):
        """Copies beyond the first, and the recipients that got an earlier copy which no kill explains."""
        with self.lock:
            again = {address: copies for address, copies in self.taken.items() if len(copies) > 1}
            unexplained = [address for address, copies in again.items()
                           if any((address, number) not in self.cut for number in copies[:-1])]
        return sum(len(copies) - 1 for copies in again.values()), unexplained


class Stream(threading.Thread):
    """A reader of /events, which comes back behind the last event that came whole."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.pairs = port, []

    def run(self):
        while True:
            try:
                self.read()
            except (OSError, EOFError):
                pass
            time.sleep(0.02)

    def read(self):
        place = f"Last-Event-ID: {self.pairs[-1][0]}\r\n" if self.pairs else ""
        target = "/events" if self.pairs else "/events?from=all"
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{place}\r\n".encode())
            event = b""
            for line in connection.makefile("rb"):
                if line.startswith(b"data: "):
                    event = line[6:]
                elif line == b"\n" and event:
                    self.pairs.append(told(json.loads(event)))
                    event = b""


class Ways:
    """All of them, and what the configuration says of them."""

    def __init__(self, http):
        self.webhook, self.broker, self.smarthost, self.stream = Webhook(), Broker(), Smarthost(), Stream(http)
        self.stream.start()
        self.settings = f"""
[http]
listen = "127.0.0.1:{http}"
[[webhook]]
name = "app"
url = "http://127.0.0.1:{self.webhook.port}/"
retry = "1s..1s"
[[mqtt]]
name = "home"
url = "mqtt://127.0.0.1:{self.broker.port}"
retry = "1s..1s"
[relay]
host = "127.0.0.1"
port = {self.smarthost.port}
tls = "off"
retry = "1s..1s"
waiting_per_user = 1000000
recipients_per_hour = 1000000
"""

    def subscribers(self):
        return {"webhook": self.webhook, "mqtt": self.broker, "stream": self.stream}
