//! How far values that follow each other depend on each other.

/// The correlation time of a series, in values: so many of them are worth one independent value. At least 1.
///
/// The variance of means of batches falls as one over the batch's length when values are independent; by how much it
/// falls short of that, at the length where it does most, is the answer.
pub fn correlation_time(series: &[f64]) -> f64 {
    let whole = variance(series);
    if series.len() < 4 || whole <= 0.0 {
        return 1.0;
    }
    let mut time: f64 = 1.0;
    let mut length = 2;
    // With fewer than four batches their variance says nothing.
    while series.len() / length >= 4 {
        let means: Vec<f64> = series.chunks_exact(length).map(mean).collect();
        time = time.max(length as f64 * variance(&means) / whole);
        length *= 2;
    }
    time.min(series.len() as f64 / 2.0)
}

pub(super) fn mean(series: &[f64]) -> f64 {
    series.iter().sum::<f64>() / series.len() as f64
}

fn variance(series: &[f64]) -> f64 {
    let mean = mean(series);
    series.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (series.len() as f64 - 1.0).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn noise(persistence: f64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut value = 0.0;
        let mut next = || {
            value = persistence * value + rng.random::<f64>() - 0.5;
            value
        };
        (0..4096).map(|_| next()).collect()
    }

    #[test]
    fn independent_values_count_each_and_dependent_ones_less() {
        assert!(correlation_time(&noise(0.0)) < 2.0);
        // An autoregressive series has a time of (1 + a) / (1 - a).
        let time = correlation_time(&noise(0.8));
        assert!((5.0..16.0).contains(&time), "{time}");
        assert!(correlation_time(&[1.0; 10]) == 1.0 && correlation_time(&[]) == 1.0);
    }
}
