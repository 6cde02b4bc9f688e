// A mailbell in a scratch folder, for the scripts that are Node programs.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const CONFIGURATION = `
hostname = "mail.example.org"
domains = ["example.org"]
state = "state"
[mail]
root = "mail"
min_free = "1MiB"
[users]
file = "users"
[smtp]
listen = ["127.0.0.1:SMTP"]
[pop3]
listen = ["127.0.0.1:0"]
[http]
listen = "127.0.0.1:HTTP"
`;

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export class Mailbell {
  // In a folder of its own; `more` is appended to the configuration.
  static async prepare(binary, more) {
    const made = new Mailbell();
    made.binary = binary;
    made.folder = fs.mkdtempSync(path.join(os.tmpdir(), "mailbell-page-"));
    [made.smtp, made.http] = [await freePort(), await freePort()];
    const text = (CONFIGURATION + more).replace("SMTP", made.smtp).replace("HTTP", made.http);
    fs.writeFileSync(path.join(made.folder, "mailbell.toml"), text);
    fs.writeFileSync(path.join(made.folder, "users"), "alice:{PLAIN}a\nbob:{PLAIN}b\n");
    return made;
  }

  async start() {
    const log = fs.openSync(path.join(this.folder, "log"), "a");
    this.child = spawn(this.binary, ["serve", "-c", "mailbell.toml"], { cwd: this.folder, stdio: ["ignore", "ignore", log] });
    fs.closeSync(log);
    const lines = () => this.log().split("mailbell: ready").length;
    for (const before = lines(); lines() === before; ) {
      if (this.child.exitCode !== null) throw new Error("the server ended:\n" + this.log());
      await new Promise((wake) => setTimeout(wake, 20));
    }
  }

  log() {
    return fs.readFileSync(path.join(this.folder, "log"), "utf8");
  }

  async stop(signal = "SIGTERM") {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, "exit");
    this.child.kill(signal);
    await ended;
  }

  async remove() {
    await this.stop();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  // Sends one message; `header` is lines with LF.
  async send(to, header) {
    const socket = net.connect(this.smtp, "127.0.0.1");
    socket.setEncoding("latin1");
    let text = "";
    const reply = async (code) => {
      while (!/^\d{3} .*\r\n$/m.test(text)) {
        const [more] = await once(socket, "data");
        text += more;
      }
      if (!text.includes(code + " ")) throw new Error("wanted " + code + ", got " + text);
      text = "";
    };
    await reply("220");
    const message = header.replaceAll("\n", "\r\n") + "\r\n\r\nHello.\r\n.";
    for (const [line, code] of [["EHLO x", "250"], ["MAIL FROM:<sender@example.com>", "250"], [`RCPT TO:<${to}@example.org>`, "250"], ["DATA", "354"], [message, "250"], ["QUIT", "221"]]) {
      socket.write(line + "\r\n");
      await reply(code);
    }
    socket.destroy();
  }
}
