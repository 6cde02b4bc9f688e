//! Files and folders that somebody removes, replaces or garbles, while the server runs and while it is stopped.

use crate::common::{Scratch, Server, wait_for};
use crate::scene::{
    Fault, Numbers, Pipe, check_numbers, in_state, prepared, remove_all, send, send_until_stored, stored, told_by_hook,
};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Puts it aside, so that it can come back.
fn aside(path: &Path) {
    fs::rename(path, aside_name(path)).unwrap();
}

fn aside_name(path: &Path) -> std::path::PathBuf {
    path.with_file_name(format!("aside-{}", path.file_name().unwrap().to_string_lossy()))
}

/// What stands in its place goes, and it comes back.
fn back(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
    fs::rename(aside_name(path), path).unwrap();
}

/// Plays a fault under a running server and under a stopped one.
fn both(name: &str, fault: Fault) {
    for while_stopped in [false, true] {
        Fault { while_stopped, ..fault }.play(&format!("{name}-{while_stopped}"));
    }
}

const STORED_OR_LATER: &[&str] = &["250", "4"];

#[test]
fn a_maildir_removed() {
    both("maildir-gone", Fault { make: &|at| remove_all(&at.path("mail/alice")), ..Fault::default() });
}

#[test]
fn a_maildir_replaced_by_a_file() {
    let fault = Fault {
        make: &|at| {
            aside(&at.path("mail/alice"));
            fs::write(at.path("mail/alice"), "a file").unwrap();
        },
        mend: &|at| back(&at.path("mail/alice")),
        reply: &["451 4.3.0", "450 4.2.0"],
        logged: &["mail/alice"],
        ..Fault::default()
    };
    both("maildir-file", fault);
}

#[test]
fn a_maildir_replaced_by_a_link() {
    let fault = Fault {
        make: &|at| {
            aside(&at.path("mail/alice"));
            symlink(aside_name(&at.path("mail/alice")), at.path("mail/alice")).unwrap();
        },
        mend: &|at| back(&at.path("mail/alice")),
        reply: STORED_OR_LATER,
        ..Fault::default()
    };
    both("maildir-link", fault);
}

#[test]
fn the_mail_root_removed() {
    // The sandbox holds the folder that was there at the start, so a new one needs a reload.
    let mend = |server: &Server| {
        let _ = fs::create_dir(server.path("mail"));
        let before = server.log().matches("reloaded").count();
        server.signal("HUP");
        wait_for("the reload", || (server.log().matches("reloaded").count() > before).then_some(()));
    };
    let make = |at: &Scratch| remove_all(&at.path("mail"));
    both("root-gone", Fault { make: &make, mend: &mend, reply: STORED_OR_LATER, ..Fault::default() });
}

#[test]
fn the_mail_root_replaced_by_a_file_under_a_running_server() {
    let fault = Fault {
        make: &|at| {
            aside(&at.path("mail"));
            fs::write(at.path("mail"), "a file").unwrap();
        },
        mend: &|at| back(&at.path("mail")),
        reply: &["4"],
        logged: &["mail"],
        ..Fault::default()
    };
    fault.play("root-file");
}

#[test]
fn the_mail_root_replaced_by_a_link() {
    let fault = Fault {
        make: &|at| {
            aside(&at.path("mail"));
            symlink(aside_name(&at.path("mail")), at.path("mail")).unwrap();
        },
        mend: &|at| back(&at.path("mail")),
        reply: STORED_OR_LATER,
        ..Fault::default()
    };
    both("root-link", fault);
}

#[test]
fn the_state_removed() {
    // Numbers begin anew then, as on the first day; mail goes on.
    let fault =
        Fault { make: &|at| remove_all(&at.path("state")), numbers: Numbers::Anew, told: None, ..Fault::default() };
    both("state-gone", fault);
}

#[test]
fn the_state_replaced_by_a_file_under_a_running_server() {
    let fault = Fault {
        make: &|at| {
            aside(&at.path("state"));
            fs::write(at.path("state"), "a file").unwrap();
        },
        mend: &|at| back(&at.path("state")),
        numbers: Numbers::Exact,
        ..Fault::default()
    };
    fault.play("state-file");
}

#[test]
fn the_state_replaced_by_a_link_under_a_running_server() {
    let fault = Fault {
        make: &|at| {
            aside(&at.path("state"));
            symlink(aside_name(&at.path("state")), at.path("state")).unwrap();
        },
        mend: &|at| back(&at.path("state")),
        ..Fault::default()
    };
    fault.play("state-link");
}

/// Replaces a mail root or a state by a file before the start: the start says what is wrong, and stores nothing.
#[test]
fn a_start_without_its_folders_says_what_is_wrong() {
    for folder in ["mail", "state"] {
        let scratch = prepared(&format!("start-{folder}"), "");
        fs::write(scratch.path(folder), "a file").unwrap();
        let output = crate::common::run(&scratch.path("mailbell.toml"), &["serve"], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(73..=78)), "{:?}: {said}", output.status);
        assert!(said.contains(scratch.path(folder).to_str().unwrap()), "{said}");
        fs::remove_file(scratch.path(folder)).unwrap();
        let server = Server::start_in(scratch, &[]);
        send_until_stored(&server, "healed");
        server.stop();
    }
}

/// Every cursor; hidden files and what a running server writes just now are left out.
fn each_cursor(at: &Scratch, change: impl Fn(&Path)) {
    let all = in_state(at, "cursors", "");
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let cursors: Vec<_> =
        all.iter().filter(|path| name(path).starts_with("hook:") || name(path).starts_with("pipe:")).collect();
    assert!(!cursors.is_empty(), "no cursor is there: {all:?}");
    cursors.into_iter().for_each(|path| change(path));
}

