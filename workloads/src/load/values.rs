//! What is written: sizes by a distribution, octets that compress as asked for.

use super::keys::Zipfian;
use rand::{Rng, RngExt};
use std::{fmt, fs, path::Path, str::FromStr, sync::Arc};

/// The largest value: what etcd takes in a request by default.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// A value is a piece of a pool of so many octets.
const POOL_BYTES: usize = 4 << 20;
/// So many octets at a time are random in one part and zero in the other.
const CHUNK_BYTES: usize = 64;

/// How large values are, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Size {
    /// All the same.
    Constant(usize),
    /// Each size as likely as any other.
    Uniform(usize, usize),
    /// Zipfian: the smallest is the most likely.
    Zipfian(usize, usize),
    /// By a file of YCSB's format: `BlockSize` and a number in the first line, then a line for each bucket with its
    /// number and its count; bucket `n` stands for sizes of `n * BlockSize`.
    Histogram {
        /// The file's name.
        name: String,
        /// Sizes, and the counts up to and with each.
        buckets: Arc<Vec<(usize, u64)>>,
    },
}

impl Size {
    /// The largest that is drawn.
    pub fn max(&self) -> usize {
        match self {
            Size::Constant(bytes) | Size::Uniform(_, bytes) | Size::Zipfian(_, bytes) => *bytes,
            Size::Histogram { buckets, .. } => buckets.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
        }
    }

    /// The smallest that is drawn.
    pub fn min(&self) -> usize {
        match self {
            Size::Constant(bytes) | Size::Uniform(bytes, _) | Size::Zipfian(bytes, _) => *bytes,
            Size::Histogram { buckets, .. } => buckets.iter().map(|(bytes, _)| *bytes).min().unwrap_or(0),
        }
    }

    fn histogram(path: &Path) -> Result<Size, String> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let block = lines.next().and_then(|(_, line)| {
            let mut words = line.split_whitespace();
            words.next().filter(|word| *word == "BlockSize")?;
            words.next()?.parse::<usize>().ok().filter(|block| *block > 0)
        });
        let block = block.ok_or_else(|| format!("{name}: the first line is not `BlockSize` and a number"))?;
        let (mut buckets, mut total) = (Vec::new(), 0u64);
        for (at, line) in lines {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(bucket)), Some(Ok(count)), None) = (numbers.next(), numbers.next(), numbers.next())
            else {
                return Err(format!("{name}, line {}: not a bucket and its count", at + 1));
            };
            let bytes = usize::try_from(bucket).ok().and_then(|bucket| bucket.checked_mul(block));
            let bytes = bytes.filter(|bytes| *bytes <= VALUE_BYTES_MAX).ok_or_else(|| {
                format!("{name}, line {}: values of more than {VALUE_BYTES_MAX} bytes", at + 1)
            })?;
            total = total.saturating_add(count);
            buckets.push((bytes, total));
        }
        if total == 0 {
            return Err(format!("{name} counts no values"));
        }
        Ok(Size::Histogram { name, buckets: Arc::new(buckets) })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Constant(bytes) => write!(f, "{bytes}"),
            Size::Uniform(min, max) => write!(f, "uniform:{min}-{max}"),
            Size::Zipfian(min, max) => write!(f, "zipfian:{min}-{max}"),
            Size::Histogram { name, .. } => write!(f, "histogram:{name}"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong = || {
            format!(
                "`{text}` is no size: write 256, uniform:1-1000, zipfian:1-1000 or histogram:FILE, with at most \
                 {VALUE_BYTES_MAX} bytes"
            )
        };
        let bytes = |text: &str| text.parse::<usize>().ok().filter(|bytes| *bytes <= VALUE_BYTES_MAX);
        let Some((kind, rest)) = text.split_once(':') else {
            return bytes(text).map(Size::Constant).ok_or_else(wrong);
        };
        if kind == "histogram" {
            return Size::histogram(Path::new(rest));
        }
        let (min, max) = rest.split_once('-').ok_or_else(wrong)?;
        let (min, max) = (bytes(min).ok_or_else(wrong)?, bytes(max).ok_or_else(wrong)?);
        match kind {
            "uniform" if min <= max => Ok(Size::Uniform(min, max)),
            "zipfian" if min <= max => Ok(Size::Zipfian(min, max)),
            _ => Err(wrong()),
        }
    }
}

