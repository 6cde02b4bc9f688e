//! Networks, as `proxy.trusted` lists them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub bits: u8,
}

impl Network {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// Says what is wrong, with the network that was probably meant.
    pub fn parse(text: &str) -> Result<Network, String> {
        let wrong = || format!("{text:?} is not a network; write one such as \"10.0.0.0/8\" or \"2001:db8::/32\"");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(digits) if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) => {
                return Err(wrong());
            }
            Some(digits) => digits.parse().ok().filter(|bits| *bits <= most).ok_or_else(|| {
                format!("{text:?} has more bits than an address; at most {most} here, such as \"{address}/{most}\"")
            })?,
        };
        let first = Network { address: first(address, bits), bits };
        if first.address != address {
            return Err(format!("{text:?} has bits set behind its first {bits}; did you mean \"{first}\"?"));
        }
        Ok(first)
    }

    /// Whether the address is in it. An IPv4 address may be written as IPv6 (`::ffff:10.0.0.1`).
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && first(address, self.bits) == self.address
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The first address of the network of so many bits that this address is in.
fn first(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1/32", "::ffff:192.0.2.1", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "::1", "127.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        for (text, why) in [
            ("", "not a network"),
            ("10.0.0.0/", "not a network"),
            ("10.0.0.0/+8", "not a network"),
            ("10.0.0.0/33", "at most 32"),
            ("2001:db8::/999", "at most 128"),
            ("10.0.0.1/8", "\"10.0.0.0/8\""),
            ("example.org", "not a network"),
        ] {
            assert!(Network::parse(text).unwrap_err().contains(why), "{text}");
        }
    }
}
