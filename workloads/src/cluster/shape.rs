//! What becomes of one packet on a disturbed link. Pure but for the random numbers that it is given.

use super::Disturbance;
use rand::{Rng, RngExt};
use std::time::{Duration, Instant};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It never arrives.
    Lost,
    /// It goes on its way.
    Arrives {
        /// When.
        at: Instant,
        /// Whether it leaves others behind that came before it.
        overtakes: bool,
        /// Whether it arrives a second time.
        twice: bool,
    },
}

/// What a link remembers of its last packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    /// When the last of them is through a link of limited rate.
    free_at: Option<Instant>,
    /// When the last of them goes on.
    last_at: Option<Instant>,
}

impl Lane {
    /// Settles the fate of a packet of `bytes` bytes.
    pub(super) fn fate(
        &mut self,
        disturbance: &Disturbance,
        now: Instant,
        bytes: usize,
        rng: &mut impl Rng,
    ) -> Fate {
        let mut chance = |percent: u8| rng.random_range(0..100) < u32::from(percent);
        if chance(disturbance.loss_percent) {
            return Fate::Lost;
        }
        let twice = chance(disturbance.duplicate_percent);
        let waits_before = self.last_at.is_some_and(|last| last > now);
        if chance(disturbance.reorder_percent) {
            return Fate::Arrives { at: now, overtakes: waits_before, twice };
        }
        let mut at = now;
        if disturbance.rate_kbit > 0 {
            // A kilobit a second is a bit a millisecond.
            let micros = bytes as u64 * 8000 / u64::from(disturbance.rate_kbit);
            at = self.free_at.map_or(now, |free| free.max(now)) + Duration::from_micros(micros);
            self.free_at = Some(at);
        }
        let jitter = u64::from(disturbance.jitter_ms.min(disturbance.delay_ms));
        let delay = u64::from(disturbance.delay_ms) - jitter;
        at += Duration::from_millis(delay + if jitter > 0 { rng.random_range(0..=2 * jitter) } else { 0 });
        at = self.last_at.map_or(at, |last| last.max(at));
        self.last_at = Some(at);
        Fate::Arrives { at, overtakes: false, twice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn fates(disturbance: Disturbance) -> (Instant, Vec<Fate>) {
        let (start, mut lane) = (Instant::now(), Lane::default());
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut fate = |n: u64| lane.fate(&disturbance, start + Duration::from_millis(n), 1000, &mut rng);
        (start, (0..1000).map(&mut fate).collect())
    }

    fn arrivals(fates: &[Fate]) -> Vec<Instant> {
        let arrival = |fate: &Fate| match fate {
            Fate::Arrives { at, .. } => Some(*at),
            Fate::Lost => None,
        };
        fates.iter().filter_map(arrival).collect()
    }

    #[test]
    fn without_disturbance_packets_pass_at_once() {
        let (start, fates) = fates(Disturbance::default());
        let expected: Vec<_> = (0..1000).map(|n| start + Duration::from_millis(n)).collect();
        assert_eq!(arrivals(&fates), expected);
    }

    #[test]
    fn jitter_keeps_the_order_and_the_bounds() {
        let (start, fates) = fates(Disturbance { delay_ms: 50, jitter_ms: 20, ..Disturbance::default() });
        let arrivals = arrivals(&fates);
        assert!(arrivals.is_sorted());
        for (n, at) in (0..).zip(arrivals) {
            let waited = (at - start).as_millis() as u64 - n;
            assert!((30..=70).contains(&waited), "packet {n} waited {waited} ms");
        }
    }

    #[test]
    fn a_rate_spaces_packets_out() {
        // 1000 bytes at 800 kbit/s take 10 ms.
        let (start, fates) = fates(Disturbance { rate_kbit: 800, ..Disturbance::default() });
        assert_eq!(arrivals(&fates)[99] - start, Duration::from_secs(1));
    }

    #[test]
    fn loss_doubling_and_overtaking_are_as_frequent_as_asked() {
        let (_, lossy) = fates(Disturbance { loss_percent: 20, ..Disturbance::default() });
        let lost = lossy.iter().filter(|fate| **fate == Fate::Lost).count();
        assert!((150..250).contains(&lost), "{lost} of 1000 lost");
        let (_, mixed) = fates(Disturbance {
            delay_ms: 50,
            reorder_percent: 30,
            duplicate_percent: 10,
            ..Disturbance::default()
        });
        let count = |wanted: fn(bool, bool) -> bool| {
            let hit = |fate: &&Fate| matches!(fate, Fate::Arrives { overtakes, twice, .. } if wanted(*overtakes, *twice));
            mixed.iter().filter(hit).count()
        };
        let (overtaking, twice) = (count(|overtakes, _| overtakes), count(|_, twice| twice));
        assert!((230..370).contains(&overtaking), "{overtaking} of 1000 overtake");
        assert!((60..150).contains(&twice), "{twice} of 1000 twice");
    }
}
