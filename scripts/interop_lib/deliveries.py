"""Other programs deliver into a Maildir that mailbell watches: each mail is one event, whatever mailbell does meanwhile."""
import pwd, shutil, smtplib, time

from interop_lib.common import *
from interop_lib.servers import Postfix

MAIL = b"From: alice@example.com\nTo: bob@example.org\nSubject: %s\nMessage-ID: <%s@deliveries.example>\n\nhello\n"


def procmail(folder, name):
    rc = private(folder.parent / "procmailrc", f"MAILDIR={folder.parent}\nDEFAULT={folder}/\nLOGFILE={folder.parent}/procmail.log\n")
    run(["procmail", "-m", rc], MAIL % (name, name))


def fdm(folder, name):
    rc = private(folder.parent / "fdm.conf", f'set lock-file "{folder.parent}/fdm.lock"\naccount "stdin" stdin\n'
                 f'action "keep" maildir "{folder}"\nmatch all action "keep"\n')
    run(["fdm", "-f", rc, "-a", "stdin", "fetch"], MAIL % (name, name), env={"HOME": str(folder.parent)})


def dovecot_lda(folder, name):
    conf = folder.parent / "lda.conf"
    conf.write_text(f"mail_location = maildir:{folder}\nlog_path = /dev/stderr\nfirst_valid_uid = 1\nssl = no\n"
                    f"postmaster_address = postmaster@example.org\nhostname = mail.example.org\n"
                    f"base_dir = {folder.parent}/lda-run\n")
    run(as_mail("/usr/lib/dovecot/dovecot-lda", "-c", conf), MAIL % (name, name),
        env={"HOME": str(folder.parent), "USER": "mail"})


def hand(folder, name):
    """`mv` from tmp/, as a script does."""
    (folder / "tmp" / name.decode()).write_bytes(MAIL % (name, name))
    (folder / "tmp" / name.decode()).rename(folder / "new" / name.decode())


class Virtual:
    """Postfix's own delivery agent for Maildirs, virtual(8)."""

    __name__ = "postfix"

    def __init__(self, scratch, folder):
        ids = pwd.getpwnam("mail")
        self.postfix = Postfix(scratch, {"watched.example.org": "virtual:"}, more=f"""
virtual_mailbox_base = {folder.parent}
virtual_mailbox_maps = static:{folder.name}/
virtual_uid_maps = static:{ids.pw_uid}
virtual_gid_maps = static:{ids.pw_gid}
virtual_minimum_uid = 1
""")

    def __call__(self, folder, name):
        before = len(list((folder / "new").iterdir()))
        self.postfix.send("bob@watched.example.org", MAIL % (name, name))
        until(lambda: len(list((folder / "new").iterdir())) > before)


def up(server, folder, deliver, name):
    before = len(server.records())
    began = time.monotonic()
    deliver(folder, name)
    until(lambda: len(server.records()) > before)
    took = time.monotonic() - began
    record = server.new_records(before, 1)[0]
    got = {field: record[field] for field in ("user", "via", "subject", "client")}
    want = {"user": "bob", "via": "maildir", "subject": name.decode(), "client": None}
    if got != want:
        return f"the event says {got} instead of {want}"
    return None if took < 2 else f"the event took {took:.1f} s"


def down(server, folder, deliver, name):
    before = len(server.records())
    server.stop()
    try:
        deliver(folder, name)
    finally:
        server.start()
    record = server.new_records(before, 1)[0]
    return None if record["subject"] == name.decode() else f"the event says {record['subject']!r}"


def restarting(server, folder, deliver):
    """Twenty deliveries while the server stops and starts three times: twenty events."""
    before = len(server.records())
    subjects = []
    try:
        for number in range(20):
            if number % 6 == 3:
                server.stop()
            subjects.append(f"restart-{deliver.__name__}-{number}")
            deliver(folder, subjects[-1].encode())
            if number % 6 == 4:
                server.start()
    finally:
        if server.process.poll() is not None:
            server.start()
    found = sorted(record["subject"] for record in server.new_records(before, 20))
    return None if found == sorted(subjects) else f"{found}"


def moved(server, folder):
    """A mail program that has seen a message moves it to cur/: no event."""
    before = len(server.records())
    path = next((folder / "new").iterdir())
    path.rename(folder / "cur" / (path.name + ":2,S"))
    server.new_records(before, 0)


def inside(server, *command):
    """Runs a command in the mount namespace of a server that was started with `ALONE`."""
    run(["nsenter", "--mount", f"--target={server.process.pid}", *command])


