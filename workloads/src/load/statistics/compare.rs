//! Compares runs of two systems, metric by metric.

use super::{
    bootstrap::draw,
    correlation::correlation_time,
    sample::{Metric, Run},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::fmt;

/// How often runs are drawn again.
const DRAWS: usize = 1000;

/// What counts as a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How likely a difference by chance may be, over all metrics together.
    pub alpha: f64,
    /// The smallest change that matters, as a share: 0.05.
    pub effect_min: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { alpha: 0.01, effect_min: 0.05, seed: 1 }
    }
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The second is better, by more than the smallest effect.
    Better,
    /// The second is worse, by more than the smallest effect.
    Worse,
    /// Whatever the difference, it is smaller than the smallest effect.
    Same,
    /// More or longer runs are needed to tell.
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Same => "same",
            Verdict::Undecided => "undecided",
        })
    }
}

/// One metric of two systems.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Which.
    pub metric: Metric,
    /// Of the first.
    pub before: f64,
    /// Of the second.
    pub after: f64,
    /// The second over the first.
    pub ratio: f64,
    /// Between these the ratio lies, with a certainty of 1 - alpha.
    pub interval: (f64, f64),
    /// How likely so large a difference is by chance, corrected for the number of metrics.
    pub p: f64,
    /// Intervals that the runs are worth, those of both systems, when their dependence is taken off.
    pub effective: (f64, f64),
    /// What it says.
    pub verdict: Verdict,
}

/// Compares runs of a second system with runs of a first. Empty when either has none.
pub fn compare(before: &[Run], after: &[Run], rules: Rules) -> Vec<Comparison> {
    let usable = |runs: &[Run]| runs.iter().any(|run| !run.seconds.is_empty());
    if !usable(before) || !usable(after) {
        return Vec::new();
    }
    // Each side has a stream of its own.
    let draws = |runs: &[Run], side: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(rules.seed);
        rng.set_stream(side);
        draw(runs, block(runs), DRAWS, &mut rng)
    };
    let (a, b) = (draws(before, 1), draws(after, 2));
    let compare_metric = |metric: Metric| {
        let of =
            |draws: &[[f64; Metric::ALL.len()]]| draws.iter().map(|draw| draw[metric as usize]).collect();
        let (a, b): (Vec<f64>, Vec<f64>) = (of(&a), of(&b));
        compare_metric((before, &a), (after, &b), metric, rules)
    };
    let mut compared: Vec<Comparison> = Metric::ALL.into_iter().map(compare_metric).collect();
    correct(&mut compared);
    for comparison in &mut compared {
        comparison.verdict = verdict(comparison, rules);
    }
    compared
}

/// How many intervals are drawn together: as many as their dependence reaches, and at least as is usual for so many.
fn block(runs: &[Run]) -> usize {
    let times = Metric::ALL
        .into_iter()
        .flat_map(|metric| runs.iter().map(move |run| correlation_time(&run.series(metric))));
    let longest = times.fold(1.0, f64::max);
    longest.max((intervals(runs) as f64 / runs.len() as f64).cbrt()).ceil() as usize
}

/// Compares one metric: runs of each side, and what was drawn from them.
fn compare_metric(
    (before, a): (&[Run], &[f64]),
    (after, b): (&[Run], &[f64]),
    metric: Metric,
    rules: Rules,
) -> Comparison {
    let (first, second) = (whole(before, metric), whole(after, metric));
    let ratio = second / first;
    let scale = correction([before, after], metric, rules.alpha);
    let logs = a.iter().zip(b).map(|(a, b)| ratio.ln() + ((b / a).ln() - ratio.ln()) * scale);
    let mut logs: Vec<f64> = logs.filter(|log| log.is_finite()).collect();
    logs.sort_by(f64::total_cmp);
    let mut comparison = Comparison {
        metric,
        before: first,
        after: second,
        ratio,
        interval: (0.0, f64::INFINITY),
        p: 1.0,
        effective: (effective(before, metric), effective(after, metric)),
        verdict: Verdict::Undecided,
    };
    if logs.len() == DRAWS {
        let at = |q: f64| logs[((q * DRAWS as f64) as usize).min(DRAWS - 1)].exp();
        comparison.interval = (at(rules.alpha / 2.0), at(1.0 - rules.alpha / 2.0));
        let below = logs.iter().filter(|log| **log <= 0.0).count();
        let above = logs.iter().filter(|log| **log >= 0.0).count();
        comparison.p = (2.0 * (below.min(above) + 1) as f64 / (DRAWS + 1) as f64).min(1.0);
    }
    comparison
}

fn whole(runs: &[Run], metric: Metric) -> f64 {
    let seconds: Vec<_> = runs.iter().flat_map(|run| &run.seconds).collect();
    super::sample::values(&seconds, &mut Vec::new())[metric as usize]
}

fn intervals(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.seconds.len()).sum()
}

fn effective(runs: &[Run], metric: Metric) -> f64 {
    runs.iter().map(|run| run.seconds.len() as f64 / correlation_time(&run.series(metric))).sum()
}

/// By how much the spread of draws is to be widened. Drawing with replacement misses a part of the variance among
/// few independent parts (runs, or blocks of the one run), and what it finds of the variance is itself an
/// estimate: Student's distribution in place of the normal one.
fn correction(sides: [&[Run]; 2], metric: Metric, alpha: f64) -> f64 {
    let parts = sides.map(|runs| match runs {
        [run] => (run.seconds.len() as f64 / (2.0 * correlation_time(&run.series(metric)))).max(1.5),
        runs => runs.len() as f64,
    });
    let missed = parts.map(|n| (n / (n - 1.0)).sqrt()).into_iter().fold(1.0, f64::max);
    let degrees = (parts[0] + parts[1] - 2.0).max(1.0);
    // The least of the p-values counts as often as there are metrics.
    let z = normal_quantile(alpha / (2 * Metric::ALL.len()) as f64);
    missed * student_quantile(z, degrees) / z
}

