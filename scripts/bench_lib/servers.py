"""The servers that are measured: mailbell, and Postfix and Dovecot where they are installed. Each has its files in a folder
of its own, listens on free ports of loopback, and is ended by its id."""
import os, pathlib, re, shutil, signal, socket, subprocess, time

UID = 65534  # Postfix and Dovecot refuse to serve mail as root, so theirs belongs to nobody.
USERS = [f"u{number}" for number in range(500)]
PATIENCE = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port):
    for _ in range(PATIENCE * 50):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"bench: nothing answers on port {port}")


class Server:
    smtp = pop3 = None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Mailbell(Server):
    name = "mailbell"

    def __init__(self, folder, binary, maildirs):
        self.folder, self.fifo = folder, folder / "notify"
        folder.mkdir()
        (folder / "users").write_text("".join(f"{user}:{{PLAIN}}pw\n" for user in USERS))
        (folder / "mailbell.toml").write_text(f"""
hostname = "mail.bench.test"
domains = ["bench.test"]
state = "state"
[mail]
root = "{maildirs or folder / 'mail'}"
min_free = "1MiB"
[users]
file = "users"
[smtp]
listen = ["127.0.0.1:0"]
[pop3]
listen = ["127.0.0.1:0"]
[limits]
connections = 2000
connections_per_ip = 2000
[[pipe]]
path = "notify"
""")
        log = folder / "log"
        with open(log, "wb") as file:
            self.process = subprocess.Popen([binary, "serve", "-c", folder / "mailbell.toml"], stderr=file)
        while b"mailbell: ready " not in log.read_bytes():
            if self.process.poll() is not None:
                raise SystemExit("bench: mailbell did not start:\n" + log.read_text())
            time.sleep(0.01)
        ready = log.read_text()
        self.smtp, self.pop3 = (int(re.search(rf" {kind}=127\.0\.0\.1:(\d+)", ready).group(1)) for kind in ("smtp", "pop3"))

    def memory(self):
        """Proportional set size, KiB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))


class Postfix(Server):
    """It acknowledges a message when it is safe in the queue; the delivery into the Maildir comes later."""
    name = "Postfix"

    @staticmethod
    def is_installed():
        return os.geteuid() == 0 and shutil.which("postfix", path="/usr/sbin:/sbin") is not None

    def __init__(self, folder, more="", rows=(), port=None):
        """`more` follows in main.cf, `rows` in master.cf."""
        self.folder, self.config, self.smtp = folder, folder / "etc", port or free_port()
        for path in (folder, self.config, folder / "spool", folder / "data", folder / "mail"):
            path.mkdir()
        shutil.chown(folder / "data", "postfix")
        os.chown(folder / "mail", UID, UID)
        (self.config / "boxes").write_text("".join(f"{user}@bench.test {user}/\n" for user in USERS))
        (self.config / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.bench.test
mydestination =
alias_maps =
virtual_mailbox_domains = bench.test
virtual_mailbox_maps = texthash:{self.config}/boxes
virtual_mailbox_base = {folder}/mail
virtual_uid_maps = static:{UID}
virtual_gid_maps = static:{UID}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
default_process_limit = 200
{more}""")
        rows = [f"127.0.0.1:{self.smtp} inet n - n - - smtpd", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 2 1 qmgr",
                "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce",
                "trace unix - - n - 0 bounce", "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap",
                "anvil unix - - n - 1 anvil", "error unix - - n - - error", "retry unix - - n - - error",
                "virtual unix - n n - - virtual", "postlog unix-dgram n - n - 1 postlogd", *rows]
        (self.config / "master.cf").write_text("\n".join(rows) + "\n")
        self.start()

    def start(self):
        self.run("start")
        wait_for_port(self.smtp)

    def run(self, command):
        subprocess.run(["postfix", "-c", self.config, command], capture_output=True, check=command == "start")

    def stop(self):
        self.run("stop")


class Dovecot(Server):
    name = "Dovecot"

    @staticmethod
    def is_installed():
        return os.geteuid() == 0 and pathlib.Path("/usr/lib/dovecot/pop3").exists()

    def __init__(self, folder, maildirs):
        self.pop3 = free_port()
        for path in (folder, folder / "index", folder / "control"):
            path.mkdir()
            os.chown(path, UID, UID)
        (folder / "users").write_text("".join(f"{user}:{{PLAIN}}pw:{UID}:{UID}::{folder}/home/{user}::\n" for user in USERS))
        (folder / "conf").write_text(f"""
protocols = pop3
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
listen = 127.0.0.1
mail_location = maildir:{maildirs}/%u:CONTROL={folder}/control/%u:INDEX={folder}/index/%u
first_valid_uid = {UID}
first_valid_gid = {UID}
ssl = no
disable_plaintext_auth = no
maildir_very_dirty_syncs = yes
pop3_no_flag_updates = yes
service pop3-login {{
  chroot =
  service_count = 0
  process_min_avail = 2
  inet_listener pop3 {{
    port = {self.pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
""")
        self.process = subprocess.Popen(["dovecot", "-F", "-c", folder / "conf"], stderr=subprocess.DEVNULL)
        wait_for_port(self.pop3)
