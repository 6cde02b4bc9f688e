//! `mailbell replay` on the real binary: events are handed over again; a subscriber is paused and goes on.

mod common;

use common::{BASIC, Scratch, Server, run, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

/// Two hooks that write the numbers of their events into `out.NAME`. `first` fails while `fail` is there.
fn prepared(name: &str, more: &str) -> Scratch {
    let hook = |name: &str, more: &str| {
        format!("[[hook]]\nname = '{name}'\ncommand = ['./it', '{name}']\nstdin = 'none'\nretry = '1s..1s'\n{more}\n")
    };
    let first = hook("first", more);
    let second = hook("second", "users = ['bob']");
    let scratch = Scratch::prepared(name, &format!("{BASIC}{first}{second}"));
    let folder = scratch.0.display();
    let script = format!(
        "#!/bin/sh\ncd {folder}\ntest \"$1$MAILBELL_SEQ\" != \"$(cat fail 2>/dev/null)\" || exit 3\n\
         echo $MAILBELL_SEQ >> out.$1\n"
    );
    fs::write(scratch.path("it"), script).unwrap();
    fs::set_permissions(scratch.path("it"), fs::Permissions::from_mode(0o755)).unwrap();
    scratch
}

fn out(server: &Server, name: &str) -> Vec<u64> {
    let text = fs::read_to_string(server.path(&format!("out.{name}"))).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn wait_for_out(server: &Server, name: &str, wanted: &[u64]) {
    wait_for("the hook", || (out(server, name).len() >= wanted.len()).then_some(()));
    assert_eq!(out(server, name), wanted);
}

fn status(server: &Server, name: &str) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap();
    let subscribers = status["subscribers"].as_array().unwrap();
    subscribers.iter().find(|each| each["name"] == name).unwrap().clone()
}

fn replay(server: &Server, arguments: &[&str]) -> Output {
    server.run(&[&["replay"], arguments].concat(), "")
}

fn done(server: &Server, arguments: &[&str]) -> String {
    let output = replay(server, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn send_some(server: &Server, count: usize) {
    for _ in 0..count {
        server.send("alice@example.org", "Subject: x\n\nx\n");
    }
}

#[test]
fn events_are_handed_over_again_in_their_order_and_before_newer_ones() {
    let server = Server::start_in(prepared("replay", ""), &[]);
    send_some(&server, 5);
    wait_for_out(&server, "first", &[1, 2, 3, 4, 5]);
    let said = done(&server, &["hook:first", "4", "1-2"]);
    assert!(said.contains("3 events are handed over again"), "{said}");
    wait_for_out(&server, "first", &[1, 2, 3, 4, 5, 1, 2, 4]);
    // The bare name, and an event that is given twice.
    done(&server, &["first", "5", "5-5"]);
    send_some(&server, 1);
    wait_for_out(&server, "first", &[1, 2, 3, 4, 5, 1, 2, 4, 5, 6]);
    wait_for("the cursor", || (status(&server, "hook:first")["last_seq"] == 6).then_some(()));
    // What the journal does not have is named, and the rest comes.
    let said = done(&server, &["first", "6-9"]);
    assert!(said.contains("does not have these events: 7-9") && said.contains("1 event is"), "{said}");
    wait_for_out(&server, "first", &[1, 2, 3, 4, 5, 1, 2, 4, 5, 6, 6]);
    let output = replay(&server, &["first", "7", "9-20"]);
    assert_eq!(output.status.code(), Some(66), "{output:?}");
    // An event that the subscriber does not want.
    let output = replay(&server, &["second", "1-2"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(66) && said.contains("2 of the events are not for hook:second"), "{said}");
    server.send("bob@example.org", "Subject: x\n\nx\n");
    wait_for_out(&server, "second", &[7]);
    server.stop();
}

#[test]
fn wrong_names_and_numbers_are_usage_and_no_server_is_temporary() {
    let scratch = prepared("replay-usage", "");
    let file = scratch.path("mailbell.toml");
    let pipe = format!("pipe:{}", scratch.path("notify").display());
    for (arguments, code, hint) in [
        (&["hook:third", "1"][..], 64, "hook:first, hook:second"),
        (&["third", "1"], 64, "no subscriber"),
        (&[pipe.as_str(), "1"], 64, "does not acknowledge"),
        (&["first"], 64, "--given-up"),
        (&[], 64, "name of a subscriber"),
        (&["first", "0"], 64, "not the number"),
        (&["first", "9-7"], 64, "not the number"),
        (&["first", "x"], 64, "not the number"),
        (&["first", "1", "--given-up"], 64, "one of"),
        (&["first", "--pause", "--resume"], 64, "one of"),
        (&["first", "1"], 75, "no server"),
        (&["hook:first", "--given-up"], 75, "no server"),
        (&["hook:first", "--pause"], 75, "no server"),
    ] {
        let output = run(&file, &[&["replay"], arguments].concat(), "");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(hint), "{arguments:?}: {output:?}");
    }
    if cfg!(feature = "mqtt") {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + "[[mqtt]]\nname = 'home'\nurl = 'mqtt://127.0.0.1:9'\n").unwrap();
        for name in ["mqtt:home", "home"] {
            let output = run(&file, &["replay", name, "1"], "");
            assert_eq!(output.status.code(), Some(64));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("mqtt:home publishes") && said.contains("mailbell watch --from"), "{said}");
        }
    }
    // One name of a hook and a webhook.
    if cfg!(feature = "webhook") {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + "[[webhook]]\nname = 'first'\nurl = 'http://127.0.0.1:9/'\n").unwrap();
        let output = run(&file, &["replay", "first", "1"], "");
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains("hook:first, webhook:first"), "{output:?}");
        assert_eq!(run(&file, &["replay", "hook:first", "1"], "").status.code(), Some(75));
    }
}

