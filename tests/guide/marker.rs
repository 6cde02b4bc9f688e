//! The comment above a block that says how it is run; the head of tests/guide.rs lists its keys.

use crate::common::pages::Block;

#[derive(Default)]
pub struct Marker {
    /// The settings that go before those of `with: above`, and these.
    pub settings: String,
    /// Where the block is stored for the server, instead of being run.
    pub stored_as: Option<String>,
    pub stubs: Vec<String>,
    pub port: Option<String>,
    pub to: String,
    pub messages: Vec<String>,
    /// The block goes on by itself until it has printed this.
    pub until: Option<String>,
    pub expected: Vec<String>,
}

impl Marker {
    pub fn of(block: &Block) -> Marker {
        let mut marker = Marker { to: "alice@example.org".into(), ..Marker::default() };
        let mut above = "";
        for line in block.marker.as_deref().unwrap().lines().skip(1) {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim().to_owned();
            match key.trim() {
                "with" if value == "above" => above = block.toml_above.as_deref().expect("a block of TOML above"),
                "config" => marker.settings += &format!("{value}\n"),
                "as" => marker.stored_as = Some(value),
                "stub" => marker.stubs.extend(value.split_whitespace().map(str::to_owned)),
                "port" => marker.port = Some(value),
                "to" => marker.to = value,
                "send" => marker.messages.push(message(&value)),
                "until" => marker.until = Some(value),
                "expect" => marker.expected.push(value),
                _ => panic!("{}: the marker has an unknown line: {line}", block.place),
            }
        }
        marker.settings += above;
        let wants = marker.until.is_some() || !marker.expected.is_empty();
        assert!(wants, "{}: the marker wants nothing (until:, expect:)", block.place);
        marker
    }
}

/// A message whose lines were joined by `\\n`; one without a text gets one.
fn message(value: &str) -> String {
    let message = value.replace("\\n", "\n");
    if message.contains("\n\n") { message + "\n" } else { message + "\n\nIt works.\n" }
}
