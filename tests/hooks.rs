//! Hooks on the real binary: each gets its messages, and none is in the way of mail or of another one.

mod common;

use common::{BASIC, Scratch, Server, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn a_hook_gets_the_message_and_is_never_in_its_way() {
    let hooks = r#"
[[hook]]
name = "good"
command = ["./good", "argument"]
[[hook]]
name = "event"
command = ["/bin/sh", "-c", "cat > $MAILBELL_USER.json"]
stdin = "event"
[[hook]]
name = "stuck"
command = ["./stuck"]
stdin = "none"
[[hook]]
name = "bad"
command = ["/bin/sh", "-c", "echo oh no >&2; exit 3"]
retry = "1s..1s"
give_up = "1s"
match = { subject = "*BAD*" }
"#;
    let scratch = Scratch::prepared("hooks", &format!("{BASIC}{hooks}"));
    let folder = scratch.0.display().to_string();
    fs::write(
        scratch.path("good"),
        format!(
            "#!/bin/sh\ncat > {folder}/$MAILBELL_SEQ.eml; env | grep ^MAILBELL_ | sort > {folder}/$MAILBELL_SEQ.env\n"
        ),
    )
    .unwrap();
    fs::set_permissions(scratch.path("good"), fs::Permissions::from_mode(0o755)).unwrap();
    // It hangs until the test ends, so that no stop has to wait for it.
    fs::write(scratch.path("stuck"), format!("#!/bin/sh\nuntil [ -e {folder}/over ]; do sleep 0.05; done\n")).unwrap();
    fs::set_permissions(scratch.path("stuck"), fs::Permissions::from_mode(0o755)).unwrap();
    let file = scratch.path("mailbell.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("$MAILBELL_USER.json", &format!("{folder}/$MAILBELL_USER.json"))).unwrap();
    let server = Server::start_in(scratch, &[]);
    for subject in ["first", "a bad one", "third"] {
        server.send("alice@example.org", &format!("Subject: {subject}\n\nx\n"));
    }
    for (number, record) in server.records().iter().enumerate() {
        let path = server.path(&format!("{}.env", number + 1));
        let env = wait_for("the hook", || fs::read_to_string(&path).ok().filter(|text| text.contains("MAILBELL_VIA")));
        let stored = fs::read(record["path"].as_str().unwrap()).unwrap();
        assert_eq!(fs::read(server.path(&format!("{}.eml", number + 1))).unwrap(), stored);
        // What the test itself was started with comes through, too.
        let of_the_event =
            env.lines().filter(|line| !line.starts_with("MAILBELL_TEST_") && !line.starts_with("MAILBELL_CONFIG"));
        assert_eq!(of_the_event.count(), record.as_object().unwrap().len());
        for (name, value) in record.as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string().replace("null", ""), str::to_owned);
            let line = format!("MAILBELL_{}={value}", name.to_uppercase());
            assert!(env.lines().any(|found| found == line), "{line} is not in\n{env}");
        }
    }
    let status =
        || -> serde_json::Value { serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap() };
    let bad = wait_for("the bad one to be given up", || {
        let subscribers = status()["subscribers"].as_array().unwrap().clone();
        let bad = subscribers.into_iter().find(|subscriber| subscriber["name"] == "hook:bad").unwrap();
        (bad["given_up"] == 1 && bad["last_seq"] == 3).then_some(bad)
    });
    assert_eq!((&bad["retries"], &bad["backlog"]), (&2.into(), &0.into()), "{bad}");
    let event: serde_json::Value = serde_json::from_slice(&fs::read(server.path("alice.json")).unwrap()).unwrap();
    assert_eq!(event["seq"], 3);
    let log = server.log();
    assert!(log.contains("hook bad: seq 2: oh no") && log.contains("given up after 2 tries"), "{log}");
    let stuck = wait_for("the stuck one's state", || {
        let subscribers = status()["subscribers"].as_array().unwrap().clone();
        subscribers.into_iter().find(|subscriber| subscriber["name"] == "hook:stuck")
    });
    assert_eq!((&stuck["last_seq"], &stuck["backlog"]), (&0.into(), &3.into()));
    assert!(stuck["oldest_unread"].is_string());
    fs::write(server.path("over"), "").unwrap();
    server.stop();
}

/// A hook `name` that runs a shell script, in which `$D` is the scratch folder.
fn with_hook(name: &str, stdin: &str, script: &str) -> Scratch {
    let hook = format!("[[hook]]\nname = 'it'\ncommand = ['./it']\nstdin = '{stdin}'\nretry = '1s..1s'\n");
    let scratch = Scratch::prepared(name, &format!("{BASIC}{hook}"));
    fs::write(scratch.path("it"), format!("#!/bin/sh\nD={}\n{script}\n", scratch.0.display())).unwrap();
    fs::set_permissions(scratch.path("it"), fs::Permissions::from_mode(0o755)).unwrap();
    scratch
}

