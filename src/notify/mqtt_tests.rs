use super::*;
use crate::ledger::Journal;
use crate::mqtt::packets::{self, Sent};
use crate::notify::testing::{Scratch, add, wait_for};
use crate::notify::{Settings, SubscriberStatus, Subscribers};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

pub(super) fn settings() -> MqttSettings {
    let Ok(Format::Template(topic)) = Format::parse("mail/{user}") else { panic!("a template") };
    MqttSettings {
        name: "home".into(),
        host: "127.0.0.1".into(),
        port: 1883,
        trust: None,
        login: None,
        password_file: None,
        topic,
        payload: None,
        discovery: false,
        client_id: "mailbell0123".into(),
        retry: (Duration::from_millis(10), Duration::from_millis(10)),
        give_up: Duration::ZERO,
        filter: Filter::default(),
        accounts: Vec::new(),
    }
}

/// One connection of a scripted broker.
struct Broker {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Broker {
    fn accept(listener: &TcpListener) -> Broker {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Broker { stream, input: Vec::new() }
    }

    /// Takes CONNECT and answers it.
    fn welcome(listener: &TcpListener) -> Broker {
        let mut broker = Broker::accept(listener);
        assert!(matches!(broker.next(), Some(Sent::Connect { .. })));
        broker.say("CONNACK 0");
        broker
    }

    fn say(&mut self, words: &str) {
        self.stream.write_all(&packets::packet(words)).unwrap();
    }

    fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = packets::take(&mut self.input) {
                return Some(sent);
            }
            let mut block = [0; 4096];
            match self.stream.read(&mut block) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&block[..count]),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next PUBLISH: its identifier, the `seq` in it, and whether it is a repeat.
    fn publish(&mut self) -> (u16, u64, bool) {
        match self.next() {
            Some(Sent::Publish { id, payload, dup, .. }) => (id, Record::parse(&payload).unwrap().seq, dup),
            other => panic!("{other:?}"),
        }
    }
}

/// A journal, a broker's listener, and an `[[mqtt]]` for both.
struct Scene {
    scratch: Scratch,
    journal: Journal,
    listener: TcpListener,
    settings: MqttSettings,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let scratch = Scratch::new(name);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Scene { journal: scratch.journal(), scratch, listener, settings: MqttSettings { port, ..settings() } }
    }

    fn start(&self) -> Subscribers {
        let wanted = vec![Settings::Mqtt(self.settings.clone())];
        Subscribers::start_inside(&self.scratch.0, None, Arc::new(|| {}), wanted).unwrap()
    }

    fn add(&self, count: usize) {
        for _ in 0..count {
            add(&self.journal, "alice", |_| {});
        }
    }

    fn status(&self) -> SubscriberStatus {
        crate::notify::status_of_files(&self.scratch.0).unwrap().remove(0)
    }
}

#[test]
fn events_are_published_in_order_and_the_cursor_follows_the_acknowledgements() {
    let scene = Scene::new("mqtt-order");
    let subscribers = scene.start();
    let mut broker = Broker::welcome(&scene.listener);
    scene.add(3);
    // All of them, before the first PUBACK.
    let sent: Vec<_> = (0..3).map(|_| broker.publish()).collect();
    assert_eq!(sent, [(1, 1, false), (2, 2, false), (3, 3, false)]);
    broker.say("PUBACK 1");
    wait_for("the cursor", || scene.status().last_seq == 1);
    // Out of order: the cursor stays before the oldest that is open.
    broker.say("PUBACK 3");
    wait_for("the third", || scene.status().backlog == 1);
    assert_eq!(scene.status().last_seq, 1);
    broker.say("PUBACK 2");
    wait_for("the cursor", || scene.status().last_seq == 3);
    let goodbye = std::thread::spawn(move || broker.next());
    subscribers.stop();
    assert_eq!(goodbye.join().unwrap(), Some(Sent::Disconnect));
}

#[test]
fn what_was_not_acknowledged_is_published_again_and_marked() {
    let scene = Scene::new("mqtt-again");
    let subscribers = scene.start();
    let mut broker = Broker::welcome(&scene.listener);
    scene.add(4);
    for _ in 0..4 {
        broker.publish();
    }
    broker.say("PUBACK 2");
    wait_for("the second", || scene.status().backlog == 3);
    drop(broker);
    let mut broker = Broker::welcome(&scene.listener);
    // One at a time would do after a session without progress; there was some.
    let sent: Vec<_> = (0..3).map(|_| broker.publish()).collect();
    assert_eq!(sent, [(1, 1, true), (2, 3, true), (3, 4, true)]);
    broker.say("PUBACK 1");
    wait_for("the cursor", || scene.status().last_seq == 2);
    // The start after a stop repeats neither the first nor the second.
    let waits = std::thread::spawn(move || {
        let last = broker.next();
        (broker, last)
    });
    subscribers.stop();
    assert_eq!(waits.join().unwrap().1, Some(Sent::Disconnect));
    let subscribers = scene.start();
    let mut broker = Broker::welcome(&scene.listener);
    let sent: Vec<_> = (0..2).map(|_| broker.publish()).collect();
    assert_eq!(sent, [(1, 3, true), (2, 4, true)]);
    broker.say("PUBACK 1");
    broker.say("PUBACK 2");
    wait_for("the cursor", || scene.status().last_seq == 4);
    assert_eq!(scene.status().backlog, 0);
    drop(broker);
    subscribers.stop();
}