/// Draws values: pieces of a pool, one behind the other, so that the processor has the next one at hand when it is
/// asked for. Each pass begins elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Values {
    size: Size,
    zipfian: Zipfian,
    pool: Arc<Vec<u8>>,
    at: usize,
}

impl Values {
    /// Of such sizes; `compressible`, 0 to 1, is the share of zeros in them.
    pub(super) fn new(size: Size, compressible: f64, rng: &mut impl Rng) -> Values {
        let mut pool = vec![0; POOL_BYTES.max(2 * size.max())];
        let random = (CHUNK_BYTES as f64 * (1.0 - compressible.clamp(0.0, 1.0))).round() as usize;
        for chunk in pool.chunks_mut(CHUNK_BYTES) {
            let random = random.min(chunk.len());
            rng.fill_bytes(&mut chunk[..random]);
        }
        let zipfian = match size {
            Size::Zipfian(min, max) => Zipfian::new((max - min + 1) as u64),
            Size::Constant(_) | Size::Uniform(..) | Size::Histogram { .. } => Zipfian::new(1),
        };
        // What two workers write differs.
        let at = rng.random_range(0..pool.len());
        Values { size, zipfian, pool: Arc::new(pool), at }
    }

    /// A value, hardly ever the same twice.
    pub(super) fn draw(&mut self, rng: &mut impl Rng) -> &[u8] {
        let length = match &self.size {
            Size::Constant(bytes) => *bytes,
            Size::Uniform(min, max) => rng.random_range(*min..=*max),
            Size::Zipfian(min, _) => min + usize::try_from(self.zipfian.draw(rng)).unwrap_or(0),
            Size::Histogram { buckets, .. } => {
                let total = buckets.last().map_or(1, |(_, upto)| *upto);
                let at = rng.random_range(0..total);
                buckets[buckets.partition_point(|(_, upto)| *upto <= at)].0
            }
        };
        if self.at + length > self.pool.len() {
            self.at = rng.random_range(0..=self.pool.len() / 2);
        }
        let start = self.at;
        self.at += length;
        &self.pool[start..start + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeMap;

    fn drawn(size: Size) -> BTreeMap<usize, u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut values = Values::new(size, 0.0, &mut rng);
        let mut sizes = BTreeMap::new();
        for _ in 0..10_000 {
            *sizes.entry(values.draw(&mut rng).len()).or_insert(0) += 1;
        }
        sizes
    }

    #[test]
    fn sizes_follow_their_distribution() {
        assert_eq!(drawn(Size::Constant(256)), BTreeMap::from([(256, 10_000)]));
        let uniform = drawn(Size::Uniform(1, 4));
        assert_eq!(uniform.len(), 4);
        assert!(uniform.values().all(|n| n.abs_diff(2500) < 300), "{uniform:?}");
        let zipfian = drawn(Size::Zipfian(10, 100));
        assert!(zipfian[&10] > zipfian[&20] && zipfian.keys().all(|size| (10..=100).contains(size)));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sizes");
        fs::write(&path, "BlockSize\t100\n1\t30\n5\t10\n").unwrap();
        let sizes = drawn(format!("histogram:{}", path.display()).parse().unwrap());
        assert!(sizes[&100].abs_diff(7500) < 300 && sizes.len() == 2, "{sizes:?}");
        fs::write(&path, "BlockSize\t100\none 30\n").unwrap();
        assert!(Size::histogram(&path).unwrap_err().contains("line 2"));
    }

    #[test]
    fn values_differ_and_hold_as_many_zeros_as_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (compressible, zeros) in [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)] {
            let mut values = Values::new(Size::Constant(64_000), compressible, &mut rng);
            let value = values.draw(&mut rng).to_vec();
            let share = value.iter().filter(|octet| **octet == 0).count() as f64 / 64_000.0;
            assert!((share - zeros).abs() < 0.01, "{share} of {compressible}");
        }
        let mut values = Values::new(Size::Constant(100), 0.0, &mut rng);
        assert_ne!(values.draw(&mut rng).to_vec(), values.draw(&mut rng).to_vec());
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "-1", "big", "uniform:5-1", "uniform:5", "9999999999", "normal:1-2"] {
            assert!(text.parse::<Size>().unwrap_err().contains("is no size"), "{text}");
        }
    }
}