#[test]
fn a_hook_gets_no_capability_no_descriptor_and_its_own_limit() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let script =
        "{ grep ^Cap /proc/self/status; echo limit $(ulimit -Sn); ls -l /proc/self/fd; } > $D/out; mv $D/out $D/told";
    let scratch = with_hook("rights", "event", script);
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&scratch.0).status().unwrap().success());
    // As systemd starts it: another user, with the capability for port 25; and with descriptors of its own.
    let mut command = Command::new("sh");
    let caps = "--inh-caps +net_bind_service --ambient-caps +net_bind_service";
    let user = "--reuid 65534 --regid 65534 --clear-groups";
    let start = format!("ulimit -Sn 300; exec 9</etc/passwd; exec setpriv {user} {caps} \"$0\" serve -c \"$1\"");
    command.args(["-c", &start]).arg(common::binary()).arg(scratch.path("mailbell.toml"));
    let server = Server::start_by(scratch, command);
    server.send("alice@example.org", "Subject: x\n\nx\n");
    let told = wait_for("the hook", || fs::read_to_string(server.path("told")).ok());
    for kind in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(told.contains(&format!("{kind}:\t0000000000000000")), "{told}");
    }
    assert!(told.contains("limit 300\n") && !told.contains("/etc/passwd"), "{told}");
    server.stop();
}

#[test]
fn as_pid_1_no_zombie_of_a_hook_is_left() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // Each leaves a process behind that ends later than the hook.
    let scratch = with_hook("init", "none", "sleep 0.1 > /dev/null 2>&1 & echo x >> $D/told");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(common::binary());
    command.args(["serve", "-c"]).arg(scratch.path("mailbell.toml"));
    let server = Server::start_by(scratch, command);
    for _ in 0..20 {
        server.send("alice@example.org", "Subject: x\n\nx\n");
    }
    wait_for("the hooks", || fs::read_to_string(server.path("told")).ok().filter(|told| told.lines().count() == 20));
    let children = |pid: &str| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        lists.collect::<String>().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let init = children(&server.pid().to_string()).remove(0);
    wait_for("the end of all that the hooks left", || children(&init).is_empty().then_some(()));
    assert!(Command::new("kill").arg(&init).status().unwrap().success());
    server.stop_already();
}

#[test]
fn a_message_that_cannot_be_opened_is_tried_again_and_a_link_is_not_followed() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let scratch = with_hook(
        "opened",
        "message",
        "while ! test -e $D/go; do sleep 0.05; done; cat > $D/out.$MAILBELL_SEQ; mv $D/out.$MAILBELL_SEQ $D/told.$MAILBELL_SEQ",
    );
    let watched = scratch.path("watched");
    for folder in ["new", "cur", "tmp"] {
        fs::create_dir_all(watched.join(folder)).unwrap();
    }
    let file = scratch.path("mailbell.toml");
    let text = fs::read_to_string(&file).unwrap() + "[[watch]]\nuser = 'bob'\nmaildir = 'watched'\n";
    fs::write(&file, text).unwrap();
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&scratch.0).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(common::binary());
    command.args(["serve", "-c"]).arg(&file);
    let server = Server::start_by(scratch, command);
    let deliver = |name: &str| {
        let (tmp, new) = (watched.join("tmp").join(name), watched.join("new").join(name));
        fs::write(&tmp, format!("Subject: {name}\n\nx\n")).unwrap();
        std::os::unix::fs::chown(&tmp, Some(65534), Some(65534)).unwrap();
        fs::rename(&tmp, &new).unwrap();
        new
    };
    // The hook is kept busy, so that the next ones are changed before their turn comes.
    let names = ["1.M1.first", "1.M2.second", "1.M3.third"];
    deliver(names[0]);
    wait_for("the first record", || (server.records().len() == 1).then_some(()));
    let files = [names[1], names[2]].map(deliver);
    wait_for("the records", || (server.records().len() == 3).then_some(()));
    let seq_of = |name: &str| {
        let records = server.records();
        let record = records.iter().find(|record| record["path"].as_str().unwrap().ends_with(name)).unwrap();
        record["seq"].as_u64().unwrap()
    };
    let (closed, linked) = (seq_of(names[1]), seq_of(names[2]));
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o000)).unwrap();
    fs::remove_file(&files[1]).unwrap();
    std::os::unix::fs::symlink(server.path("users"), &files[1]).unwrap();
    fs::write(server.path("go"), "").unwrap();
    wait_for("a try", || server.log().contains(&format!("hook it: seq {closed} ")).then_some(()));
    assert!(server.log().contains("Permission denied"), "{}", server.log());
    assert!(!server.path(&format!("told.{closed}")).exists());
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o644)).unwrap();
    let told = |seq: u64| wait_for("the hook", || fs::read_to_string(server.path(&format!("told.{seq}"))).ok());
    assert_eq!(told(closed), "Subject: 1.M2.second\n\nx\n");
    assert_eq!(told(linked), "");
    assert!(server.log().contains("no regular file any more"), "{}", server.log());
    server.stop();
}
