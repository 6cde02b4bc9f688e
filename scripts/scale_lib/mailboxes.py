"""Mail that goes on to Dovecot, and Maildirs that two boxes share, as docs/scale.md shows them."""
import collections, json, os, poplib, pathlib, re, shutil, subprocess, time

from scale_lib.box import Box, Client, Process, answers, blocks, check, free_port, until


def lacks(what, tools):
    lacking = [tool for tool in tools if not (shutil.which(tool) or pathlib.Path(tool).exists())]
    if os.geteuid() != 0:
        lacking.append("root")
    if lacking:
        print(f"skipped: {what}: {', '.join(lacking)} is missing")
    return bool(lacking)


def dovecot(scratch, binary, sender_of, quick):
    """The hook of the page hands each message to Dovecot's LMTP, over kills of Dovecot and of mailbell."""
    if lacks("mail to Dovecot", ["dovecot", "/usr/lib/dovecot/lmtp"]):
        return
    scratch.chmod(0o755)
    base = scratch / "dovecot"
    base.mkdir()
    (base / "mail").mkdir()
    shutil.chown(base / "mail", "mail", "mail")
    (base / "users").write_text("alice:{PLAIN}pw:mail:mail::/nonexistent::\n")
    (base / "conf").write_text(f"""
protocols = lmtp
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/dovecot.log
mail_location = maildir:{base}/mail/%n
first_valid_uid = 1
first_valid_gid = 1
ssl = no
auth_username_format = %n
service lmtp {{
  unix_listener {base}/lmtp {{
    mode = 0666
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
  args = {base}/users
}}
userdb {{
  driver = passwd-file
  args = {base}/users
}}
""")
    socket = base / "lmtp"
    server = Process("dovecot-main", scratch, ["dovecot", "-F", "-c", base / "conf"], socket.exists)
    hook = scratch / "to-dovecot"
    hook.write_text(blocks()["to-dovecot"])
    hook.chmod(0o755)
    box = Box(scratch, "mx1", binary, blocks()["dovecot.toml"].replace(
        '"/usr/local/bin/to-dovecot"', f'"/usr/bin/env", "LMTP={socket}", "{hook}"') + 'retry = "1s..1s"\n')
    server.start()
    box.start()
    sender = sender_of(box)
    wait = lambda: until("mail", lambda begin=sender.count: sender.count > begin + 10)
    for _ in range(1 if quick else 3):
        wait()
        server.kill()
        # Its socket is left behind, and tells nothing.
        socket.unlink(missing_ok=True)
        wait()
        server.start()
        wait()
        box.kill()
        box.start()
    sender.stop()
    until("the records", lambda: len(box.records()) >= len(box.files()))
    begin = time.monotonic()
    waiting = box.subscriber("hook:dovecot")["backlog"]
    until("the hook", lambda: box.subscriber("hook:dovecot")["backlog"] == 0, 300)
    rate = waiting / max(time.monotonic() - begin, 0.001)
    keys = lambda paths: collections.Counter(re.search(rb"^Message-ID: (\S+)", path.read_bytes(), re.M).group(1) for path in paths)
    ours = keys(box.files())
    theirs = keys(path for folder in ("new", "cur") for path in (base / "mail/alice" / folder).glob("*"))
    missing = set(ours) - set(theirs)
    check(f"Dovecot: {len(theirs)} of {len(ours)} messages by LMTP, {len(missing)} missing, {sum(theirs.values()) - len(theirs)} twice; "
          f"{waiting} waited, {rate:.0f} a second", not missing and len(ours) >= sender.count)
    server.stop()
    box.stop()


def shared(scratch, binary, _, quick):
    """Two boxes on one file system, each by a FUSE mount of its own: one folder for both, then a folder for each."""
    if not os.path.exists("/dev/fuse"):
        # As in a container; no package helps.
        print("no FUSE here: nothing was shown of Maildirs that two boxes share")
        return
    if lacks("Maildirs that two boxes share", ["bindfs"]):
        return
    (scratch / "export").mkdir()
    mounts = []
    try:
        for name in ("mx1", "mx2"):
            at = scratch / f"mount-{name}"
            at.mkdir()
            subprocess.run(["bindfs", "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0", scratch / "export", at], check=True)
            mounts.append(at)
        both_in_one(scratch, binary, mounts)
        each_in_its_own(scratch, binary, mounts)
    finally:
        for at in mounts:
            subprocess.run(["umount", "-l", at])


def fill(box, name, count=20):
    client = Client("127.0.0.1", box.port)
    for number in range(count):
        client.send("alice", f"{number}.{name}@shared")
    client.close()


def pop3_count(box):
    port = int(re.search(r" pop3=\S+?:(\d+)", box.said()).group(1))
    session = poplib.POP3("127.0.0.1", port, timeout=30)
    session.user("alice"), session.pass_("pw")
    return session


def both_in_one(scratch, binary, mounts):
    """What the page says of one folder for both: mail and names are safe, POP3 shows all; each box tells of all mail in the end."""
    boxes = [Box(scratch, f"one{number}", binary, '[pop3]\nlisten = ["127.0.0.1:0"]\n', root=at / "one") for number, at in enumerate(mounts)]
    for box in boxes:
        box.start()
        fill(box, box.name)
    ids = lambda box: [record["id"] for record in box.records()]
    own = lambda box: [id for id in ids(box) if id.endswith(f".{box.name}.example.org")]
    until("the records", lambda: all(len(own(box)) == 20 for box in boxes))
    files = {path.name.split(",")[0] for path in boxes[0].files()}
    check("one folder for two boxes: 40 files, named by both hosts", len(files) == 40 and set(map(len, map(set, map(own, boxes)))) == {20})
    time.sleep(0.5)
    heard = [len(set(ids(box)) - set(own(box))) for box in boxes]
    print(f"      of the other's mail, the boxes have told of {heard[0]} and {heard[1]} messages so far")
    sessions = [pop3_count(box) for box in boxes]
    check("  POP3 shows all on both, and the lock of a maildrop holds within a box only", [each.stat()[0] for each in sessions] == [40, 40])
    for each in sessions:
        each.quit()
    for box in boxes:
        box.stop()
        box.start()
    until("the other's mail", lambda: all(len(ids(box)) == 40 for box in boxes), 60)
    time.sleep(0.5)
    check("  after a start, each box has told of the other's mail too, with the same ids", all(sorted(ids(box)) == sorted(files) for box in boxes))
    for box in boxes:
        box.stop()


def each_in_its_own(scratch, binary, mounts):
    boxes = [Box(scratch, f"own{number}", binary, root=at / f"own{number}") for number, at in enumerate(mounts)]
    for box in boxes:
        box.start()
        fill(box, box.name)
        box.kill()
        box.start()
    until("the records", lambda: all(len(box.records()) >= 20 for box in boxes))
    time.sleep(0.5)
    check("a folder for each box: 20 events each, also after kill -9", all(len(box.records()) == 20 for box in boxes))
    for box in boxes:
        box.stop()
