//! Networks in CIDR notation.

use std::net::IpAddr;

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub bits: u8,
}

impl Network {
    /// Whether the address is inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (wide, own) = match (address.to_canonical(), self.address.to_canonical()) {
            (IpAddr::V4(address), IpAddr::V4(own)) => {
                (u128::from(u32::from(address)) << 96, u128::from(u32::from(own)) << 96)
            }
            (IpAddr::V6(address), IpAddr::V6(own)) => (u128::from(address), u128::from(own)),
            _ => return false,
        };
        let differing = wide ^ own;
        differing.leading_zeros() >= u32::from(self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses() {
        let network = |address: &str, bits| Network { address: address.parse().unwrap(), bits };
        for (network, address, inside) in [
            (network("10.0.0.0", 8), "10.255.0.1", true),
            (network("10.0.0.0", 8), "11.0.0.1", false),
            (network("10.0.0.0", 8), "::ffff:10.1.2.3", true),
            (network("0.0.0.0", 0), "192.0.2.1", true),
            (network("0.0.0.0", 0), "::1", false),
            (network("192.0.2.7", 32), "192.0.2.7", true),
            (network("192.0.2.7", 32), "192.0.2.6", false),
            (network("2001:db8::", 32), "2001:db8:ffff::1", true),
            (network("2001:db8::", 32), "2001:db9::", false),
            (network("::", 0), "2001:db8::1", true),
        ] {
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network:?} {address}");
        }
    }
}
