//! The brokers of `[[mqtt]]` in `mailbell status` and in the metrics.

use super::time;
use crate::notify::{BrokerStatus, Subscribers};
use crate::service::Service;
use crate::service::counters::{families, label};
use serde_json::{Value, json};

/// Each broker, for `mailbell status`.
pub fn status(service: &Service) -> Value {
    let one = |broker: &BrokerStatus| {
        json!({
            "name": broker.name,
            "broker": broker.broker,
            "connected": broker.is_connected,
            "connections": broker.connections,
            "next_try": time(broker.next_try),
            "last_error": broker.last_error,
        })
    };
    brokers(service).iter().map(one).collect()
}

/// Appends the metrics.
pub fn metrics(service: &Service, text: &mut String) {
    let labels = |broker: &BrokerStatus| label("subscriber", &broker.name);
    families(
        text,
        &brokers(service),
        labels,
        &[
            ("mqtt_connected", "Whether a broker has taken the login.", "gauge", |each| each.is_connected.into()),
            ("mqtt_connections_total", "How often a broker has since the start.", "counter", |each| each.connections),
        ],
    );
}

fn brokers(service: &Service) -> Vec<BrokerStatus> {
    service.subscribers().as_ref().map(Subscribers::brokers).unwrap_or_default()
}
