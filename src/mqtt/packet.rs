//! The packets of a publisher, as octets (sections 2 and 3): those that it sends are written, those that it gets are read.

/// Longest remaining length (section 2.2.3).
const LONGEST: usize = 268_435_455;

/// What CONNECT says of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// 1 to 23 of `0-9 a-z A-Z`, which each broker takes (section 3.1.3.1).
    pub client_id: String,
    /// The user name; `None` for a broker that asks for none.
    pub login: Option<String>,
    /// Seconds; the client sends something at least so often (section 3.1.2.10).
    pub keep_alive: u16,
}

/// One message to be published.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Without wildcards and NUL; 1 to 65,535 octets.
    pub topic: &'a str,
    /// Any octets.
    pub payload: &'a [u8],
    /// The broker keeps it for subscribers that come later.
    pub retain: bool,
    /// It was sent before.
    pub dup: bool,
}

/// A packet of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The answer to CONNECT: its return code.
    Connack(u8),
    /// The broker has taken the PUBLISH with this packet identifier.
    Puback(u16),
    /// The answer to PINGREQ.
    Pingresp,
}

/// Why octets are no packet that a publisher gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A packet that only a subscriber or a broker gets; its name.
    Unexpected(&'static str),
    /// A known packet with a wrong length or with reserved bits.
    Malformed(&'static str),
}

/// Reads the first packet of `octets`: the packet and its length, or `None` when more octets are needed. It never needs
/// more than five.
pub(super) fn read(octets: &[u8]) -> Result<Option<(Packet, usize)>, Wrong> {
    let Some((&first, rest)) = octets.split_first() else { return Ok(None) };
    let (name, body) = match first >> 4 {
        2 => ("CONNACK", 2),
        4 => ("PUBACK", 2),
        13 => ("PINGRESP", 0),
        other => return Err(Wrong::Unexpected(name_of(other))),
    };
    // Section 2.2.2: the flags of these three are zero.
    if first & 0x0f != 0 {
        return Err(Wrong::Malformed(name));
    }
    // The length has one octet when it is less than 128; a longer encoding of these lengths is wrong, too.
    match rest.first() {
        None => return Ok(None),
        Some(&length) if length != body => return Err(Wrong::Malformed(name)),
        Some(_) => {}
    }
    let Some(body) = rest.get(1..1 + usize::from(body)) else { return Ok(None) };
    let packet = match (first >> 4, body) {
        (2, &[flags, code]) if flags <= 1 => Packet::Connack(code),
        // Section 2.3.1: an identifier is not zero.
        (4, &[high, low]) if (high, low) != (0, 0) => Packet::Puback(u16::from_be_bytes([high, low])),
        (13, _) => Packet::Pingresp,
        _ => return Err(Wrong::Malformed(name)),
    };
    Ok(Some((packet, 2 + body.len())))
}

fn name_of(kind: u8) -> &'static str {
    match kind {
        1 => "CONNECT",
        3 => "PUBLISH",
        5 => "PUBREC",
        6 => "PUBREL",
        7 => "PUBCOMP",
        8 => "SUBSCRIBE",
        9 => "SUBACK",
        10 => "UNSUBSCRIBE",
        11 => "UNSUBACK",
        12 => "PINGREQ",
        14 => "DISCONNECT",
        _ => "a packet of a reserved type",
    }
}

/// Appends CONNECT with a clean session: the journal knows what the broker has not acknowledged, so that the broker need
/// not keep anything.
pub(super) fn connect(settings: &Settings, secret: Option<&[u8]>, out: &mut Vec<u8>) {
    let login = settings.login.as_deref();
    // Section 3.1.2.9: without a user name there is no password.
    let secret = secret.filter(|_| login.is_some());
    let flags = 0x02 | u8::from(login.is_some()) << 7 | u8::from(secret.is_some()) << 6;
    let fields = [Some(settings.client_id.as_bytes()), login.map(str::as_bytes), secret];
    let fields = fields.into_iter().flatten().map(cut);
    head(0x10, 10 + fields.clone().map(|field| 2 + field.len()).sum::<usize>(), out);
    string(b"MQTT", out);
    out.extend([4, flags]);
    out.extend(settings.keep_alive.to_be_bytes());
    fields.for_each(|field| string(field, out));
}

