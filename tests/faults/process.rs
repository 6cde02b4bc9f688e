//! The process itself: stopped and continued, and two servers at once.

use crate::common::{BASIC, Scratch, Server, Talk, records, run, wait_for};
use crate::scene::{Numbers, Pipe, check_numbers, prepared, send, send_until_stored, stored, wait_until_told};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn sigstop_and_sigcont() {
    let server = Server::start_in(prepared("sigstop", ""), &[]);
    let pipe = Pipe::follow(server.path("notify"));
    send_until_stored(&server, "before");
    let mut open = server.smtp();
    open.expect("220");
    server.signal("STOP");
    // The kernel accepts connections meanwhile; no client is answered, and none is refused.
    open.write(b"NOOP\r\n");
    let mut waiting = Talk::to(server.address("smtp"));
    server.signal("CONT");
    open.expect("250");
    waiting.expect("220");
    send_until_stored(&server, "after");
    wait_until_told("pipe", &["before", "after"].map(str::to_owned).into(), || pipe.told());
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    server.stop();
}

/// Each server takes the other's deliveries for another program's: each message is one record in each journal.
#[test]
fn two_servers_with_a_state_each_on_one_maildir() {
    let one = Server::start_in(prepared("two-servers", ""), &[]);
    send_until_stored(&one, "of-both-already");
    let configuration = BASIC
        .replace("\"state\"", "\"state-2\"")
        .replace("\"mail\"", &format!("\"{}\"", one.path("mail").display()))
        .replace("path = \"notify\"", "path = \"notify\"\nformat = '{seq} {id} {subject}'");
    let two = Server::start_in(Scratch::prepared("fault-two-servers-2", &configuration), &[]);
    for number in 0..5 {
        send_until_stored(&one, &format!("one-{number}"));
        send_until_stored(&two, &format!("two-{number}"));
    }
    let subjects = |server: &Server, state: &str| -> Vec<String> {
        let all = records(&server.path(state).join("journal"));
        all.iter().map(|record| record["subject"].as_str().unwrap().to_owned()).collect()
    };
    let own: BTreeSet<String> = stored(&one.path("mail/alice")).into_keys().collect();
    assert_eq!(own.len(), 11);
    for (server, state) in [(&one, "state"), (&two, "state-2")] {
        wait_for("ten records", || {
            let seen: BTreeSet<_> = subjects(server, state).into_iter().collect();
            (0..5).all(|n| seen.contains(&format!("one-{n}")) && seen.contains(&format!("two-{n}"))).then_some(())
        });
    }
    // A restart of both finds nothing that it has not recorded.
    let (one, two) = (Server::start_in(one.stop(), &[]), Server::start_in(two.stop(), &[]));
    send_until_stored(&one, "last");
    for (server, state) in [(&one, "state"), (&two, "state-2")] {
        wait_for("the last record", || subjects(server, state).contains(&"last".to_owned()).then_some(()));
        let all = subjects(server, state);
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "a message was recorded twice: {all:?}");
    }
    two.stop();
    one.stop();
}

#[test]
fn a_second_server_on_the_same_state_is_refused() {
    let server = Server::start_in(prepared("second", ""), &[]);
    let output = run(&server.path("mailbell.toml"), &["serve"], "");
    assert_eq!(output.status.code(), Some(75));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(server.path("state").to_str().unwrap()), "{said}");
    assert!(send(&server, "goes-on", 0).unwrap().starts_with("250"));
    server.stop();
}

/// The lock dies with its holder, so `kill -9` needs no cleaning up; the steps of a message are tested in `crash.rs`.
#[test]
fn kill_9_leaves_nothing_to_clean_up() {
    let mut server = Server::start_in(prepared("kill-9", ""), &[]);
    let pipe = Pipe::follow(server.path("notify"));
    let mut all = BTreeSet::new();
    for number in 0..5 {
        let subject = format!("message-{number}");
        send_until_stored(&server, &subject);
        all.insert(subject);
        server = Server::start_in(server.kill(), &[]);
    }
    wait_until_told("pipe", &all, || pipe.told());
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    assert_eq!(stored(&server.path("mail/alice")).len(), 5);
    assert!(fs::read_dir(server.path("mail/alice/tmp")).unwrap().next().is_none());
    server.stop();
}
