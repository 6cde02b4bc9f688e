//! MQTT 3.1.1 as a broker sees it: the packets of a publisher are read, and what a broker answers is written. It shares no
//! code with `src/mqtt`.

use std::fmt;

/// A packet of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Connect { client_id: String, login: Option<String>, password: Option<String>, keep_alive: u16, is_clean: bool },
    Publish { topic: String, payload: Vec<u8>, id: u16, dup: bool, retain: bool },
    Pingreq,
    Disconnect,
}

/// As the dialogues write it.
impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sent::Connect { client_id, login, password, keep_alive, is_clean } => {
                write!(f, "CONNECT {client_id} keep={keep_alive}")?;
                f.write_str(if *is_clean { " clean" } else { "" })?;
                login.iter().try_for_each(|login| write!(f, " login={login}"))?;
                password.iter().try_for_each(|password| write!(f, " password={password}"))
            }
            Sent::Publish { topic, payload, id, dup, retain } => {
                write!(f, "PUBLISH {id} {topic} {}", payload.escape_ascii())?;
                f.write_str(if *retain { " retain" } else { "" })?;
                f.write_str(if *dup { " dup" } else { "" })
            }
            Sent::Pingreq => f.write_str("PINGREQ"),
            Sent::Disconnect => f.write_str("DISCONNECT"),
        }
    }
}

/// Takes the first packet out of `octets`; `None` when it has not come whole. Panics when it is wrong.
pub fn take(octets: &mut Vec<u8>) -> Option<Sent> {
    let (mut length, mut at, mut factor) = (0_usize, 1, 1_usize);
    loop {
        let octet = *octets.get(at)?;
        at += 1;
        length += usize::from(octet & 127) * factor;
        factor *= 128;
        if octet < 128 {
            break;
        }
        assert!(at < 5, "a remaining length of more than four octets");
    }
    if octets.len() < at + length {
        return None;
    }
    let rest = octets.split_off(at + length);
    let packet = std::mem::replace(octets, rest);
    let mut body = &packet[at..];
    let sent = match packet[0] {
        0x10 => connect(&mut body),
        first if first & 0xf6 == 0x32 => Sent::Publish {
            topic: string(&mut body),
            id: number(&mut body),
            payload: std::mem::take(&mut body).to_vec(),
            dup: first & 8 != 0,
            retain: first & 1 != 0,
        },
        0xc0 => Sent::Pingreq,
        0xe0 => Sent::Disconnect,
        other => panic!("a publisher with QoS 1 does not send {other:#x}"),
    };
    assert!(body.is_empty(), "octets after the end of {sent}: {body:?}");
    if let Sent::Publish { topic, id, .. } = &sent {
        assert!(*id > 0 && !topic.is_empty() && !topic.contains(['+', '#', '\0']), "{sent}");
    }
    Some(sent)
}

fn connect(body: &mut &[u8]) -> Sent {
    assert_eq!(string(body), "MQTT");
    let [level, flags] = number(body).to_be_bytes();
    assert_eq!((level, flags & 0x3d), (4, 0), "level 4, no will, no reserved bit");
    let (has_login, has_password) = (flags & 0x80 != 0, flags & 0x40 != 0);
    assert!(has_login || !has_password, "a password without a user name");
    let keep_alive = number(body);
    let client_id = string(body);
    let login = has_login.then(|| string(body));
    let password = has_password.then(|| string(body));
    Sent::Connect { client_id, login, password, keep_alive, is_clean: flags & 2 != 0 }
}

fn number(body: &mut &[u8]) -> u16 {
    let (number, rest) = body.split_first_chunk::<2>().expect("two octets");
    *body = rest;
    u16::from_be_bytes(*number)
}

fn string(body: &mut &[u8]) -> String {
    let length = number(body).into();
    let (string, rest) = body.split_at(length);
    *body = rest;
    String::from_utf8(string.to_vec()).expect("UTF-8")
}

/// A packet of a broker: `CONNACK 0`, `PUBACK 7`, `PINGRESP`, or octets in hexadecimal.
pub fn packet(words: &str) -> Vec<u8> {
    match words.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["CONNACK", code] => vec![0x20, 2, 0, code.parse().unwrap()],
        ["PUBACK", id] => [&[0x40, 2][..], &id.parse::<u16>().unwrap().to_be_bytes()].concat(),
        ["PINGRESP"] => vec![0xd0, 0],
        octets => octets.iter().map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect(),
    }
}