def run_quietly(*command):
    return subprocess.run(command, capture_output=True).returncode == 0


ALONE = ("unshare", "--mount", "--propagation", "private")


def mounted(server, folder):
    """A disk that is mounted over the Maildir while mailbell runs, in a mount namespace of its own."""
    server.stop()
    server.start(*ALONE)
    try:
        before = len(server.records())
        disk = folder.parent / "disk"
        for part in ("tmp", "new", "cur"):
            (disk / part).mkdir(parents=True)
        hand(disk, b"was-on-the-disk")
        inside(server, "mount", "--bind", disk, folder)
        server.new_records(before, 1)
        hand(disk, b"came-to-the-disk")
        found = [record["subject"] for record in server.new_records(before, 2)]
        inside(server, "umount", folder)
        hand(folder, b"below-again")
        found += [record["subject"] for record in server.new_records(before + 2, 1)]
        # A Maildir that is not there yet, and comes to be on a disk that is mounted meanwhile.
        inside(server, "mount", "-t", "tmpfs", "none", later(folder).parent)
        time.sleep(1)
        inside(server, "sh", "-c", f"cd {later(folder).parent} && mkdir -p Maildir/new Maildir/cur Maildir/tmp && "
               "printf 'Subject: on-the-new-disk\\n\\n' > Maildir/tmp/1 && mv Maildir/tmp/1 Maildir/new/")
        found += [record["subject"] for record in server.new_records(before + 3, 1)]
    finally:
        server.stop()
        server.start()
    return None if found == ["was-on-the-disk", "came-to-the-disk", "below-again", "on-the-new-disk"] else f"{found}"


def later(folder):
    return folder.parent / "later/Maildir"


def mounted_root(server):
    """The same where mailbell's own mail is: what comes in now goes to the disk."""
    server.stop()
    server.start(*ALONE)
    try:
        before = len(server.records())
        disk = server.scratch / "mail-disk"
        disk.mkdir()
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as client:
            client.sendmail("alice@example.com", ["bob@example.org"], MAIL % (b"below", b"below"))
        inside(server, "mount", "--bind", disk, server.scratch / "mail")
        # The mount is noticed by a thread of its own. Until then a sender is asked to try again.
        for _ in range(600):
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as client:
                try:
                    client.sendmail("alice@example.com", ["bob@example.org"], MAIL % (b"above", b"above"))
                    break
                except (smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused):
                    time.sleep(0.1)
        server.new_records(before, 2)
        count = len(list((disk / "bob/new").iterdir()))
    finally:
        server.stop()
        server.start()
    return None if count == 1 else f"{count} messages on the disk"


def run_all(scratch):
    folder = scratch / "watched" / "Maildir"
    for part in ("tmp", "new", "cur"):
        (folder / part).mkdir(parents=True)
        # The programs deliver as the user mail, and only files of the Maildir's owner become events.
        shutil.chown(folder / part, "mail", "mail")
    shutil.chown(folder, "mail", "mail")
    later(folder).parent.mkdir()
    server = Mailbell(scratch, more=f'[[watch]]\nuser = "bob"\nmaildir = "{folder}"\n'
                      f'[[watch]]\nuser = "bob"\nmaildir = "{later(folder)}"\n')
    server.start()
    postfix = None
    try:
        if shutil.which("postfix"):
            postfix = Virtual(scratch, folder)
            postfix.postfix.start()
        for deliver, program in ((postfix, "postfix"), (procmail, "procmail"), (fdm, "fdm"), (dovecot_lda, "/usr/lib/dovecot/dovecot-lda"), (hand, "mv")):
            if not shutil.which(program):
                check(program, lambda: f"{program} is not installed")
                continue
            name = deliver.__name__.encode()
            check(f"{deliver.__name__} delivers into a watched Maildir", lambda: up(server, folder, deliver, b"up-" + name))
            check(f"{deliver.__name__} delivers while mailbell is down", lambda: down(server, folder, deliver, b"down-" + name))
            check(f"{deliver.__name__} delivers while mailbell restarts", lambda: restarting(server, folder, deliver))
        if run_quietly(*ALONE, "true"):
            check("a disk is mounted over a watched Maildir", lambda: mounted(server, folder))
            check("a disk is mounted where mailbell's mail is", lambda: mounted_root(server))
        else:
            print("      no mount namespaces here: what is mounted later is not shown")
        check("a move to cur/ is no new message", lambda: moved(server, folder))
    finally:
        if postfix:
            postfix.postfix.stop()
        server.stop()
