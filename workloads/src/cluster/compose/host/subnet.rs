//! A subnet that nothing else uses.

use std::{fmt, net::Ipv4Addr};

/// Where subnets are taken from: /24s of these, which are private (RFC 1918) and seldom used.
const RANGES: [[u8; 2]; 3] = [[10, 213], [172, 31], [192, 168]];

/// A subnet: an address and how many of its bits count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    address: u32,
    bits: u32,
}

impl Subnet {
    /// Reads `10.213.7.0/24`. `None` for what is not of IPv4.
    pub(super) fn parse(text: &str) -> Option<Subnet> {
        let (address, bits) = text.trim().split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|&bits| bits <= 32)?;
        Some(Subnet { address: address.to_bits(), bits })
    }

    /// The first three numbers of a /24.
    pub(super) fn prefix(self) -> String {
        let [a, b, c, _] = self.address.to_be_bytes();
        format!("{a}.{b}.{c}")
    }

    fn overlaps(self, other: Subnet) -> bool {
        let common = self.bits.min(other.bits);
        (self.address ^ other.address).leading_zeros() >= common
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.address), self.bits)
    }
}

/// Subnets that overlap none of the `used`, the first by `choice`: two runs that begin together seldom want
/// the same.
pub(super) fn free(used: &[Subnet], choice: u64) -> impl Iterator<Item = Subnet> {
    let first = u8::try_from(choice % 256).expect("it is below 256");
    let all = RANGES.into_iter().flat_map(move |[a, b]| {
        (0..=255u8).map(move |n| {
            let address = Ipv4Addr::new(a, b, first.wrapping_add(n), 0);
            Subnet { address: address.to_bits(), bits: 24 }
        })
    });
    let used = used.to_vec();
    all.filter(move |subnet| !used.iter().any(|used| used.overlaps(*subnet)))
}

/// The subnets that this machine has routes to, out of what /proc/net/route says: after a line of titles,
/// fields 2 and 8 are destination and mask, in hexadecimal digits of the machine's own byte order. Default
/// routes are left out. Source: proc(5), linux/net/ipv4/fib_trie.c.
pub(super) fn routed(table: &str) -> Vec<Subnet> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok().map(u32::from_be);
        let (address, mask) = (number(1)?, number(7)?);
        Some(Subnet { address, bits: mask.count_ones() }).filter(|subnet| subnet.bits > 0)
    };
    table.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_in_use_are_passed_over() {
        let used: Vec<Subnet> = ["10.213.7.0/24", "10.213.8.128/25", "172.16.0.0/12"]
            .iter()
            .map(|text| Subnet::parse(text).unwrap())
            .collect();
        let all: Vec<String> = free(&used, 7).map(Subnet::prefix).collect();
        assert_eq!(all[0], "10.213.9");
        assert_eq!(all.len(), 254 + 256, "172.31 is taken as a whole");
        assert!(all.contains(&"192.168.0".to_owned()));
        assert_eq!(
            free(&[Subnet::parse("0.0.0.0/1").unwrap(), Subnet::parse("128.0.0.0/1").unwrap()], 0).count(),
            0
        );
        for text in ["", "10.0.0.0", "fd00::/8", "10.0.0.0/33"] {
            assert_eq!(Subnet::parse(text), None, "{text}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_are_read_from_the_kernels_table() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(routed(table), [Subnet::parse("172.17.0.0/16").unwrap()]);
    }
}
