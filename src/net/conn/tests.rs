//! A connection beside a peer that pipelines, is silent, leaves, or is made to wait.

use super::output::OUTPUT_BLOCK;
use super::*;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const MINUTE: Duration = Duration::from_secs(60);

fn pair() -> (UnixStream, Conn) {
    let (client, ours) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(MINUTE)).unwrap();
    let peer = Arc::new(Peer::new(OwnedFd::from(ours)));
    (client, Conn::new(peer, Timeouts { command: MINUTE, session: 60 * MINUTE }))
}

#[test]
fn commands_that_came_at_once_are_all_answered_in_order_whatever_the_size_of_the_answers() {
    for size in [1, Buffer::BLOCK, OUTPUT_BLOCK, 3 * OUTPUT_BLOCK] {
        let (mut client, mut conn) = pair();
        client.write_all(&b"NOOP\r\n".repeat(300)).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let reader = std::thread::spawn(move || {
            let mut octets = Vec::new();
            client.read_to_end(&mut octets).unwrap();
            octets
        });
        let end = loop {
            match conn.command(100) {
                Ok(command) => assert_eq!(command, Command::Line(b"NOOP")),
                Err(end) => break end,
            }
            conn.queue(&vec![b'.'; size]).unwrap();
        };
        assert!(matches!(end, Error::Closed), "{end}");
        conn.close();
        drop(conn);
        assert_eq!(reader.join().unwrap().len(), 300 * size);
    }
}

#[test]
fn a_session_that_pipelines_is_stopped_too() {
    let (mut client, mut conn) = pair();
    client.write_all(&b"NOOP\r\n".repeat(1000)).unwrap();
    let peer = conn.peer.clone();
    let reader = std::thread::spawn(move || drop(client.read_to_end(&mut Vec::new())));
    let mut commands = 0;
    let end = loop {
        match conn.command(100) {
            Ok(_) => commands += 1,
            Err(end) => break end,
        }
        conn.queue(&[b'.'; 2000]).unwrap();
        if commands == 10 {
            peer.stop();
        }
    };
    assert!(matches!(end, Error::Stopping) && commands < 1000, "{end} after {commands}");
    drop(conn);
    drop(peer);
    reader.join().unwrap();
}

#[test]
fn a_pause_sends_what_is_queued_and_lasts() {
    let (mut client, mut conn) = pair();
    conn.queue(b"+OK\r\n").unwrap();
    // It lasts whether the client sends more or has closed its half.
    client.write_all(b"PASS x\r\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let begun = Instant::now();
    conn.pause(Duration::from_millis(60)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(60));
    let mut octets = [0; 5];
    client.read_exact(&mut octets).unwrap();
    assert_eq!(conn.command(100).unwrap(), Command::Line(b"PASS x"));
}

#[test]
fn a_pause_ends_with_the_connection_or_the_server() {
    let (client, mut conn) = pair();
    drop(client);
    assert!(matches!(conn.pause(60 * MINUTE), Err(Error::Closed)));
    for before in [true, false] {
        let (client, mut conn) = pair();
        let peer = conn.peer.clone();
        let stop = move || peer.stop();
        if before {
            stop();
            assert!(matches!(conn.pause(60 * MINUTE), Err(Error::Stopping)));
        } else {
            let stopper = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                stop();
            });
            assert!(matches!(conn.pause(60 * MINUTE), Err(Error::Stopping)));
            stopper.join().unwrap();
        }
        drop(client);
    }
}

#[test]
fn a_shorter_timeout_holds_at_once_and_a_longer_one_again() {
    let (client, mut conn) = pair();
    conn.set_command_timeout(Duration::from_millis(30));
    assert!(matches!(conn.command(100), Err(Error::Timeout)));
    assert_eq!(conn.receive_timeout, Some(Duration::from_secs(1)));
    conn.set_command_timeout(MINUTE);
    let speaker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        (&client).write_all(b"NOOP\r\n").unwrap();
        client
    });
    assert_eq!(conn.command(100).unwrap(), Command::Line(b"NOOP"));
    assert_eq!(conn.receive_timeout, Some(MINUTE));
    drop(speaker.join().unwrap());
}

