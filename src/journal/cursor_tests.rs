use super::*;
use crate::journal::cursor_folder::{STALE, cursors};
use crate::journal::kept::{Begun, Place};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::SystemTime;

/// A state folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("mailbell-cursor-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn places(&self) -> Vec<(String, Place)> {
        cursors(&self.0).unwrap().into_iter().map(|(name, kept)| (name, kept.place)).collect()
    }

    fn place(&self, name: &str) -> Place {
        Cursor::open(&self.0, name, || 0).unwrap().kept().place
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(acknowledged: u64, written: u64, waiting: u64) -> Kept {
    Kept { place: Place { acknowledged, written, waiting }, ..Kept::default() }
}

#[test]
fn cursors_hold_their_place_one_process_at_a_time() {
    let scratch = Scratch::new("hold");
    let name = "pipe:/run/mail/notify";
    let mut cursor = Cursor::open(&scratch.0, name, || 7).unwrap();
    assert_eq!(cursor.kept(), &Kept::at(7));
    for seq in 8..30 {
        assert!(matches!(Cursor::open(&scratch.0, name, || 0), Err(CursorError::InUse(_))), "{seq}");
        cursor.set(at(seq, 32, 4)).unwrap();
        if seq > 9 {
            break;
        }
    }
    drop(cursor);
    assert_eq!(scratch.places(), [(name.to_owned(), at(10, 32, 4).place)]);
    assert_eq!(scratch.place(name), at(10, 32, 4).place);
    // Nothing else is left in the folder.
    assert_eq!(fs::read_dir(scratch.0.join("cursors")).unwrap().count(), 1);
}

#[test]
fn a_busy_cursor_is_written_now_and_then_and_at_the_end() {
    let scratch = Scratch::new("pace");
    let mut cursor = Cursor::open(&scratch.0, "x", || 0).unwrap();
    let mut writes = 0;
    for seq in 1..=100_000 {
        if cursor.due().is_none() {
            writes += 1;
            cursor.set(Kept::at(seq)).unwrap();
        }
    }
    // The first are written at once, each; how many more depends on the time that has passed.
    let at_once = BURST.as_millis() / PLACE_EVERY.as_millis() - 50;
    assert!((at_once..100_000).contains(&writes), "{writes}");
    assert!(cursor.due().is_some_and(|due| due <= Instant::now() + WHOLE_EVERY));
    cursor.finish(Kept::at(1_000)).unwrap();
    drop(cursor);
    assert_eq!(scratch.place("x"), Place::at(1_000));
}

#[test]
fn a_process_that_begins_meanwhile_finds_the_file_that_took_the_place() {
    let scratch = Scratch::new("replaced");
    let mut cursor = Cursor::open(&scratch.0, "x", || 0).unwrap();
    let state = scratch.0.clone();
    std::thread::scope(|scope| {
        // It waits for the lock of a file that is replaced twice, and takes none that is not in place.
        let waiting = scope.spawn(move || Cursor::open(&state, "x", || 0).map(|cursor| cursor.kept().place));
        for seq in 1..=2 {
            cursor.finish(Kept::at(seq)).unwrap();
        }
        drop(cursor);
        assert_eq!(waiting.join().unwrap().unwrap(), Place::at(2));
    });
}

#[test]
fn what_is_damaged_repeats_and_stops_nobody() {
    let scratch = Scratch::new("damage");
    let file = scratch.0.join("cursors/hook:a");
    let mut cursor = Cursor::open(&scratch.0, "hook:a", || 5).unwrap();
    let begun = vec![Begun { seq: u64::MAX, tries: u32::MAX, failing: u64::MAX }; 64];
    let kept = Kept { begun, retries: u64::MAX, lost: u64::MAX, ..at(7, 90, 64) };
    cursor.finish(kept.clone()).unwrap();
    drop(cursor);
    assert_eq!(Cursor::open(&scratch.0, "hook:a", || 5).unwrap().kept(), &kept);
    let whole = fs::read_to_string(&file).unwrap();
    let damaged = [&whole[..whole.len() - 9], &whole[..20], "", "damage"];
    for (text, place) in damaged.into_iter().zip([Place::at(7), Place::default(), Place::default(), Place::default()]) {
        fs::write(&file, text).unwrap();
        assert_eq!(scratch.place("hook:a"), place, "{text:?}");
        // It is whole again.
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2);
    }
}

#[test]
fn the_state_of_version_0_1_is_taken_over() {
    let scratch = Scratch::new("old");
    fs::create_dir(scratch.0.join("cursors")).unwrap();
    fs::create_dir(scratch.0.join("tallies")).unwrap();
    let tally = r#"{"begun":[[8,1,30],[11,0,0]],"given_up":1,"lost":2,"lost_to":3,"offered":12,"retries":4}"#;
    for name in ["hook:a", "watch:b"] {
        fs::write(scratch.0.join("cursors").join(name), format!("{:020} {:020} {:020}\n", 7, 12, 2)).unwrap();
        fs::write(scratch.0.join("tallies").join(name), format!("{tally:4095}\n")).unwrap();
    }
    let wanted = Kept {
        begun: vec![Begun { seq: 8, tries: 1, failing: 30 }, Begun { seq: 11, tries: 0, failing: 0 }],
        rest: u64::MAX,
        retries: 4,
        given_up: 1,
        lost: 2,
        lost_to: 3,
        ..at(7, 12, 2)
    };
    // `status` reads both, before anything was taken over.
    assert_eq!(cursors(&scratch.0).unwrap()[0].1, wanted);
    assert_eq!(Cursor::open(&scratch.0, "hook:a", || 0).unwrap().kept(), &wanted);
    assert!(!scratch.0.join("tallies/hook:a").exists() && scratch.0.join("tallies/watch:b").exists());
    assert_eq!(Cursor::open(&scratch.0, "hook:a", || 0).unwrap().kept(), &wanted);
    assert_eq!(Cursor::open(&scratch.0, "watch:b", || 0).unwrap().kept().retries, 4);
    assert!(!scratch.0.join("tallies").exists());
}

