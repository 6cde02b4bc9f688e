//! Hooks on the real binary: each gets its messages, and none is in the way of mail or of another one.

mod common;

use common::{BASIC, Scratch, Server, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;

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
