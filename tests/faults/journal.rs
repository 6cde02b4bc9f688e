//! Damage to the journal: its folder, the active segment, a sealed one and its index are removed, replaced or garbled.
//! Mail never stops; what cannot be read any more is passed, and no number is given twice.

use crate::common::{Scratch, Server};
use crate::scene::{Fault, Numbers, When, in_state, remove_all, segments};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

fn active(at: &Scratch) -> PathBuf {
    segments(at)
        .into_iter()
        .rfind(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .expect("an active segment")
}

fn sealed(at: &Scratch) -> PathBuf {
    segments(at).into_iter().find(|path| path.extension().is_some_and(|end| end == "gz")).expect("a sealed segment")
}

/// Octets in the middle become others; the length stays.
fn garble(path: &Path, with: u8) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![with; (length / 2) as usize], length / 4).unwrap();
}

fn cut(path: &Path, to: u64) {
    let length = fs::metadata(path).unwrap().len();
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length.min(to)).unwrap();
}

/// The fault under a running server and under a stopped one.
fn both(name: &str, make: &dyn Fn(&Scratch), numbers: Numbers) {
    for while_stopped in [false, true] {
        let fault = Fault { while_stopped, make, numbers, ..Fault::default() };
        fault.play(&format!("{name}-{while_stopped}"));
    }
}

#[test]
fn the_journal_folder_removed() {
    both("journal-gone", &|at| remove_all(&at.path("state/journal")), Numbers::Anew);
}

#[test]
fn the_journal_folder_replaced_under_a_running_server() {
    let mend = |at: &Server| {
        let _ = fs::remove_file(at.path("state/journal"));
        fs::rename(at.path("aside"), at.path("state/journal")).unwrap();
    };
    let file = |at: &Scratch| {
        fs::rename(at.path("state/journal"), at.path("aside")).unwrap();
        fs::write(at.path("state/journal"), "a file").unwrap();
    };
    Fault { make: &file, mend: &mend, ..Fault::default() }.play("journal-file");
    let link = |at: &Scratch| {
        fs::rename(at.path("state/journal"), at.path("aside")).unwrap();
        symlink(at.path("aside"), at.path("state/journal")).unwrap();
    };
    Fault { make: &link, mend: &mend, ..Fault::default() }.play("journal-link");
}

#[test]
fn the_active_segment_removed() {
    both("active-gone", &|at| fs::remove_file(active(at)).unwrap(), Numbers::NotReused);
}

/// The same, and what comes under the running server may be told as late as after the next start.
fn both_at_the_next_start(name: &str, make: &dyn Fn(&Scratch)) {
    for while_stopped in [false, true] {
        let told = Some(if while_stopped { When::Soon } else { When::AfterTheNextStart });
        let fault = Fault { while_stopped, make, numbers: Numbers::NotReused, told, ..Fault::default() };
        fault.play(&format!("{name}-{while_stopped}"));
    }
}

#[test]
fn the_active_segment_replaced_by_a_folder() {
    let folder = |at: &Scratch| {
        let path = active(at);
        fs::remove_file(&path).unwrap();
        fs::create_dir(path).unwrap();
    };
    both_at_the_next_start("active-folder", &folder);
}

#[test]
fn the_active_segment_replaced_by_a_link() {
    let link = |at: &Scratch| {
        let path = active(at);
        fs::write(at.path("precious"), "precious\n").unwrap();
        fs::remove_file(&path).unwrap();
        symlink("../../precious", path).unwrap();
    };
    both_at_the_next_start("active-link", &link);
}

#[test]
fn the_active_segment_garbled() {
    both("active-garbled", &|at| garble(&active(at), 0xff), Numbers::NotReused);
}

#[test]
fn the_active_segment_zeroed() {
    both("active-zeroed", &|at| garble(&active(at), 0), Numbers::NotReused);
}

/// The first record after the cut goes to the end of the line that was cut, so it may be lost with it, and is counted.
#[test]
fn the_active_segment_truncated() {
    for (name, length) in [("cut", 300), ("empty", 0)] {
        let make = |at: &Scratch| cut(&active(at), length);
        let fault = Fault { make: &make, numbers: Numbers::NotReused, told: None, ..Fault::default() };
        fault.play(&format!("active-{name}"));
        let told = Some(When::Soon);
        Fault { while_stopped: true, told, ..fault }.play(&format!("active-{name}-stopped"));
    }
}

#[test]
fn the_sealed_segment_removed() {
    both("sealed-gone", &|at| fs::remove_file(sealed(at)).unwrap(), Numbers::NotReused);
}

#[test]
fn the_sealed_segment_replaced_by_a_folder() {
    let folder = |at: &Scratch| {
        let path = sealed(at);
        fs::remove_file(&path).unwrap();
        fs::create_dir(path).unwrap();
    };
    both("sealed-folder", &folder, Numbers::NotReused);
}

#[test]
fn the_sealed_segment_replaced_by_a_link() {
    let link = |at: &Scratch| {
        let path = sealed(at);
        fs::remove_file(&path).unwrap();
        symlink("/nonexistent", path).unwrap();
    };
    both("sealed-link", &link, Numbers::NotReused);
}

#[test]
fn the_sealed_segment_garbled_truncated_or_empty() {
    both("sealed-garbled", &|at| garble(&sealed(at), 0xff), Numbers::NotReused);
    both("sealed-cut", &|at| cut(&sealed(at), 60), Numbers::NotReused);
    both("sealed-empty", &|at| cut(&sealed(at), 0), Numbers::NotReused);
}

/// Every index of a sealed segment; a journal may have none.
fn keys(at: &Scratch, change: &dyn Fn(&Path)) {
    let all = in_state(at, "journal", "0");
    all.iter().filter(|path| path.extension().is_some_and(|end| end == "keys")).for_each(|path| change(path));
}

#[test]
fn the_index_of_a_sealed_segment_removed_or_garbled() {
    both("keys-gone", &|at| keys(at, &|path| fs::remove_file(path).unwrap()), Numbers::Exact);
    both("keys-garbled", &|at| keys(at, &|path| fs::write(path, "\0garbled").unwrap()), Numbers::Exact);
}

#[test]
fn a_sealed_segment_and_its_index_lost() {
    let with_segment = |at: &Scratch| {
        cut(&sealed(at), 0);
        keys(at, &|path| fs::remove_file(path).unwrap());
    };
    both("keys-and-segment", &with_segment, Numbers::NotReused);
}

#[test]
fn a_megabyte_without_a_line_end() {
    let long = |at: &Scratch| {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().append(true).open(active(at)).unwrap();
        file.write_all(&vec![b'x'; 2 << 20]).unwrap();
    };
    both("long-line", &long, Numbers::NotReused);
}
