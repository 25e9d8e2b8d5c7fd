//! When operations are due: a rate that may change over the run, and how arrivals fall on it.
//!
//! Due times are computed, never waited for one after the other: what a stall delays is not what comes after it.
//! Operation number `n` of a shape is due when the integral of the rate reaches `n`; Poisson arrivals take
//! the sums of exponential gaps in place of `n`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{f64::consts::TAU, fmt, fs, path::Path, str::FromStr, sync::Arc};

const NS_PER_S: f64 = 1e9;

/// How the rate changes over the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// The same all the time.
    Constant {
        /// Operations per second.
        per_s: f64,
    },
    /// One rate after the other; the last one stays.
    Steps {
        /// Operations per second of each step.
        per_s: Vec<f64>,
        /// How long each lasts, in s.
        each_s: f64,
    },
    /// From one rate to another, then staying there.
    Ramp {
        /// Operations per second at the start.
        from: f64,
        /// Operations per second at the end.
        to: f64,
        /// How long it takes, in s.
        over_s: f64,
    },
    /// Up and down around a mean.
    Sine {
        /// Operations per second on average.
        mean: f64,
        /// How far it goes up and down: at most `mean`.
        amplitude: f64,
        /// From peak to peak, in s.
        period_s: f64,
    },
    /// At given times.
    Trace {
        /// What was read: the file's name.
        name: String,
        /// When each operation is due, in ns from the start, ascending.
        due_ns: Arc<Vec<u64>>,
    },
}

impl Shape {
    /// The operations due up to `t_s` seconds.
    pub(super) fn count_at(&self, t_s: f64) -> f64 {
        match self {
            Shape::Constant { per_s } => per_s * t_s,
            Shape::Steps { per_s, each_s } => {
                let last = per_s.len() - 1;
                let step = ((t_s / each_s) as usize).min(last);
                per_s[..step].iter().sum::<f64>() * each_s + per_s[step] * (t_s - step as f64 * each_s)
            }
            Shape::Ramp { from, to, over_s } => {
                let t = t_s.min(*over_s);
                from * t + (to - from) * t * t / (2.0 * over_s) + to * (t_s - t)
            }
            Shape::Sine { mean, amplitude, period_s } => {
                mean * t_s + amplitude * period_s / TAU * (1.0 - (TAU * t_s / period_s).cos())
            }
            Shape::Trace { due_ns, .. } => due_ns.partition_point(|&due| due as f64 <= t_s * NS_PER_S) as f64,
        }
    }

    /// When the operations due reach `mark`, in ns; `None` when they never do.
    fn time_of(&self, mark: f64) -> Option<u64> {
        let t_s = match self {
            Shape::Constant { per_s } => mark / per_s,
            Shape::Trace { due_ns, .. } => return due_ns.get(mark as usize).copied(),
            Shape::Steps { .. } | Shape::Ramp { .. } | Shape::Sine { .. } => self.search(mark)?,
        };
        Some((t_s * NS_PER_S) as u64)
    }

    /// Bisects for the time, to less than a ns in a run of days.
    fn search(&self, mark: f64) -> Option<f64> {
        let mut high = 1.0;
        while self.count_at(high) < mark {
            high *= 2.0;
            // Three years: a rate that ended at 0.
            if high > 1e8 {
                return None;
            }
        }
        let mut low = if high > 1.0 { high / 2.0 } else { 0.0 };
        for _ in 0..64 {
            let middle = f64::midpoint(low, high);
            if self.count_at(middle) < mark { low = middle } else { high = middle }
        }
        Some(high)
    }

    /// Operations per second, on average over the first `over_s` seconds.
    pub fn mean_per_s(&self, over_s: f64) -> f64 {
        self.count_at(over_s) / over_s
    }

    /// Reads a file with one due time a line, in seconds from the start.
    ///
    /// # Errors
    /// A text for the user that names the line.
    pub fn trace(path: &Path) -> Result<Shape, String> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let mut due_ns = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |why: &str| format!("{name}, line {}: {why}", at + 1);
            let due_s: f64 = line.trim().parse().map_err(|_| wrong("not a number of seconds"))?;
            if !(0.0..1e9).contains(&due_s) {
                return Err(wrong("not between 0 and 1e9 seconds"));
            }
            let due = (due_s * NS_PER_S) as u64;
            if due_ns.last().is_some_and(|&before| before > due) {
                return Err(wrong("earlier than the line before; sort the file"));
            }
            due_ns.push(due);
        }
        if due_ns.is_empty() {
            return Err(format!("{name} holds no due times: write one a line, in seconds"));
        }
        Ok(Shape::Trace { name, due_ns: Arc::new(due_ns) })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Constant { per_s } => write!(f, "{per_s}"),
            Shape::Steps { per_s, each_s } => {
                let rates: Vec<String> = per_s.iter().map(f64::to_string).collect();
                write!(f, "steps:{}:{each_s}s", rates.join(","))
            }
            Shape::Ramp { from, to, over_s } => write!(f, "ramp:{from}-{to}:{over_s}s"),
            Shape::Sine { mean, amplitude, period_s } => write!(f, "sine:{mean},{amplitude}:{period_s}s"),
            Shape::Trace { name, .. } => write!(f, "trace:{name}"),
        }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let wrong = || {
            format!(
                "`{text}` is no rate: write 5000, steps:1000,2000:10s, ramp:1000-9000:30s, sine:5000,2000:10s or \
                 trace:FILE, with rates of 0.001 to 1000000000"
            )
        };
        let rate = |text: &str| text.parse::<f64>().ok().filter(|rate| (0.001..1e9).contains(rate));
        let seconds = |text: &str| {
            text.trim_end_matches('s').parse::<f64>().ok().filter(|seconds| (0.001..1e7).contains(seconds))
        };
        let Some((kind, rest)) = text.split_once(':') else {
            return rate(text).map(|per_s| Shape::Constant { per_s }).ok_or_else(wrong);
        };
        if kind == "trace" {
            return Shape::trace(Path::new(rest));
        }
        let (values, time) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let time_s = seconds(time).ok_or_else(wrong)?;
        match kind {
            "steps" => {
                let per_s: Option<Vec<f64>> = values.split(',').map(rate).collect();
                per_s.map(|per_s| Shape::Steps { per_s, each_s: time_s })
            }
            "ramp" => values.split_once('-').and_then(|(from, to)| {
                Some(Shape::Ramp { from: rate(from)?, to: rate(to)?, over_s: time_s })
            }),
            "sine" => values.split_once(',').and_then(|(mean, amplitude)| {
                let (mean, amplitude) = (rate(mean)?, rate(amplitude)?);
                (amplitude <= mean).then_some(Shape::Sine { mean, amplitude, period_s: time_s })
            }),
            _ => None,
        }
        .ok_or_else(wrong)
    }
}