#[test]
fn a_broker_that_is_away_costs_no_event_and_no_stop_waits_for_it() {
    let scene = Scene::new("mqtt-away");
    let Scene { scratch, journal, listener, settings } = scene;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let wanted = vec![Settings::Mqtt(settings.clone())];
    let subscribers = Subscribers::start_inside(&scratch.0, None, Arc::new(|| {}), wanted).unwrap();
    for _ in 0..200 {
        add(&journal, "alice", |_| {});
    }
    wait_for("a failure", || subscribers.brokers()[0].last_error.is_some());
    let listener = TcpListener::bind(address).unwrap();
    let mut broker = Broker::welcome(&listener);
    for seq in 1..=200 {
        let (id, came, dup) = broker.publish();
        assert_eq!((came, dup), (seq, false));
        broker.say(&format!("PUBACK {id}"));
    }
    let scene = Scene { scratch, journal, listener, settings };
    wait_for("the cursor", || scene.status().last_seq == 200);
    assert_eq!((scene.status().given_up, scene.status().retries), (0, 0));
    let broker_status = subscribers.brokers().remove(0);
    assert!(broker_status.is_connected && broker_status.last_error.is_none(), "{broker_status:?}");
    drop(broker);
    subscribers.stop();
}

#[test]
fn an_event_on_which_the_broker_ends_each_session_is_given_up_and_no_other() {
    let scene = Scene::new("mqtt-poison");
    let subscribers = scene.start();
    scene.add(3);
    let mut tries = 0;
    let mut seen = Vec::new();
    'sessions: loop {
        let mut broker = Broker::welcome(&scene.listener);
        loop {
            match broker.publish() {
                (_, 2, dup) => {
                    assert_eq!(dup, tries > 0);
                    tries += 1;
                    continue 'sessions;
                }
                (id, seq, _) => {
                    seen.push(seq);
                    broker.say(&format!("PUBACK {id}"));
                    if seq == 3 {
                        wait_for("the cursor", || scene.status().last_seq == 3);
                        break 'sessions;
                    }
                }
            }
        }
    }
    assert_eq!((tries, seen), (10, vec![1, 3]));
    assert_eq!((scene.status().given_up, scene.status().retries), (1, 10));
    subscribers.stop();
}

#[test]
fn a_sensor_is_told_before_its_first_state_and_on_each_connection() {
    let mut scene = Scene::new("mqtt-discovery");
    scene.settings.discovery = true;
    scene.settings.accounts = vec!["alice".into(), "bob".into()];
    let subscribers = scene.start();
    let topics = |broker: &mut Broker, count: usize| -> Vec<(String, bool)> {
        let take = |_| match broker.next() {
            Some(Sent::Publish { topic, retain, id, .. }) => {
                broker.say(&format!("PUBACK {id}"));
                (topic, retain)
            }
            other => panic!("{other:?}"),
        };
        (0..count).map(take).collect()
    };
    let sensor = |user: &str, what: &str| (format!("homeassistant/sensor/mailbell0123_{user}/{what}"), true);
    let mut broker = Broker::welcome(&scene.listener);
    assert_eq!(topics(&mut broker, 2), [sensor("alice", "config"), sensor("bob", "config")]);
    // A user without an account: another program delivers the mail.
    add(&scene.journal, "carol", |_| {});
    let expected = [sensor("carol", "config"), sensor("carol", "state"), ("mail/carol".into(), false)];
    assert_eq!(topics(&mut broker, 3), expected);
    wait_for("the cursor", || scene.status().last_seq == 1);
    drop(broker);
    let mut broker = Broker::welcome(&scene.listener);
    let expected =
        [sensor("alice", "config"), sensor("bob", "config"), sensor("carol", "config"), sensor("carol", "state")];
    assert_eq!(topics(&mut broker, 4), expected);
    subscribers.stop();
}

#[test]
fn a_refused_login_is_tried_again_after_minutes_and_at_once_after_a_reload() {
    let scene = Scene::new("mqtt-refused");
    let mut subscribers = scene.start();
    let mut broker = Broker::accept(&scene.listener);
    assert!(matches!(broker.next(), Some(Sent::Connect { .. })));
    broker.say("CONNACK 4");
    assert_eq!(broker.next(), None);
    wait_for("the failure", || subscribers.brokers()[0].next_try.is_some());
    let status = subscribers.brokers().remove(0);
    assert!(status.last_error.as_ref().is_some_and(|why| why.contains("bad user name or password")), "{status:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(status.next_try.is_some_and(|at| at > now + 60), "{status:?}");
    assert!(subscribers.reload(vec![Settings::Mqtt(scene.settings.clone())]).is_empty());
    Broker::welcome(&scene.listener);
    subscribers.stop();
}
