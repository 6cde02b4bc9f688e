//! A connection beside a peer that pipelines, is silent, leaves, or is made to wait.

use super::*;
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
    // It lasts whether the client speaks, or has said all.
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
    let begun = Instant::now();
    let (client, mut conn) = pair();
    drop(client);
    assert!(matches!(conn.pause(MINUTE), Err(Error::Closed)));
    for before in [true, false] {
        let (client, mut conn) = pair();
        let peer = conn.peer.clone();
        let stop = move || peer.stop();
        if before {
            stop();
            assert!(matches!(conn.pause(MINUTE), Err(Error::Stopping)));
        } else {
            let stopper = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                stop();
            });
            assert!(matches!(conn.pause(MINUTE), Err(Error::Stopping)));
            stopper.join().unwrap();
        }
        drop(client);
    }
    assert!(begun.elapsed() < MINUTE / 2);
}

#[test]
fn a_shorter_timeout_holds_at_once_and_a_longer_one_again() {
    let (client, mut conn) = pair();
    conn.set_command_timeout(Duration::from_millis(30));
    let begun = Instant::now();
    assert!(matches!(conn.command(100), Err(Error::Timeout)));
    assert!(begun.elapsed() < MINUTE / 2);
    conn.set_command_timeout(MINUTE);
    let speaker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        (&client).write_all(b"NOOP\r\n").unwrap();
        client
    });
    assert_eq!(conn.command(100).unwrap(), Command::Line(b"NOOP"));
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
fn what_a_peer_did_not_take_in_time_is_not_sent_again() {
    let (mut client, mut conn) = pair();
    sockopt::set_socket_timeout(conn.peer.socket(), sockopt::Timeout::Send, Some(Duration::from_millis(20))).unwrap();
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