/// Appends PUBLISH with QoS 1.
pub(super) fn publish(publish: &Publish<'_>, id: u16, out: &mut Vec<u8>) {
    let topic = cut(publish.topic.as_bytes());
    let payload = &publish.payload[..publish.payload.len().min(LONGEST - 4 - topic.len())];
    head(0x32 | u8::from(publish.dup) << 3 | u8::from(publish.retain), 4 + topic.len() + payload.len(), out);
    string(topic, out);
    out.extend(id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends PINGREQ.
pub(super) fn ping(out: &mut Vec<u8>) {
    out.extend([0xc0, 0]);
}

/// Appends DISCONNECT.
pub(super) fn disconnect(out: &mut Vec<u8>) {
    out.extend([0xe0, 0]);
}

/// The fixed header.
fn head(first: u8, mut length: usize, out: &mut Vec<u8>) {
    out.push(first);
    while length >= 128 {
        out.push(length as u8 | 128);
        length /= 128;
    }
    out.push(length as u8);
}

/// A field's length has 16 bits. No caller gives more; what would not fit is cut.
fn cut(field: &[u8]) -> &[u8] {
    &field[..field.len().min(usize::from(u16::MAX))]
}

fn string(octets: &[u8], out: &mut Vec<u8>) {
    out.extend((octets.len() as u16).to_be_bytes());
    out.extend_from_slice(octets);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_packets_of_a_publisher_are_read() {
        for (octets, packet) in [
            (&[0x20, 2, 0, 0][..], Packet::Connack(0)),
            (&[0x20, 2, 1, 5, 9], Packet::Connack(5)),
            (&[0x40, 2, 1, 2, 0x40], Packet::Puback(258)),
            (&[0xd0, 0], Packet::Pingresp),
        ] {
            let length = 2 + usize::from(octets[1]);
            assert_eq!(read(octets), Ok(Some((packet, length))));
            for end in 0..length {
                assert_eq!(read(&octets[..end]), Ok(None), "{octets:?}, {end} octets of it");
            }
        }
    }

    #[test]
    fn every_other_packet_is_refused_by_its_first_octets() {
        // Without the 256 MB that it announces.
        assert_eq!(read(&[0x30, 0xff, 0xff, 0xff, 0x7f]), Err(Wrong::Unexpected("PUBLISH")));
        for (octets, wrong) in [
            (&[0x40, 0xff][..], Wrong::Malformed("PUBACK")),
            (&[0x40, 0x82, 0x80, 0x00], Wrong::Malformed("PUBACK")),
            (&[0x40, 2, 0, 0], Wrong::Malformed("PUBACK")),
            (&[0x42], Wrong::Malformed("PUBACK")),
            (&[0x20, 3], Wrong::Malformed("CONNACK")),
            (&[0x20, 2, 2, 0], Wrong::Malformed("CONNACK")),
            (&[0xd0, 1], Wrong::Malformed("PINGRESP")),
            (b"HTTP/1.1 400 Bad Request", Wrong::Malformed("PUBACK")),
            (&[0], Wrong::Unexpected("a packet of a reserved type")),
            (&[0xf0], Wrong::Unexpected("a packet of a reserved type")),
            (&[0x90, 3], Wrong::Unexpected("SUBACK")),
        ] {
            assert_eq!(read(octets), Err(wrong), "{octets:?}");
        }
    }

    #[test]
    fn remaining_lengths_are_those_of_the_standard() {
        // Section 2.2.3, table 2.4.
        for (length, octets) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (LONGEST, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            let mut out = Vec::new();
            head(0x30, length, &mut out);
            assert_eq!(out[1..], *octets);
        }
    }

    proptest! {
        #[test]
        fn five_octets_are_enough_to_decide(octets in proptest::collection::vec(any::<u8>(), 5..20)) {
            prop_assert!(read(&octets) != Ok(None));
        }
    }
}
