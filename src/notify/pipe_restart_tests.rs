//! What is left in a pipe after a clean stop and after a crash.

use super::*;

#[test]
fn after_a_clean_stop_no_line_comes_twice_and_a_half_read_one_is_whole() {
    let mut fixture = Fixture::start("clean", Backlog::All);
    fixture.add(5);
    fixture.wait_until_written(5);
    let mut reader = fixture.reader();
    assert_eq!(take(&mut reader, line(1).len() + 2), line(1) + &line(2)[..2]);
    fixture.end();
    assert_eq!(fixture.place(), Place::at(2));
    // The end of the line that was begun is there, and nothing else, until the next start; then the rest.
    fixture.begin();
    fixture.add(1);
    fixture.wait_until_written(6);
    assert_eq!(take(&mut reader, 3), line(2)[2..5]);
    fixture.end();
    assert_eq!(rest(&mut reader), line(2)[5..]);
    assert_eq!(fixture.place(), Place::at(2));
    fixture.begin();
    assert_eq!(take(&mut reader, lines(3, 6).len()), lines(3, 6));
    fixture.end();
    assert_eq!(fixture.place(), Place::at(6));
}

/// The state of a server that was killed: its cursor as it was, and a pipe that only a reader holds.
fn kill(fixture: &mut Fixture, place: Place, held: &mut File, content: &str) {
    fixture.end();
    rest(held);
    let mut writer = OpenOptions::new().write(true).open(fixture.path()).unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    let name = format!("{:020} {:020}\n", place.acknowledged, place.written);
    let name_of = crate::journal::encode(&PipeSettings::name_of(&fixture.path()));
    fs::write(fixture.scratch.path("cursors").join(name_of), name).unwrap();
}

#[test]
fn after_a_kill_a_reader_that_stayed_gets_each_line_once() {
    let mut fixture = Fixture::start("kill", Backlog::All);
    let mut reader = fixture.reader();
    fixture.add(9);
    fixture.wait_until_written(9);
    for (acknowledged, written, content, next) in [
        // The cursor was behind its reader, which took two and a half lines more than it says.
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
        kill(&mut fixture, Place { acknowledged, written, waiting: 1 }, &mut reader, &content);
        fixture.begin();
        let wanted = content + &lines(next, 9);
        assert_eq!(take(&mut reader, wanted.len()), wanted, "from {acknowledged} {written}");
        wait_for("the cursor", || fixture.place() == Place::at(9));
        assert_eq!(rest(&mut reader), "", "from {acknowledged} {written}");
    }
}

#[test]
fn after_a_kill_without_a_reader_what_was_not_read_comes_again() {
    let mut fixture = Fixture::start("alone", Backlog::All);
    fixture.add(9);
    fixture.wait_until_written(9);
    let mut reader = fixture.reader();
    kill(&mut fixture, Place { acknowledged: 4, written: 9, waiting: 5 }, &mut reader, &lines(5, 9));
    drop(reader);
    fixture.begin();
    let mut reader = fixture.reader();
    assert_eq!(take(&mut reader, lines(5, 9).len()), lines(5, 9));
    wait_for("the cursor", || fixture.place() == Place::at(9));
    assert_eq!(rest(&mut reader), "");
}

#[test]
fn lines_that_only_the_pipe_has_stay_for_who_holds_it_and_are_else_counted_as_lost() {
    for (name, is_held) in [("held", true), ("left", false)] {
        let mut fixture = Fixture::start(name, Backlog::All);
        fixture.add(5);
        fixture.wait_until_written(5);
        let held = is_held.then(|| fixture.reader());
        // As if the first three had been in a segment that `keep` dropped.
        let segment = |first: u64| fixture.scratch.path(&format!("journal/{first:020}.jsonl"));
        let text = fs::read_to_string(segment(1)).unwrap();
        fs::remove_file(segment(1)).unwrap();
        fs::write(segment(4), text.lines().skip(3).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        fixture.end();
        fixture.begin();
        let mut reader = held.unwrap_or_else(|| fixture.reader());
        let wanted = lines(if is_held { 1 } else { 4 }, 5);
        assert_eq!(take(&mut reader, wanted.len()), wanted);
        wait_for("the cursor", || fixture.place() == Place::at(5));
        assert_eq!(rest(&mut reader), "");
        let lost = || crate::notify::status_of_files(&fixture.scratch.0).unwrap()[0].lost;
        wait_for("the lost ones to be counted", || lost() == if is_held { 0 } else { 3 });
    }
}