/// The z above which a normal variable lies with probability `p`, below a half. Abramowitz and Stegun, 26.2.23.
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    t - above / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}

/// What corresponds to z for Student's distribution: the first terms of its expansion, Abramowitz and Stegun, 26.7.5.
fn student_quantile(z: f64, degrees: f64) -> f64 {
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

/// Holm's correction: the smallest of `n` p-values counts `n` times, the next `n - 1` times, and none less than the
/// one before.
fn correct(compared: &mut [Comparison]) {
    let mut order: Vec<usize> = (0..compared.len()).collect();
    order.sort_by(|a, b| compared[*a].p.total_cmp(&compared[*b].p));
    let mut least = 0.0f64;
    for (rank, at) in order.iter().enumerate() {
        let corrected = compared[*at].p * (compared.len() - rank) as f64;
        least = least.max(corrected.min(1.0));
        compared[*at].p = least;
    }
}

fn verdict(comparison: &Comparison, rules: Rules) -> Verdict {
    let (low, high) = comparison.interval;
    let (least, most) = (1.0 / (1.0 + rules.effect_min), 1.0 + rules.effect_min);
    if comparison.p < rules.alpha && !(least..=most).contains(&comparison.ratio) {
        let better = (comparison.ratio > 1.0) == comparison.metric.more_is_better();
        return if better { Verdict::Better } else { Verdict::Worse };
    }
    if low >= least && high <= most { Verdict::Same } else { Verdict::Undecided }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    /// A run of 30 s whose seconds depend on each other: rate and latency wander.
    fn run(rng: &mut ChaCha8Rng, rate: f64, slower: f64) -> Run {
        let mut wander = 0.0;
        let seconds: Vec<(f64, Vec<(u64, u64)>)> = (0..30)
            .map(|_| {
                wander = 0.7 * wander + 0.05 * (rng.random::<f64>() - 0.5);
                let per_s = rate * (1.0 + wander);
                let latencies = (0..30).map(|_| {
                    let tail = -(1.0 - rng.random::<f64>()).ln();
                    ((1e6 * slower * (1.0 - wander) * (1.0 + tail)) as u64, 1)
                });
                (per_s, latencies.collect())
            })
            .collect();
        Run::new(seconds)
    }

    #[test]
    fn equal_systems_are_hardly_ever_called_different() {
        let mut rng = ChaCha8Rng::seed_from_u64(42);
        let mut alarms = 0;
        for seed in 0..100 {
            let before = run(&mut rng, 10_000.0, 1.0);
            let after = run(&mut rng, 10_000.0, 1.0);
            // Without a smallest effect, so that it is the statistics that are tested.
            let compared = compare(&[before], &[after], Rules { effect_min: 0.0, seed, ..Rules::default() });
            let alarmed = compared.iter().any(|one| matches!(one.verdict, Verdict::Better | Verdict::Worse));
            alarms += u32::from(alarmed);
        }
        assert!(alarms <= 5, "{alarms} false alarms in 100");
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [(0.025, 1.960), (0.005, 2.576), (0.001, 3.090)] {
            assert!((normal_quantile(p) - z).abs() < 0.001, "{p}: {}", normal_quantile(p));
        }
        for (degrees, t) in [(5.0, 2.571), (10.0, 2.228), (30.0, 2.042)] {
            assert!((student_quantile(1.960, degrees) - t).abs() < 0.01, "{degrees}");
        }
    }

    #[test]
    fn a_change_is_found_and_has_a_direction() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut runs = |rate, slower| (0..5).map(|_| run(&mut rng, rate, slower)).collect::<Vec<_>>();
        let base = runs(10_000.0, 1.0);
        let worse = compare(&base, &runs(8000.0, 1.5), Rules::default());
        assert!(worse.iter().take(3).all(|one| one.verdict == Verdict::Worse), "{worse:?}");
        assert!((worse[0].ratio - 0.8).abs() < 0.05 && (worse[1].ratio - 1.5).abs() < 0.1);
        let better = compare(&base, &runs(12_500.0, 0.6), Rules::default());
        assert!(better.iter().take(3).all(|one| one.verdict == Verdict::Better), "{better:?}");
        let same = compare(&base, &runs(10_050.0, 1.0), Rules { effect_min: 0.2, ..Rules::default() });
        assert!(same.iter().take(2).all(|one| one.verdict == Verdict::Same), "{same:?}");
        assert!(compare(&base, &[], Rules::default()).is_empty());
    }

    #[test]
    fn the_correction_for_many_metrics_is_holms() {
        let one = |p| Comparison {
            metric: Metric::P50,
            before: 1.0,
            after: 1.0,
            ratio: 1.0,
            interval: (1.0, 1.0),
            p,
            effective: (1.0, 1.0),
            verdict: Verdict::Same,
        };
        let mut compared = [one(0.01), one(0.04), one(0.03), one(0.9)];
        correct(&mut compared);
        let ps: Vec<f64> = compared.iter().map(|one| (one.p * 1000.0).round() / 1000.0).collect();
        assert_eq!(ps, [0.04, 0.09, 0.09, 0.9]);
    }
}
