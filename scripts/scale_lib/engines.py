"""The engines of docs/scale.md, each on loopback with the files of that page, and what they hold in the end."""
import base64, json, os, socket, subprocess, threading, time, urllib.request

from scale_lib.box import PATIENCE, Process, answers, blocks, free_port, until


class Kept(threading.Thread):
    """A program that is started again whenever it ends, as a service with `Restart=always` is."""

    def __init__(self, name, folder, command, env):
        super().__init__(daemon=True)
        self.program, self.over, self.starts, self.lock = Process(name, folder, command, env=env), False, 0, threading.Lock()
        self.start()

    def run(self):
        while not self.over:
            with self.lock:
                if not self.over and not self.program.runs():
                    self.program.start()
                    self.starts += 1
            time.sleep(0.1)

    def kill(self):
        with self.lock:
            self.program.kill()

    def stop(self):
        self.over = True
        self.join(PATIENCE)
        self.program.stop()


class Engine:
    """What all have: a server that can be killed, and what the box needs (`section` of its file, or a program beside it)."""
    section, program = "", None

    def __init__(self, folder):
        self.folder = folder

    def file(self, name, *changes):
        """A file of the page, with other paths and ports."""
        text = blocks()[name]
        for old, new in changes:
            if old not in text:
                raise RuntimeError(f"docs/scale.md: {name} has no {old!r}")
            text = text.replace(old, str(new))
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o600)
        return path

    def feed(self, box):
        """Starts the program that carries the events, where there is one."""

    def has(self, box, seq):
        """Whether it has all events up to this one."""
        return self.acknowledged(box) >= seq

    def acknowledged(self, box):
        """The last event that it has."""
        return self.count() or 0

    def start(self):
        self.server.start()

    def kill(self):
        self.server.kill()

    def end(self):
        if self.program:
            self.program.stop()
        self.server.stop()


class Jetstream(Engine):
    name, needs = "NATS JetStream", ["nats-server"]

    def __init__(self, folder):
        super().__init__(folder)
        self.port = free_port()
        config = self.file("nats-server.conf", ("127.0.0.1:4222", f"127.0.0.1:{self.port}"), ("/var/lib/nats", folder / "store"))
        self.server = Process("nats-server", folder, ["nats-server", "-c", config], lambda: self.count() is not None)

    def feed(self, box):
        env = {"BOX": "mx1", "NATS": f"127.0.0.1:{self.port}", "MAILBELL": str(box.binary), "MAILBELL_CONFIG": str(box.config)}
        self.program = Kept("to-jetstream", self.folder, [self.file("to-jetstream")], env)

    def ask(self, questions):
        """The answers of the JetStream API to (verb, question) pairs."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as nats:
            replies, found = nats.makefile("rb"), []
            nats.sendall(b'CONNECT {"verbose":false}\r\nSUB answers 1\r\n')
            for verb, question in questions:
                payload = json.dumps(question).encode()
                nats.sendall(b"PUB $JS.API.STREAM.%s.MAIL-mx1 answers %d\r\n%s\r\n" % (verb.encode(), len(payload), payload))
                while not (line := replies.readline()).startswith(b"MSG"):
                    if not line:
                        raise OSError("NATS has closed the connection")
                found.append(json.loads(replies.read(int(line.split()[-1]) + 2)))
            return found

    def count(self):
        """How many events are stored; None while it does not answer."""
        try:
            found = self.ask([("INFO", {})])[0]
        except OSError:
            return None
        return found["state"]["messages"] if "state" in found else 0 if found["error"]["code"] == 404 else None

    def events(self):
        found = self.ask([("MSG.GET", {"seq": number + 1}) for number in range(self.count())])
        return [json.loads(base64.b64decode(each["message"]["data"])) for each in found]


class Redis(Engine):
    name, needs = "Redis Streams", ["redis-server", "redis-cli"]

    def __init__(self, folder):
        super().__init__(folder)
        self.port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", folder, "--appendonly", "yes", "--appendfsync",
                   "always", "--save", ""]
        self.server = Process("redis-server", folder, command, lambda: self.count() is not None)

    def feed(self, box):
        env = {"BOX": "mx1", "REDIS": f"redis://127.0.0.1:{self.port}", "MAILBELL_CONFIG": str(box.config)}
        command = [box.binary, "watch", "--cursor", "redis", "--from", "all", "--", self.file("to-redis")]
        self.program = Kept("to-redis", self.folder, command, env)

    def ask(self, *words):
        done = subprocess.run(["redis-cli", "-p", str(self.port), "--json", *words], capture_output=True, text=True)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def count(self):
        found = self.ask("XLEN", "mail:mx1")
        return found if isinstance(found, int) else None

    def events(self):
        return [json.loads(fields[1]) for _, fields in self.ask("XRANGE", "mail:mx1", "-", "+")]


class Broker(Engine):
    """An MQTT broker: mailbell needs no program beside it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.port = free_port()
        secret = folder / "password"
        secret.write_text("secret\n")
        secret.chmod(0o600)
        path = self.file("mqtt.toml", ("127.0.0.1:1883", f"127.0.0.1:{self.port}"), ("/etc/mailbell/mqtt.password", secret))
        # So that a broker that was killed is tried again soon.
        self.section = path.read_text() + 'retry = "1s..1s"\n'

    def acknowledged(self, box):
        return box.subscriber("mqtt:site")["last_seq"]


