//! The MQTT client in every state: the first octets choose what is published, the rest is what the broker sends, cut into
//! pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::mqtt::{Publish, Session, Settings, Step, WINDOW};

fuzz_target!(|data: &[u8]| {
    let [choices, piece, octets @ ..] = data else { return };
    let settings = Settings { client_id: "mailbell".into(), login: Some("me".into()), keep_alive: 60 };
    let mut out = Vec::new();
    let mut session = Session::new(&settings, Some(b"s\xff"), &mut out);
    let (mut mark, mut taken) = (0, 0);
    for mut piece in octets.chunks(usize::from(piece % 9) + 1) {
        while !piece.is_empty() {
            let (count, step) = session.octets(piece);
            assert!(count > 0 && count <= piece.len());
            piece = &piece[count..];
            match step {
                Step::Failed(_) => return assert_eq!(session.room(), 0),
                Step::Taken(came) => {
                    taken += 1;
                    assert!(came < mark && taken <= mark);
                }
                Step::Ready | Step::Pong | Step::More => {}
            }
            if session.room() > 0 && choices % 3 != 0 {
                let message = Publish { topic: "t", payload: piece, retain: choices & 8 != 0, dup: choices & 16 != 0 };
                session.publish(&message, mark, &mut out);
                mark += 1;
            }
            if choices & 4 != 0 && session.room() > 0 && !session.is_pinging() {
                session.ping(&mut out);
            }
            assert!(session.waiting() <= WINDOW && session.waiting() as u64 == mark - taken);
            out.clear();
        }
    }
    session.disconnect(&mut out);
});