#[test]
fn what_was_given_up_is_listed_and_handed_over_again_over_a_restart() {
    let scratch = prepared("replay-given-up", "give_up = '0s'");
    fs::write(scratch.path("fail"), "first2").unwrap();
    let server = Server::start_in(scratch, &[]);
    send_some(&server, 3);
    wait_for_out(&server, "first", &[1, 3]);
    let server = Server::start_in(server.stop(), &[]);
    let shown = status(&server, "hook:first");
    assert_eq!((&shown["given_up"], &shown["last_seq"], &shown["kind"]), (&1.into(), &3.into(), &"hook".into()));
    let event = &shown["given_up_events"][0];
    assert_eq!((&event["seq"], &event["tries"], &event["user"]), (&2.into(), &1.into(), &"alice".into()));
    assert!(event["why"].as_str().unwrap().contains("exit status: 3"), "{event}");
    let id = server.records()[1]["id"].clone();
    assert_eq!(event["id"], id);
    let text = String::from_utf8(server.run(&["status"], "").stdout).unwrap();
    assert!(text.contains("hook:first  seq 2  alice") && text.contains("--given-up"), "{text}");
    // It fails again, and stays on the list; then it does not, and leaves it.
    done(&server, &["first", "--given-up"]);
    wait_for("the second failure", || (status(&server, "hook:first")["given_up"] == 2).then_some(()));
    assert_eq!(status(&server, "hook:first")["given_up_events"].as_array().unwrap().len(), 1);
    fs::remove_file(server.path("fail")).unwrap();
    let said = done(&server, &["first", "--given-up"]);
    assert!(said.contains("1 event is"), "{said}");
    wait_for_out(&server, "first", &[1, 3, 2]);
    wait_for("the list", || {
        status(&server, "hook:first")["given_up_events"].as_array().unwrap().is_empty().then_some(())
    });
    assert!(done(&server, &["first", "--given-up"]).contains("0 events"));
    server.stop();
}

#[test]
fn a_pause_holds_over_a_restart_and_a_crash_until_it_ends() {
    let server = Server::start_in(prepared("pause", ""), &[]);
    send_some(&server, 1);
    wait_for_out(&server, "first", &[1]);
    let said = done(&server, &["first", "--pause"]);
    assert!(said.contains("hook:first: paused"), "{said}");
    send_some(&server, 2);
    // The other one goes on.
    server.send("bob@example.org", "Subject: x\n\nx\n");
    wait_for_out(&server, "second", &[4]);
    let server = Server::start_in(server.stop(), &[]);
    let server = Server::start_in(server.kill(), &[]);
    let shown = status(&server, "hook:first");
    assert_eq!((&shown["paused"], &shown["backlog"]), (&true.into(), &3.into()));
    assert!(String::from_utf8(server.run(&["status"], "").stdout).unwrap().contains("paused"));
    // What is to be handed over again waits, too, and is not forgotten.
    done(&server, &["first", "1"]);
    server.send("bob@example.org", "Subject: x\n\nx\n");
    wait_for_out(&server, "second", &[4, 5]);
    let server = Server::start_in(server.kill(), &[]);
    assert_eq!(out(&server, "first"), [1]);
    done(&server, &["first", "--resume"]);
    wait_for_out(&server, "first", &[1, 1, 2, 3, 4, 5]);
    assert_eq!(status(&server, "hook:first")["paused"], false);
    server.stop();
}

#[test]
fn a_pause_by_the_configuration_ends_with_a_reload() {
    let server = Server::start_in(prepared("paused", "paused = true"), &[]);
    server.send("bob@example.org", "Subject: x\n\nx\n");
    wait_for_out(&server, "second", &[1]);
    assert_eq!((out(&server, "first"), status(&server, "hook:first")["paused"].clone()), (vec![], true.into()));
    let output = replay(&server, &["first", "--resume"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&output.stderr).contains("paused = true"), "{output:?}");
    let text = fs::read_to_string(server.path("mailbell.toml")).unwrap();
    fs::write(server.path("mailbell.toml"), text.replace("paused = true", "")).unwrap();
    server.signal("HUP");
    wait_for_out(&server, "first", &[1]);
    server.stop();
}

#[test]
fn a_failing_event_is_tried_at_once_when_it_is_replayed() {
    let scratch = prepared("replay-now", "");
    fs::write(scratch.path("fail"), "first1").unwrap();
    let text = fs::read_to_string(scratch.path("mailbell.toml")).unwrap();
    // By itself it would be tried again in hours.
    fs::write(scratch.path("mailbell.toml"), text.replace("1s..1s", "5h..6h")).unwrap();
    let server = Server::start_in(scratch, &[]);
    send_some(&server, 2);
    wait_for("the failure", || status(&server, "hook:first")["last_error"].as_str().map(drop));
    fs::remove_file(server.path("fail")).unwrap();
    done(&server, &["first", "1"]);
    wait_for_out(&server, "first", &[1, 2]);
    server.stop();
}
