//! Bundles: how a namespace's topics are divided into hash ranges.
//!
//! **What**  The hash is CRC-32 (the zlib polynomial) over the topic's full name, as in Pulsar, so that tools compute the
//! same bundle. Boundaries are 32-bit numbers written as `0x` and eight hexadecimal digits.
//!
//! **Invariants**
//! - I1  boundaries ascend from 0x00000000 to 0xffffffff; each hash is in exactly one range.

use serde::{Deserialize, Serialize};
use std::fmt;

use base::TopicName;

/// Bundles of a new namespace, Pulsar's default.
pub const BUNDLES_DEFAULT: u32 = 4;
/// Most bundles of one namespace.
pub const BUNDLES_MAX: u32 = 128;

/// A range of topic hashes: from `lower` to below `upper`; the last range of a namespace includes 0xffffffff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleRange {
    pub lower: u32,
    pub upper: u32,
}

impl BundleRange {
    /// All hashes.
    pub const FULL: Self = Self { lower: 0, upper: u32::MAX };

    pub fn contains(self, hash: u32) -> bool {
        (self.lower <= hash && hash < self.upper) || (hash == u32::MAX && self.upper == u32::MAX)
    }

    /// Reads `0x00000000_0x40000000`; `None` unless lower < upper.
    pub fn parse(text: &str) -> Option<Self> {
        let (lower, upper) = text.split_once('_')?;
        let range = Self { lower: parse_boundary(lower)?, upper: parse_boundary(upper)? };
        (range.lower < range.upper).then_some(range)
    }
}

impl fmt::Display for BundleRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}_{:#010x}", self.lower, self.upper)
    }
}

/// The `bundles` object of a namespace's policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawBundles", into = "RawBundles")]
pub struct Bundles {
    boundaries: Vec<u32>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct RawBundles {
    #[serde(deserialize_with = "crate::lenient::or_default")]
    boundaries: Vec<String>,
    #[serde(rename = "numBundles", deserialize_with = "crate::lenient::number")]
    count: i64,
}

impl Default for Bundles {
    fn default() -> Self {
        Self::even(BUNDLES_DEFAULT)
    }
}

impl Bundles {
    /// `count` ranges of equal size; fewer than one counts as one, more than [`BUNDLES_MAX`] as that.
    pub fn even(count: u32) -> Self {
        let count = count.clamp(1, BUNDLES_MAX);
        let step = (1 << 32) / u64::from(count);
        let boundary = |index: u32| u32::try_from(u64::from(index) * step).unwrap_or(u32::MAX);
        let mut boundaries: Vec<u32> = (0..count).map(boundary).collect();
        boundaries.push(u32::MAX);
        Self { boundaries }
    }

    /// Ranges between given boundaries; `None` when they break I1.
    pub fn from_boundaries(boundaries: Vec<u32>) -> Option<Self> {
        let spans_all = boundaries.first() == Some(&0) && boundaries.last() == Some(&u32::MAX);
        let ascends = boundaries.windows(2).all(|pair| pair[0] < pair[1]);
        let few = boundaries.len() <= BUNDLES_MAX as usize + 1;
        (spans_all && ascends && few).then_some(Self { boundaries })
    }

    pub fn boundaries(&self) -> &[u32] {
        &self.boundaries
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = BundleRange> + '_ {
        self.boundaries.windows(2).map(|pair| BundleRange { lower: pair[0], upper: pair[1] })
    }

    /// The range that holds `topic`.
    pub fn range_of(&self, topic: &TopicName) -> BundleRange {
        let hash = topic_hash(topic);
        let above = self.boundaries.partition_point(|boundary| *boundary <= hash).min(self.boundaries.len() - 1);
        let range = BundleRange { lower: self.boundaries[above - 1], upper: self.boundaries[above] };
        assert!(range.contains(hash), "Bundles I1: {range} holds {hash:#010x}");
        range
    }
}

impl TryFrom<RawBundles> for Bundles {
    type Error = String;

    fn try_from(raw: RawBundles) -> Result<Self, String> {
        if raw.boundaries.is_empty() {
            let count = if raw.count == 0 { i64::from(BUNDLES_DEFAULT) } else { raw.count };
            return match u32::try_from(count) {
                Ok(count) if count <= BUNDLES_MAX => Ok(Self::even(count)),
                Ok(_) | Err(_) => Err(format!("numBundles is {count}: give 1 to {BUNDLES_MAX}")),
            };
        }
        let parsed: Option<Vec<u32>> = raw.boundaries.iter().map(|text| parse_boundary(text)).collect();
        parsed.and_then(Self::from_boundaries).ok_or_else(|| {
            format!("bundle boundaries must ascend from 0x00000000 to 0xffffffff, at most {BUNDLES_MAX} ranges")
        })
    }
}

impl From<Bundles> for RawBundles {
    fn from(bundles: Bundles) -> Self {
        let boundaries: Vec<String> = bundles.boundaries.iter().map(|value| format!("{value:#010x}")).collect();
        Self { count: i64::try_from(boundaries.len() - 1).unwrap_or(0), boundaries }
    }
}

fn parse_boundary(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0x")?;
    let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// The hash that places a topic (or one partition) in a bundle: CRC-32 over its full name.
pub fn topic_hash(topic: &TopicName) -> u32 {
    crc32(topic.to_string().as_bytes())
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}

const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn the_hash_is_the_crc_32_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn default_bundles_print_as_pulsar_prints_them() {
        let json = serde_json::to_string(&Bundles::default()).unwrap();
        let expected =
            r#"{"boundaries":["0x00000000","0x40000000","0x80000000","0xc0000000","0xffffffff"],"numBundles":4}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn broken_boundaries_are_refused() {
        for bad in [
            r#"{"boundaries":["0x00000000"]}"#,
            r#"{"boundaries":["0x00000001","0xffffffff"]}"#,
            r#"{"boundaries":["0x00000000","0x5","0x5","0xffffffff"]}"#,
            r#"{"boundaries":["0x00000000","+0x5","0xffffffff"]}"#,
            r#"{"boundaries":[],"numBundles":-1}"#,
            r#"{"numBundles":100000}"#,
        ] {
            assert!(serde_json::from_str::<Bundles>(bad).is_err(), "{bad}");
        }
        assert_eq!(
            serde_json::from_str::<Bundles>(r#"{"boundaries":null,"numBundles":"7"}"#).unwrap(),
            Bundles::even(7)
        );
    }

    proptest! {
        #[test]
        fn every_hash_is_in_exactly_one_range(count in 1u32..=BUNDLES_MAX, hash in any::<u32>()) {
            for hash in [hash, 0, u32::MAX, u32::MAX - 1] {
                prop_assert_eq!(Bundles::even(count).ranges().filter(|range| range.contains(hash)).count(), 1);
            }
            for range in Bundles::even(count).ranges() {
                prop_assert_eq!(BundleRange::parse(&range.to_string()), Some(range));
            }
        }
    }
}
