//! The clock steps forward and back while the server runs. libfaketime moves it for this one process: so only for a binary
//! that is linked dynamically; a static one reads the clock without asking a library.

use crate::common::{Server, binary};
use crate::scene::{Numbers, Pipe, check_numbers, prepared, send_until_stored, stored, wait_until_told};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Steps of the clock, in the words of faketime(1), with mail before and after each.
fn steps(name: &str, steps: &[&str]) {
    if !std::path::Path::new(LIBRARY).exists() {
        return crate::common::skipped("needs libfaketime");
    }
    let text = fs::read(binary()).unwrap();
    if !text.windows(8).any(|part| part == b"ld-linux") {
        println!("not for a static binary: its clock cannot be moved alone");
        return;
    }
    // Two days, so that a step of years ages everything that waits.
    let more = "[[pipe]]
path = \"late\"
format = '{seq} {id} {subject}'
[journal]
keep = \"2d\"
";
    let scratch = prepared(name, more);
    // The threads of the sessions may read what is below the mail, and not much else.
    fs::create_dir(scratch.path("mail")).unwrap();
    let clock = scratch.path("mail/clock");
    fs::write(&clock, "+0\n").unwrap();
    let mut command = Command::new(binary());
    command.args(["serve", "-c"]).arg(scratch.path("mailbell.toml")).stdin(Stdio::null());
    command.env("LD_PRELOAD", LIBRARY).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    let server = Server::start_by(scratch, command);
    let pipe = Pipe::follow(server.path("notify"));
    let mut all = BTreeSet::new();
    let mail = |subject: String, all: &mut BTreeSet<String>| {
        send_until_stored(&server, &subject);
        all.insert(subject);
        wait_until_told("pipe", all, || pipe.told());
    };
    mail("first".into(), &mut all);
    for (number, step) in steps.iter().enumerate() {
        fs::write(&clock, format!("{step}\n")).unwrap();
        mail(format!("step-{number}"), &mut all);
        mail(format!("then-{number}"), &mut all);
    }
    // The log has the moved time, too.
    let log = server.log();
    let days: BTreeSet<_> =
        log.lines().filter_map(|line| line.split_once('T')).map(|(day, _)| day.to_owned()).collect();
    assert!(days.len() > 1, "the clock did not move: {days:?}");
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    assert_eq!(stored(&server.path("mail/alice")).len(), all.len());
    // A reader that comes now gets everything that waits for it: nothing grew too old by the step.
    let scratch = Server::start_in(server.stop(), &[]);
    let late = Pipe::follow(scratch.path("late"));
    send_until_stored(&scratch, "last");
    all.insert("last".into());
    wait_until_told("late pipe", &all, || late.told());
    check_numbers("late pipe", &late.told(), Numbers::Exact);
    scratch.stop();
}

#[test]
fn the_clock_steps_forward() {
    steps("clock-forward", &["+10y"]);
}

#[test]
fn the_clock_steps_back() {
    steps("clock-back", &["-40d"]);
}

#[test]
fn the_clock_comes_from_1970_and_jumps_about() {
    steps("clock-about", &["@1970-01-02 00:00:10", "+0", "+30d", "-30d", "+0"]);
}
