use super::*;
use crate::accounts::Accounts;
use crate::config::Config;
use crate::delivery::tests::House;
use crate::notify::Subscribers;
use crate::queue::Queue;
use crate::service::{Live, Service};

/// A supervisor that no thread runs.
fn supervisor(house: &House) -> Supervisor {
    let config: &Config = &house.config;
    std::fs::write(&config.users.file, "alice:{PLAIN}x\n").unwrap();
    let live = Live {
        accounts: Arc::new(Accounts::load(config).unwrap()),
        tls: None,
        system_users: Default::default(),
        #[cfg(feature = "http")]
        http_token: None,
    };
    let ledger = house.ledger();
    let delivery = Arc::new(crate::delivery::Delivery::new(config, Some(ledger.clone())));
    let subscribers = Subscribers::start_inside(&config.state, None, Arc::new(|| {}), Vec::new()).unwrap();
    let queue = Arc::new(Queue::open(&config.state).unwrap());
    let service = Arc::new(Service::new(config.clone(), live, delivery, ledger, subscribers, queue));
    Supervisor::new(Arc::new(Shared::new(service).unwrap()), None, Arc::new(|| {}))
}

#[test]
fn a_stop_waits_for_the_session_and_for_nothing_behind_its_end() {
    let house = House::new("send-stop");
    let mut supervisor = supervisor(&house);
    let shared = supervisor.shared.clone();
    assert!(supervisor.turn(), "without a stop it waits for what comes");
    supervisor.is_running = true;
    shared.give(Order::Stop);
    assert!(supervisor.turn() && shared.stop.is_given(), "the session is told, and has time for its goodbye");
    // The end of the session is all that there is to wait for: no further wait follows it.
    shared.give(Order::Ended(Ok(())));
    assert!(!supervisor.turn());
}

#[test]
fn a_stop_without_a_session_waits_for_nothing() {
    let house = House::new("send-stop-idle");
    let mut supervisor = supervisor(&house);
    supervisor.shared.give(Order::Stop);
    assert!(!supervisor.turn());
}
