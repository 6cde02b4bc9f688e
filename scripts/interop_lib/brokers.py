"""mailbell publishes at mosquitto: with and without TLS, with and without passwords; mosquitto_sub compares every record."""
import shutil

from interop_lib.common import *

LOGIN, PASSWORD = "mailbell", "secret of the broker"


class Mosquitto:
    """A broker with a listener for each way."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        self.ports = {way: free_port() for way in ("plain", "password", "tls")}
        folder.mkdir()
        folder.chmod(0o755)
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"])
        private(folder / "passwords", "")
        run(["mosquitto_passwd", "-b", folder / "passwords", LOGIN, PASSWORD])
        # It becomes another user when root starts it.
        for name in ("key.pem", "passwords"):
            (folder / name).chmod(0o644)
        self.fingerprint = run(["openssl", "x509", "-in", folder / "cert.pem", "-noout", "-fingerprint", "-sha256"]).decode()
        self.fingerprint = self.fingerprint.strip().split("=")[1]
        (folder / "mosquitto.conf").write_text(f"""
per_listener_settings true
listener {self.ports["plain"]} 127.0.0.1
allow_anonymous true
listener {self.ports["password"]} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
listener {self.ports["tls"]} 127.0.0.1
certfile {folder}/cert.pem
keyfile {folder}/key.pem
allow_anonymous false
password_file {folder}/passwords
""")

    def start(self):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(["mosquitto", "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log)
        until(lambda: all(answers(port) for port in self.ports.values()))

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None


def messages(broker, count, *arguments):
    """Starts a subscriber that ends after so many messages; call what this returns for (topic, payload) of each."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.ports["plain"]), "-q", "1", "-W", str(PATIENCE), "-C", str(count),
               "-F", "%j", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return lambda: [(each["topic"], each["payload"]) for each in map(json.loads, process.communicate()[0].splitlines())]


def subscribed(broker, before):
    """Waits until mosquitto has taken a subscription more."""
    until(lambda: (broker.folder / "log").read_text().count("Received SUBSCRIBE") > before)


def publishes(server, broker, way):
    """A message for each of two users: their records, on the topics of that way, as they are in the journal."""
    before = (broker.folder / "log").read_text().count("Received SUBSCRIBE")
    take = messages(broker, 2, "-t", f"{way}/#")
    subscribed(broker, before)
    known = len(server.records())
    for user in ("alice", "bob"):
        run([BINARY, "deliver", "-f", "a@example.com", user], (MESSAGE % way.encode()).replace(b"\r\n", b"\n"),
            {"MAILBELL_CONFIG": str(server.scratch / "mailbell.toml")})
    records = server.new_records(known, 2)
    came = [(topic, json.loads(payload)) for topic, payload in take()]
    want = [(f"{way}/{record['user']}", record) for record in records]
    if came != want:
        return f"{came} instead of {want}"


def sensors(server, broker):
    """What Home Assistant gets when it comes later: all is kept by the broker."""
    kept = dict(messages(broker, 4, "-t", "homeassistant/#")())
    configs = {topic: json.loads(payload) for topic, payload in kept.items() if topic.endswith("/config")}
    if sorted(config["name"] for config in configs.values()) != ["alice", "bob"]:
        return f"the sensors are {configs}"
    for topic, config in configs.items():
        state = json.loads(kept[config["state_topic"]])
        last = [record for record in server.records() if record["user"] == config["name"]][-1]
        for field in ("timestamp", "subject", "from", "seq"):
            if state[field] != last[field]:
                return f"{field} of {config['name']} is {state[field]!r} instead of {last[field]!r}"


def looked_at(server):
    """`check --online` connects to each."""
    said = run([BINARY, "check", "--online", "-c", server.scratch / "mailbell.toml"]).decode()
    missing = [way for way in ("plain", "password", "tls") if f"mqtt {way}: connected to" not in said]
    return f"{missing} are not in: {said}" if missing else None


def run_all(scratch):
    if not shutil.which("mosquitto"):
        check("mailbell publishes at mosquitto", lambda: "scripts/install-peers first")
        return
    scratch.mkdir()
    scratch.chmod(0o755)
    broker = Mosquitto(scratch / "mosquitto")
    # The log tells of subscriptions.
    with open(broker.folder / "mosquitto.conf", "a") as conf:
        conf.write("log_dest stderr\nlog_type all\n")
    section = lambda way, scheme, more: f"""
[[mqtt]]
name = "{way}"
url = "{scheme}://127.0.0.1:{broker.ports[way]}"
topic = "{way}/{{user}}"
{more}
"""
    login = f'login = "{LOGIN}"\npassword_file = "mqtt.pw"'
    server = Mailbell(scratch / "mailbell", more="".join([
        section("plain", "mqtt", 'discovery = "homeassistant"'),
        section("password", "mqtt", login),
        section("tls", "mqtts", f'{login}\nfingerprint = ["{broker.fingerprint}"]')]))
    private(server.scratch / "mqtt.pw", PASSWORD + "\n")
    try:
        broker.start()
        check("check --online tries each broker", lambda: looked_at(server))
        server.start()
        check("mailbell publishes at mosquitto", lambda: publishes(server, broker, "plain"))
        check("  Home Assistant finds each user's sensor and its state", lambda: sensors(server, broker))
        check("  with a password", lambda: publishes(server, broker, "password"))
        check("  with TLS and a fingerprint", lambda: publishes(server, broker, "tls"))
        broker.stop()
        broker.start()
        check("  and after a restart of the broker", lambda: publishes(server, broker, "plain"))
    except RuntimeError as error:
        check("mailbell publishes at mosquitto", lambda: str(error))
    finally:
        server.stop()
        broker.stop()