/// A folder in the place of a file that a running server may write meanwhile.
fn put_folder(path: &Path) {
    wait_for("the folder", || {
        let _ = fs::remove_file(path);
        fs::create_dir(path).ok()
    });
}

/// A link in the place of a file.
fn put_link(at: &Scratch, to: &str, path: &Path) {
    let _ = fs::remove_file(at.path("link"));
    symlink(to, at.path("link")).unwrap();
    fs::rename(at.path("link"), path).unwrap();
}

#[test]
fn cursors_removed() {
    both(
        "cursor-gone",
        Fault { make: &|at| each_cursor(at, |path| fs::remove_file(path).unwrap()), ..Fault::default() },
    );
}

#[test]
fn cursors_garbled() {
    let make = |at: &Scratch| each_cursor(at, |path| fs::write(path, b"\0\xffgarbled\n").unwrap());
    both("cursor-garbled", Fault { make: &make, ..Fault::default() });
}

#[test]
fn cursors_replaced_by_a_folder() {
    let folder = |at: &Scratch| {
        each_cursor(at, put_folder);
    };
    let mend = |at: &Server| {
        for entry in fs::read_dir(at.path("state/cursors")).unwrap().flatten() {
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if entry.file_type().unwrap().is_dir() && !is_hidden {
                fs::remove_dir(entry.path()).unwrap();
            }
        }
    };
    Fault { make: &folder, mend: &mend, ..Fault::default() }.play("cursor-folder");
}

#[test]
fn cursors_replaced_by_links() {
    let precious = |at: &Scratch| {
        fs::write(at.path("precious"), "precious").unwrap();
        each_cursor(at, |path| put_link(at, "../../precious", path));
    };
    let untouched = |at: &Server| {
        assert_eq!(fs::read(at.path("precious")).unwrap(), b"precious");
        for entry in fs::read_dir(at.path("state/cursors")).unwrap().flatten() {
            if entry.file_type().unwrap().is_symlink() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    both("cursor-link", Fault { make: &precious, mend: &untouched, ..Fault::default() });
}

#[test]
fn tallies_removed_and_garbled() {
    // Where a subscriber's cursor and tally are one file, these are the cursors' tests.
    let tallies =
        |at: &Scratch, change: &dyn Fn(&Path)| in_state(at, "tallies", "").iter().for_each(|path| change(path));
    let gone = |at: &Scratch| tallies(at, &|path| fs::remove_file(path).unwrap());
    both("tally-gone", Fault { make: &gone, ..Fault::default() });
    let garbled = |at: &Scratch| tallies(at, &|path| fs::write(path, b"\0\xff{{{").unwrap());
    both("tally-garbled", Fault { make: &garbled, ..Fault::default() });
}

#[test]
fn the_fifo_removed() {
    let make = |at: &Scratch| fs::remove_file(at.path("notify")).unwrap();
    Fault { make: &make, logged: &["notify"], ..Fault::default() }.play("fifo-gone");
    Fault { while_stopped: true, make: &make, ..Fault::default() }.play("fifo-gone-stopped");
}

#[test]
fn the_fifo_replaced_under_a_running_server() {
    let file = |at: &Scratch| {
        fs::write(at.path("file"), "precious").unwrap();
        fs::rename(at.path("file"), at.path("notify")).unwrap();
    };
    let remove_file = |at: &Server| {
        assert_eq!(fs::read(at.path("notify")).unwrap(), b"precious");
        fs::remove_file(at.path("notify")).unwrap();
    };
    Fault { make: &file, mend: &remove_file, logged: &["notify"], ..Fault::default() }.play("fifo-file");
    let folder = |at: &Scratch| {
        put_folder(&at.path("notify"));
    };
    let remove_folder = |at: &Server| fs::remove_dir(at.path("notify")).unwrap();
    Fault { make: &folder, mend: &remove_folder, logged: &["notify"], ..Fault::default() }.play("fifo-folder");
    let link = |at: &Scratch| {
        fs::write(at.path("precious"), "precious").unwrap();
        symlink("precious", at.path("link")).unwrap();
        fs::rename(at.path("link"), at.path("notify")).unwrap();
    };
    let remove_link = |at: &Server| {
        assert_eq!(fs::read(at.path("precious")).unwrap(), b"precious");
        fs::remove_file(at.path("notify")).unwrap();
    };
    Fault { make: &link, mend: &remove_link, logged: &["notify"], ..Fault::default() }.play("fifo-link");
}

#[test]
fn a_fifo_replaced_by_a_file_while_stopped_is_refused_at_the_start() {
    let server = Server::start_in(prepared("fifo-start", ""), &[]);
    let pipe = Pipe::follow(server.path("notify"));
    send_until_stored(&server, "before");
    crate::scene::wait_until_told("pipe", &["before".to_owned()].into(), || pipe.told());
    let scratch = server.stop();
    fs::remove_file(scratch.path("notify")).unwrap();
    fs::write(scratch.path("notify"), "precious").unwrap();
    let output = crate::common::run(&scratch.path("mailbell.toml"), &["serve"], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("notify"));
    assert_eq!(fs::read(scratch.path("notify")).unwrap(), b"precious");
    fs::remove_file(scratch.path("notify")).unwrap();
    let server = Server::start_in(scratch, &[]);
    assert!(send(&server, "after", 0).unwrap().starts_with("250"));
    crate::scene::wait_until_told("pipe", &["after".to_owned()].into(), || pipe.told());
    check_numbers("pipe", &pipe.told(), Numbers::Exact);
    check_numbers("hook", &told_by_hook(&server.scratch), Numbers::Exact);
    assert_eq!(stored(&server.path("mail/alice")).len(), 2);
    server.stop();
}
