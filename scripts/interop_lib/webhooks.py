"""mailbell sends webhooks to receivers in Python, in Node with express, and behind nginx with TLS; each verifies the
signature, Node with the `standardwebhooks` package."""
import base64, hashlib, hmac, http.server, shutil, threading

from interop_lib.common import *

KEY = base64.b64encode(b"interop interop interop interop!").decode()

# Answers 500 to the first try of each event with an odd number; notes what came and whether its signature is right.
NODE = """
const express = require('express'), { Webhook } = require('standardwebhooks'), fs = require('fs');
const [port, log, key] = process.argv.slice(2), app = express(), seen = new Set(), webhook = new Webhook(key);
app.post('/hook', express.raw({ type: '*/*', limit: '50mb' }), (request, response) => {
  const id = request.header('webhook-id'), first = !seen.has(id);
  seen.add(id);
  let valid = true;
  try { webhook.verify(request.body, request.headers) } catch (error) { valid = String(error) }
  const event = JSON.parse(request.body), status = first && event.seq % 2 ? 500 : 200;
  fs.appendFileSync(log, JSON.stringify({ id, valid, event, status, type: request.header('content-type') }) + '\\n');
  response.status(status).send('seen');
});
app.listen(Number(port), '127.0.0.1');
"""


class Python(http.server.ThreadingHTTPServer):
    """A receiver that keeps each request."""

    def __init__(self):
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((dict(self.headers), body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def verified(headers, body):
    """The signature by Python's own hmac."""
    headers = {name.lower(): value for name, value in headers.items()}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(base64.b64decode(KEY), signed, hashlib.sha256)).decode()
    return headers["webhook-signature"] == wanted


def webhook(name, url, more=""):
    return f"""
[[webhook]]
name = "{name}"
url = "{url}"
secret_file = "secret"
retry = "1s..1s"
{more}
"""


def to_python(server, receiver, count):
    def why():
        until(lambda: len(receiver.requests) >= 2 * count)
        records = server.records()[:count]
        for headers, body in receiver.requests:
            if not verified(headers, body):
                return f"the signature of {headers} is wrong"
        events = [json.loads(body) for headers, body in receiver.requests if headers["Content-Type"] == "application/json"]
        messages = [body for headers, body in receiver.requests if headers["Content-Type"] == "message/rfc822"]
        if events != records:
            return f"{len(events)} events are not the {len(records)} of the journal"
        if messages != [pathlib.Path(record["path"]).read_bytes() for record in records]:
            return "the messages are not those that are stored"
    return why


def to_node(server, log, count):
    def why():
        lines = lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        until(lambda: len([line for line in lines() if line["status"] == 200]) >= count)
        records = server.records()[:count]
        wrong = [line for line in lines() if line["valid"] is not True or line["type"] != "application/json"]
        if wrong:
            return f"standardwebhooks refuses {wrong[0]}"
        good = [line for line in lines() if line["status"] == 200]
        if [line["event"] for line in good] != records:
            return f"{len(good)} events are not the {len(records)} of the journal, in their order"
        for line in lines():
            if line["id"] != next(other["id"] for other in good if other["event"]["seq"] == line["event"]["seq"]):
                return "another try has another id"
    return why


def run_all(scratch):
    modules = ROOT / "target/peers/node_modules"
    if not (modules / "express").is_dir() or not shutil.which("nginx"):
        return check("webhooks", lambda: "express and standardwebhooks from npm, and nginx, are missing: run scripts/install-peers")
    receiver, ports, processes = Python(), {name: free_port() for name in ("node", "nginx", "behind")}, []
    url = f"http://127.0.0.1:{receiver.server_address[1]}/"
    more = (webhook("python", url) + webhook("message", url, 'body = "message"')
            + webhook("node", f"http://127.0.0.1:{ports['node']}/hook")
            + webhook("nginx", f"https://localhost:{ports['nginx']}/hook", 'ca = "nginx.pem"'))
    server = Mailbell(scratch, more=more)
    # The certificate of a server, and of no CA, which it is trusted by all the same.
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", scratch / "nginx.key",
         "-out", scratch / "nginx.pem"])
    private(scratch / "secret", f"whsec_{KEY}\n")
    (scratch / "receiver.js").write_text(NODE)
    (scratch / "nginx.conf").write_text(f"""
daemon off;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {scratch}/nginx-body;
  proxy_temp_path {scratch}/nginx-proxy;
  fastcgi_temp_path {scratch}/nginx-fastcgi;
  uwsgi_temp_path {scratch}/nginx-uwsgi;
  scgi_temp_path {scratch}/nginx-scgi;
  server {{
    listen 127.0.0.1:{ports['nginx']} ssl;
    ssl_certificate {scratch}/nginx.pem;
    ssl_certificate_key {scratch}/nginx.key;
    location / {{ proxy_pass http://127.0.0.1:{ports['behind']}; }}
  }}
}}
""")
    log = open(scratch / "receivers.log", "ab")
    start = lambda *command: processes.append(subprocess.Popen([str(word) for word in command], stdout=log, stderr=log,
                                                               env={**os.environ, "NODE_PATH": str(modules)}))
    try:
        for name in ("node", "behind"):
            start("node", scratch / "receiver.js", ports[name], scratch / f"{name}.jsonl", f"whsec_{KEY}")
        start("nginx", "-c", scratch / "nginx.conf", "-p", scratch)
        until(lambda: all(answers(port) for port in ports.values()))
        server.start()
        count = 6
        for n in range(count):
            message = MESSAGE.replace(b"%s", b"%d" % n)
            run(["curl", "-sS", "--mail-from", "sender@example.com", "--mail-rcpt", "alice@example.org", "-T", "-",
                 f"smtp://127.0.0.1:{server.ports['smtp']}"], stdin=message[:-3])
        check("webhooks: Python, events and messages, signature by hmac", to_python(server, receiver, count))
        check("webhooks: Node, express, signature by standardwebhooks", to_node(server, scratch / "node.jsonl", count))
        check("webhooks: nginx with TLS before express", to_node(server, scratch / "behind.jsonl", count))
        check("webhooks: check --online", lambda: None if b"answers a HEAD" in run(
            [BINARY, "check", "--online", "-c", scratch / "mailbell.toml"], ok=(0, 78)) else "no webhook was tried")
    finally:
        server.stop()
        for process in processes:
            process.terminate()
            process.wait(PATIENCE)
        receiver.shutdown()