class Mosquitto(Broker):
    name, needs = "MQTT (mosquitto)", ["mosquitto", "mosquitto_sub", "mosquitto_passwd"]

    def __init__(self, folder):
        super().__init__(folder)
        self.out = folder / "out"
        (folder / "store").mkdir()
        for path in (folder, folder / "store"):
            path.chmod(0o777)
        subprocess.run(["mosquitto_passwd", "-b", "-c", folder / "passwords", "mailbell", "secret"], check=True, capture_output=True)
        (folder / "passwords").chmod(0o644)
        config = self.file("mosquitto.conf", ("listener 1883 127.0.0.1", f"listener {self.port} 127.0.0.1"),
                           ("/var/lib/mosquitto/", f"{folder}/store/"), ("/etc/mosquitto/passwords", folder / "passwords"))
        config.chmod(0o644)
        self.server = Process("mosquitto", folder, ["mosquitto", "-c", config], lambda: answers(self.port))

    def start(self):
        super().start()
        if self.program is None:
            # It connects again by itself, and the broker keeps what comes meanwhile.
            command = f"exec mosquitto_sub -h 127.0.0.1 -p {self.port} -u mailbell -P secret -i site -c -q 1 -t 'mail/#' >> {self.out}"
            self.program = Process("mosquitto_sub", self.folder, ["sh", "-c", command]).start()
            time.sleep(1)

    def kill(self):
        # mosquitto acknowledges before it writes, so a SIGKILL is its own loss: scripts/crash-mqtt counts that apart.
        self.server.stop()

    def has(self, box, seq):
        return super().has(box, seq) and self.count() >= seq

    def count(self):
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def events(self):
        return [json.loads(line) for line in self.out.read_text().splitlines()]


class Rabbitmq(Broker):
    name, needs = "RabbitMQ", ["rabbitmqctl", "epmd"]

    def __init__(self, folder):
        super().__init__(folder)
        self.web = free_port()
        definitions = self.file("definitions.json")
        config = self.file("rabbitmq.conf", ("127.0.0.1:5672", f"127.0.0.1:{free_port()}"), ("127.0.0.1:1883", f"127.0.0.1:{self.port}"),
                           ("/etc/rabbitmq/definitions.json", definitions))
        with open(config, "a") as text:
            text.write(f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.web}\n")
        # The page's plugin, and one by which this script reads the queue.
        (folder / "plugins").write_text("[rabbitmq_mqtt,rabbitmq_management].\n")
        names = free_port()
        env = {"HOME": str(folder), "RABBITMQ_NODENAME": f"mb{os.getpid()}@localhost", "RABBITMQ_MNESIA_BASE": str(folder / "store"),
               "RABBITMQ_LOG_BASE": str(folder), "RABBITMQ_CONFIG_FILE": str(config), "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
               "RABBITMQ_DIST_PORT": str(free_port()), "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1",
               "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_PID_FILE": str(folder / "pid")}
        self.names = Process("epmd", folder, ["epmd", "-port", names, "-address", "127.0.0.1"], lambda: answers(names))
        # The wrapper in /usr/sbin becomes the user rabbitmq, which has no right in this folder.
        self.server = Process("rabbitmq", folder, ["/usr/lib/rabbitmq/bin/rabbitmq-server"],
                              lambda: answers(self.port) and answers(self.web) and self.has_queue(), env)

    def start(self):
        if not self.names.runs():
            self.names.start()
        super().start()

    def end(self):
        self.server.kill()
        self.names.stop()

    def ask(self, what, question=None):
        body = json.dumps(question).encode() if question else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.web}/api/queues/%2F/mail{what}", body, {"content-type": "application/json"})
        request.add_header("authorization", "Basic " + base64.b64encode(b"mailbell:secret").decode())
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def has_queue(self):
        """It takes connections before it has read its definitions, and drops what comes before there is a queue."""
        try:
            return self.ask("")["name"] == "mail"
        except OSError:
            return False

    def events(self):
        question = {"count": 1_000_000, "ackmode": "ack_requeue_true", "encoding": "auto"}
        return [json.loads(each["payload"]) for each in self.ask("/get", question)]


ENGINES = {"jetstream": Jetstream, "redis": Redis, "mosquitto": Mosquitto, "rabbitmq": Rabbitmq}