#[test]
fn a_cursor_that_cannot_be_read_stops_nobody() {
    let scratch = Scratch::new("unreadable");
    drop(Cursor::open(&scratch.0, "watch:mine", || 7).unwrap());
    fs::create_dir(scratch.0.join("cursors/watch:another-user-s")).unwrap();
    assert_eq!(scratch.places(), [("watch:mine".to_owned(), Place::at(7))]);
}

#[test]
fn no_link_is_followed() {
    let scratch = Scratch::new("links");
    fs::write(scratch.0.join("precious"), "precious").unwrap();
    fs::create_dir(scratch.0.join("elsewhere")).unwrap();
    drop(Cursor::open(&scratch.0, "x", || 7).unwrap());
    fs::remove_file(scratch.0.join("cursors/x")).unwrap();
    symlink("../precious", scratch.0.join("cursors/x")).unwrap();
    assert_eq!(scratch.places(), []);
    // Nothing is known of it, so everything comes again.
    assert_eq!(scratch.place("x"), Place::default());
    assert!(fs::symlink_metadata(scratch.0.join("cursors/x")).unwrap().is_file());
    fs::remove_dir_all(scratch.0.join("cursors")).unwrap();
    symlink("elsewhere", scratch.0.join("cursors")).unwrap();
    assert!(matches!(Cursor::open(&scratch.0, "x", || 7), Err(CursorError::Io(..))));
    assert_eq!(fs::read_to_string(scratch.0.join("precious")).unwrap(), "precious");
    assert_eq!(fs::read_dir(scratch.0.join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_in_the_place_of_a_cursor_is_moved_away_and_all_is_repeated() {
    let scratch = Scratch::new("no-file");
    let file = scratch.0.join("cursors/x");
    let make: [fn(&Path); 4] = [
        |path| symlink("/nonexistent", path).unwrap(),
        |path| symlink("y", path).unwrap(),
        |path| fs::create_dir_all(path.join("full")).unwrap(),
        |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap(),
    ];
    drop(Cursor::open(&scratch.0, "y", || 90).unwrap());
    for make in make {
        Cursor::open(&scratch.0, "x", || 7).unwrap().set(Kept::at(8)).unwrap();
        fs::remove_file(&file).unwrap();
        make(&file);
        assert_eq!(scratch.places().len(), 1, "only y can be read");
        assert_eq!(scratch.place("x"), Place::at(0));
    }
    assert_eq!(scratch.place("y"), Place::at(90));
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_state() {
    use std::os::unix::fs::chown;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let scratch = Scratch::new("root");
    chown(&scratch.0, Some(12345), Some(23456)).unwrap();
    Cursor::open(&scratch.0, "watch:x", || 7).unwrap().finish(Kept::at(8)).unwrap();
    for path in ["cursors", "cursors/watch:x"] {
        let metadata = fs::metadata(scratch.0.join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 23456), "{path}");
    }
}

#[test]
fn a_cursor_that_a_killed_process_leaves_held_for_a_moment_is_waited_for() {
    let scratch = Scratch::new("moment");
    let cursor = Cursor::open(&scratch.0, "x", || 7).unwrap();
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drop(cursor);
    });
    assert_eq!(scratch.place("x"), Place::at(7));
    leaving.join().unwrap();
}

#[test]
fn what_a_killed_process_left_half_written_goes_in_time() {
    let scratch = Scratch::new("stale");
    drop(Cursor::open(&scratch.0, "x", || 7).unwrap());
    let (old, new) = (scratch.0.join("cursors/.1-1"), scratch.0.join("cursors/.1-2"));
    for path in [&old, &new] {
        fs::write(path, "half").unwrap();
    }
    File::options().write(true).open(&old).unwrap().set_modified(SystemTime::now() - STALE * 2).unwrap();
    assert_eq!(scratch.place("x"), Place::at(7));
    assert!(!old.exists() && new.exists());
    assert_eq!(scratch.places().len(), 1);
}

#[test]
fn a_cursor_that_is_removed_is_written_again() {
    let scratch = Scratch::new("removed");
    let mut cursor = Cursor::open(&scratch.0, "x", || 7).unwrap();
    fs::remove_file(scratch.0.join("cursors/x")).unwrap();
    cursor.set(Kept::at(8)).unwrap();
    assert_eq!(scratch.places(), [("x".to_owned(), Place::at(8))]);
    fs::remove_dir_all(scratch.0.join("cursors")).unwrap();
    cursor.set(Kept::at(9)).unwrap();
    assert_eq!(scratch.places(), [("x".to_owned(), Place::at(9))]);
    // It is still held.
    assert!(matches!(Cursor::open(&scratch.0, "x", || 0), Err(CursorError::InUse(_))));
    // A disk that takes nothing: told, and tried again by the next call.
    fs::remove_dir_all(scratch.0.join("cursors")).unwrap();
    fs::write(scratch.0.join("cursors"), "in the way").unwrap();
    assert!(cursor.set(Kept::at(10)).is_err());
    fs::remove_file(scratch.0.join("cursors")).unwrap();
    cursor.set(Kept::at(10)).unwrap();
    assert_eq!(scratch.places(), [("x".to_owned(), Place::at(10))]);
}