#[test]
fn a_session_whose_time_is_up_is_told_so() {
    let (mut client, mut conn) = pair();
    conn.session_end = Instant::now();
    assert!(matches!(conn.command(100), Err(Error::Timeout)));
    conn.output().extend_from_slice(b"421\r\n");
    conn.close();
    let mut told = String::new();
    client.read_to_string(&mut told).unwrap();
    assert_eq!(told, "421\r\n");
}

#[test]
fn what_a_client_did_not_read_in_time_is_not_sent_again() {
    let (mut client, mut conn) = pair();
    conn.set_command_timeout(Duration::from_millis(20));
    conn.output().resize(4 * OUTPUT_BLOCK * 10, b'.');
    assert!(matches!(conn.flush(), Err(Error::Timeout)));
    let reader = std::thread::spawn(move || {
        let mut octets = Vec::new();
        client.read_to_end(&mut octets).unwrap();
        octets.len()
    });
    conn.output().extend_from_slice(b"421\r\n");
    conn.close();
    assert!(reader.join().unwrap() < 4 * OUTPUT_BLOCK * 10);
}

#[test]
fn a_client_that_reads_nothing_is_cut_at_the_end_of_the_session() {
    let (_client, mut conn) = pair();
    conn.session_end = Instant::now() + Duration::from_millis(50);
    conn.output().resize(40 * OUTPUT_BLOCK, b'.');
    assert!(matches!(conn.flush(), Err(Error::Timeout)));
    assert!(conn.peer.idle().is_none());
}

/// Runs `wait` in a thread until it waits for the client in the given way.
fn waiting(
    mut conn: Conn,
    what: fn(&mut Conn) -> Result<(), Error>,
) -> (Arc<Peer>, std::thread::JoinHandle<Result<(), Error>>) {
    let peer = conn.peer.clone();
    let worker = std::thread::spawn(move || what(&mut conn));
    while peer.silence().is_none() {
        assert!(!worker.is_finished());
        std::thread::yield_now();
    }
    (peer, worker)
}

#[test]
fn a_wait_for_a_client_that_does_not_read_counts_as_idle_and_can_be_ended() {
    let (_client, conn) = pair();
    let (peer, worker) = waiting(conn, |conn| {
        conn.output().resize(40 * OUTPUT_BLOCK, b'.');
        conn.flush()
    });
    assert!(peer.idle().is_some());
    // A stop gives the client time to read; the end does not.
    peer.stop();
    assert!(!worker.is_finished());
    peer.end();
    assert!(matches!(worker.join().unwrap(), Err(Error::Stopping)));
}

#[test]
fn a_message_that_is_coming_outlives_a_stop_and_not_an_end() {
    let (mut client, mut conn) = pair();
    client.write_all(b"first").unwrap();
    assert_eq!(conn.data(Instant::now(), 0).unwrap(), b"first");
    conn.consume(5);
    conn.peer.stop();
    client.write_all(b"second").unwrap();
    assert_eq!(conn.data(Instant::now(), 5).unwrap(), b"second");
    conn.consume(6);
    let (peer, worker) = waiting(conn, |conn| conn.data(Instant::now(), 11).map(drop));
    peer.end();
    assert!(matches!(worker.join().unwrap(), Err(Error::Stopping)));
    drop(client);
}

#[test]
fn a_client_that_was_early_is_told_from_one_that_left() {
    let (mut client, mut conn) = pair();
    assert_eq!(conn.early().unwrap(), Early::Silent);
    client.write_all(b"EHLO x\r\n").unwrap();
    assert_eq!(conn.early().unwrap(), Early::Sent);
    assert_eq!(conn.command(100).unwrap(), Command::Line(b"EHLO x"));
    drop(client);
    assert_eq!(conn.early().unwrap(), Early::Left);
}
