//! The brokers of `[[mqtt]]` in `mailbell status` and in the metrics.

#[cfg(feature = "mqtt")]
pub use with::{metrics, status};
#[cfg(not(feature = "mqtt"))]
pub use without::{metrics, status};

#[cfg(feature = "mqtt")]
mod with {
    use crate::message::date;
    use crate::notify::{BrokerStatus, Subscribers};
    use crate::service::Service;
    use crate::service::counters::{self, label};
    use serde_json::{Value, json};

    /// Each broker, for `mailbell status`.
    pub fn status(service: &Service) -> Value {
        let one = |broker: &BrokerStatus| {
            json!({
                "name": broker.name,
                "broker": broker.broker,
                "connected": broker.is_connected,
                "connections": broker.connections,
                "next_try": broker.next_try.map(|seconds| date::rfc3339_micros(seconds * 1_000_000)),
                "last_error": broker.last_error,
            })
        };
        brokers(service).iter().map(one).collect()
    }

    /// Appends the metrics.
    pub fn metrics(service: &Service, text: &mut String) {
        let brokers = brokers(service);
        if brokers.is_empty() {
            return;
        }
        let mut family = |name: &str, help: &str, kind: &str, value: fn(&BrokerStatus) -> u64| {
            let samples: Vec<_> = brokers.iter().map(|each| (label("subscriber", &each.name), value(each))).collect();
            counters::prometheus(text, name, help, kind, &samples);
        };
        family("mqtt_connected", "Whether a broker has taken the login.", "gauge", |each| each.is_connected.into());
        family("mqtt_connections_total", "How often a broker has since the start.", "counter", |each| each.connections);
    }

    fn brokers(service: &Service) -> Vec<BrokerStatus> {
        service.subscribers().as_ref().map(Subscribers::brokers).unwrap_or_default()
    }
}

#[cfg(not(feature = "mqtt"))]
mod without {
    use crate::service::Service;
    use serde_json::{Value, json};

    pub fn status(_service: &Service) -> Value {
        json!([])
    }

    pub fn metrics(_service: &Service, _text: &mut String) {}
}
