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

    /// Where its two halves meet; `None` when it is too small to be divided.
    pub fn middle(self) -> Option<u32> {
        let half = (self.upper - self.lower) / 2;
        (half > 0).then_some(self.lower + half)
    }

    /// Where two parts meet that hold as many of these hashes each, as Pulsar computes it; `None` when no boundary divides them.
    pub fn middle_of(self, hashes: impl IntoIterator<Item = u32>) -> Option<u32> {
        let mut inside: Vec<u32> = hashes.into_iter().filter(|hash| self.contains(*hash)).collect();
        inside.sort_unstable();
        let at = inside.len() / 2;
        let (below, above) = (*inside.get(at.checked_sub(1)?)?, *inside.get(at)?);
        // Half of the distance, rounded up: the lower hash belongs to the lower part, the upper one to the upper.
        let boundary = below + (above - below).div_ceil(2);
        (self.lower < boundary && below < boundary && boundary < self.upper).then_some(boundary)
    }

    /// Its parts between boundaries that ascend within it.
    pub fn parts(self, at: &[u32]) -> Vec<Self> {
        let ends = at.iter().copied().chain([self.upper]);
        let starts = std::iter::once(self.lower).chain(at.iter().copied());
        starts.zip(ends).map(|(lower, upper)| Self { lower, upper }).collect()
    }
}

/// Why a bundle is not split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("bundle {0} does not exist: the namespace's bundles lists them")]
    Unknown(BundleRange),
    #[error("bundle {0} is split at boundaries that ascend within it")]
    Boundaries(BundleRange),
    #[error("a namespace has at most {BUNDLES_MAX} bundles")]
    TooMany,
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

    /// The same with one range divided at these boundaries.
    ///
    /// # Errors
    /// [`SplitError`] when `range` is none of these, when the boundaries do not ascend within it, or with too many ranges.
    pub fn split(&self, range: BundleRange, at: &[u32]) -> Result<Self, SplitError> {
        if !self.ranges().any(|own| own == range) {
            return Err(SplitError::Unknown(range));
        }
        let parts = range.parts(at);
        if at.is_empty() || parts.iter().any(|part| part.lower >= part.upper) {
            return Err(SplitError::Boundaries(range));
        }
        let mut boundaries = self.boundaries.clone();
        boundaries.extend_from_slice(at);
        boundaries.sort_unstable();
        Self::from_boundaries(boundaries).ok_or(SplitError::TooMany)
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

    #[test]
    fn a_bundle_is_divided_at_its_middle_or_between_its_topics() {
        let range = BundleRange { lower: 0x4000_0000, upper: 0x8000_0000 };
        assert_eq!(range.middle(), Some(0x6000_0000));
        assert_eq!(BundleRange { lower: 7, upper: 8 }.middle(), None);
        assert_eq!(range.middle_of([1, 0x4000_0001, 0x4000_0009, 0x4000_0003, u32::MAX]), Some(0x4000_0002));
        assert_eq!(range.middle_of([0x4000_0005, 0x4000_0006]), Some(0x4000_0006));
        assert_eq!(range.middle_of([0x4000_0005, 0x4000_0005]), None, "no boundary lies between them");
        assert_eq!(range.middle_of([0x4000_0005]), None);
        let bundles = Bundles::default().split(range, &[0x5000_0000, 0x6000_0000]).unwrap();
        let expected = [0, 0x4000_0000, 0x5000_0000, 0x6000_0000, 0x8000_0000, 0xc000_0000, u32::MAX];
        assert_eq!(bundles.boundaries(), expected);
        assert_eq!(Bundles::even(2).split(range, &[0x5000_0000]), Err(SplitError::Unknown(range)));
        for bad in [&[][..], &[0x4000_0000], &[0x8000_0000], &[0x6000_0000, 0x5000_0000]] {
            assert_eq!(Bundles::default().split(range, bad), Err(SplitError::Boundaries(range)));
        }
        let full = Bundles::even(BUNDLES_MAX);
        let first = full.ranges().next().unwrap();
        assert_eq!(full.split(first, &[1]), Err(SplitError::TooMany));
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
