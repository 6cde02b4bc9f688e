//! What is left in a pipe after a clean stop and after a crash.

use super::*;

#[test]
fn after_a_clean_stop_no_line_comes_twice_and_a_half_read_one_is_whole() {
    let mut bell = Bell::start("clean", Backlog::All);
    bell.add(5);
    bell.wait_until_written(5);
    let mut reader = bell.reader();
    assert_eq!(take(&mut reader, line(1).len() + 2), line(1) + &line(2)[..2]);
    bell.end();
    assert_eq!(bell.place(), Place::at(2));
    // The end of the line that was begun is there, and nothing else, until the next start; then the rest.
    bell.begin();
    bell.add(1);
    bell.wait_until_written(6);
    assert_eq!(take(&mut reader, 3), line(2)[2..5]);
    bell.end();
    assert_eq!(rest(&mut reader), line(2)[5..]);
    assert_eq!(bell.place(), Place::at(2));
    bell.begin();
    assert_eq!(take(&mut reader, lines(3, 6).len()), lines(3, 6));
    bell.end();
    assert_eq!(bell.place(), Place::at(6));
}

/// The state of a server that was killed: its cursor as it was, and a pipe that only a reader holds.
fn kill(bell: &mut Bell, place: Place, held: &mut File, content: &str) {
    bell.end();
    rest(held);
    let mut writer = OpenOptions::new().write(true).open(bell.path()).unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    let name = format!("{:020} {:020}\n", place.acknowledged, place.written);
    let name_of = crate::journal::encode(&PipeSettings::name_of(&bell.path()));
    fs::write(bell.scratch.path("cursors").join(name_of), name).unwrap();
}

#[test]
fn after_a_kill_a_reader_that_stayed_gets_each_line_once() {
    let mut bell = Bell::start("kill", Backlog::All);
    let mut reader = bell.reader();
    bell.add(9);
    bell.wait_until_written(9);
    for (acknowledged, written, content, next) in [
        // The cursor was behind its reader, who took two and a half lines more than it says.
        (3, 8, line(6)[2..].to_owned() + &lines(7, 8), 9),
        // Everything had been read.
        (3, 8, String::new(), 9),
        // The last line was written, but its cursor not.
        (3, 7, lines(5, 8), 9),
        // The same, but it could be the end of an older line that ends alike: rather twice than never.
        (8, 8, line(9), 9),
        // All of it was still there, behind the end of a line from before.
        (3, 9, "end\n".to_owned() + &lines(4, 9), 10),
        // Somebody else's octets: what was not surely read comes again.
        (6, 9, "stranger\n".to_owned(), 7),
    ] {
        kill(&mut bell, Place { acknowledged, written, waiting: 1 }, &mut reader, &content);
        bell.begin();
        let wanted = content + &lines(next, 9);
        assert_eq!(take(&mut reader, wanted.len()), wanted, "from {acknowledged} {written}");
        assert!(is_empty(&mut reader), "from {acknowledged} {written}");
        wait_for("the cursor", || bell.place() == Place::at(9));
    }
}

#[test]
fn after_a_kill_without_a_reader_what_was_not_read_comes_again() {
    let mut bell = Bell::start("alone", Backlog::All);
    bell.add(9);
    bell.wait_until_written(9);
    let mut reader = bell.reader();
    kill(&mut bell, Place { acknowledged: 4, written: 9, waiting: 5 }, &mut reader, &lines(5, 9));
    drop(reader);
    bell.begin();
    let mut reader = bell.reader();
    assert_eq!(take(&mut reader, lines(5, 9).len()), lines(5, 9));
    assert!(is_empty(&mut reader));
}

#[test]
fn lines_that_only_the_pipe_has_stay_for_who_holds_it_and_are_else_counted_as_lost() {
    for (name, is_held) in [("held", true), ("left", false)] {
        let mut bell = Bell::start(name, Backlog::All);
        bell.add(5);
        bell.wait_until_written(5);
        let held = is_held.then(|| bell.reader());
        // As if the first three had been in a segment that `keep` dropped.
        let segment = |first: u64| bell.scratch.path(&format!("journal/{first:020}.jsonl"));
        let text = fs::read_to_string(segment(1)).unwrap();
        fs::remove_file(segment(1)).unwrap();
        fs::write(segment(4), text.lines().skip(3).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        bell.end();
        bell.begin();
        let mut reader = held.unwrap_or_else(|| bell.reader());
        let wanted = lines(if is_held { 1 } else { 4 }, 5);
        assert_eq!(take(&mut reader, wanted.len()), wanted);
        assert!(is_empty(&mut reader));
        let lost = crate::notify::status_of_files(&bell.scratch.0).unwrap()[0].lost;
        assert_eq!(lost, if is_held { 0 } else { 3 });
    }
}