/// How arrivals fall on the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Uniform,
    /// As independent clients would: exponential gaps.
    Poisson,
}

/// The due times of one worker.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    shape: Shape,
    mark: f64,
    step: f64,
    poisson: Option<ChaCha8Rng>,
}

impl Schedule {
    /// The share of worker number `worker` of `workers`. All workers together follow the shape.
    pub(super) fn new(
        shape: Shape,
        arrivals: Arrivals,
        seed: u64,
        worker: usize,
        workers: usize,
    ) -> Schedule {
        let poisson = match arrivals {
            Arrivals::Poisson if !matches!(shape, Shape::Trace { .. }) => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(1000 + worker as u64);
                Some(rng)
            }
            Arrivals::Poisson | Arrivals::Uniform => None,
        };
        let mark = if poisson.is_some() { 0.0 } else { worker as f64 };
        Schedule { shape, mark, step: workers as f64, poisson }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    /// When the next operation is due, in ns from the start.
    fn next(&mut self) -> Option<u64> {
        if let Some(rng) = &mut self.poisson {
            // Independent streams of a share of the rate each are together a stream of the whole rate.
            self.mark -= (1.0 - rng.random::<f64>()).ln() * self.step;
            return self.shape.time_of(self.mark);
        }
        let due = self.shape.time_of(self.mark);
        self.mark += self.step;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(shape: &str, arrivals: Arrivals, until_s: f64) -> Vec<f64> {
        let shape = shape.parse().unwrap();
        let all = Schedule::new(shape, arrivals, 7, 0, 1).map(|ns| ns as f64 / NS_PER_S);
        all.take_while(|&t| t < until_s).collect()
    }

    fn between(due: &[f64], from: f64, to: f64) -> usize {
        due.iter().filter(|&&t| (from..to).contains(&t)).count()
    }

    #[test]
    fn each_shape_has_its_rate_at_each_time() {
        for (shape, windows) in [
            ("1000", &[(0.0, 1.0, 1000), (9.0, 10.0, 1000)][..]),
            ("steps:100,300,200:2s", &[(0.0, 2.0, 200), (2.0, 4.0, 600), (4.0, 6.0, 400), (6.0, 8.0, 400)]),
            ("ramp:100-300:4s", &[(0.0, 4.0, 800), (0.0, 2.0, 300), (4.0, 6.0, 600)]),
            ("sine:100,100:8s", &[(0.0, 8.0, 800), (0.0, 4.0, 654), (4.0, 8.0, 145)]),
        ] {
            let due = due(shape, Arrivals::Uniform, 10.0);
            for &(from, to, count) in windows {
                let got = between(&due, from, to);
                assert!(got.abs_diff(count) <= 1, "{shape} has {got} in {from}..{to} s, not {count}");
            }
        }
    }

    #[test]
    fn gaps_of_poisson_arrivals_vary_as_they_should_and_follow_from_the_seed() {
        let first = due("10000", Arrivals::Poisson, 10.0);
        assert_eq!(first, due("10000", Arrivals::Poisson, 10.0));
        let gaps: Vec<f64> = first.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 10_000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "an exponential has a deviation of its mean");
    }

    #[test]
    fn workers_share_the_schedule_without_gap_or_overlap() {
        let shape: Shape = "1000".parse().unwrap();
        let mut all: Vec<u64> = (0..3)
            .flat_map(|worker| Schedule::new(shape.clone(), Arrivals::Uniform, 1, worker, 3).take(100))
            .collect();
        all.sort_unstable();
        let want: Vec<u64> = (0..300).map(|n| n * 1_000_000).collect();
        assert!(all.iter().zip(&want).all(|(got, want)| got.abs_diff(*want) <= 1), "{all:?}");
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in
            ["", "0", "-5", "fast", "ramp:1-2", "sine:10,20:5s", "steps::1s", "steps:1,0:1s", "wave:1:1s"]
        {
            assert!(text.parse::<Shape>().unwrap_err().contains("is no rate"), "{text}");
        }
        for text in ["5000", "steps:1,2:3s", "ramp:1-2:3s", "sine:2,1:3s"] {
            assert_eq!(text.parse::<Shape>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_trace_is_read_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        fs::write(&path, "0\n0.5\n\n0.5\n2\n").unwrap();
        let shape: Shape = format!("trace:{}", path.display()).parse().unwrap();
        let due: Vec<u64> = Schedule::new(shape, Arrivals::Uniform, 1, 0, 1).collect();
        assert_eq!(due, [0, 500_000_000, 500_000_000, 2_000_000_000]);
        fs::write(&path, "1\n0.5\n").unwrap();
        assert!(Shape::trace(&path).unwrap_err().contains("line 2"));
    }
}
