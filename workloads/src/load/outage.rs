//! What a fault cost a load: how much was not done, how long nothing was, and how long until all was well again.

use super::summary::Row;
use serde::{Deserialize, Serialize};

/// The load is well again when such a share of what is due is done...
const WELL: f64 = 0.9;
/// ...over so long, in s.
const WELL_FOR_S: f64 = 0.5;

/// A fault beside a load, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// The fault's name.
    pub fault: String,
    /// Its number in the plan.
    pub number: u64,
    /// Whom it hit and how, as the fault describes it.
    pub what: String,
    /// When it had taken effect, in s from the start of the load.
    pub start_s: f64,
    /// When it had been undone; `None` if it was not.
    pub end_s: Option<f64>,
    /// Operations that were due, and did not succeed by the time that all was well again.
    pub lost: f64,
    /// The longest time without any success, in s.
    pub silence_s: f64,
    /// From the undoing until all was well; `None` if it was not within the load.
    pub recovery_s: Option<f64>,
}

impl Outage {
    /// Adds what the fault cost, by what was measured. `due_per_s` is what is expected to succeed in a second.
    pub fn measure(&mut self, rows: &[Row], due_per_s: f64) {
        let end_s = self.end_s.unwrap_or(f64::INFINITY);
        let after: Vec<&Row> = rows.iter().filter(|row| row.t_s + row.length_s > self.start_s).collect();
        let well_from = well_from(&after, end_s, due_per_s);
        self.recovery_s = well_from.map(|well_s| (well_s - end_s).max(0.0));
        let until_s = well_from.unwrap_or(f64::INFINITY);
        let during = after.iter().filter(|row| row.t_s < until_s.max(end_s));
        (self.lost, self.silence_s) = (0.0, 0.0);
        let mut silent_s = 0.0;
        for row in during {
            // More than is due makes up for what was not done before: a backlog is not lost.
            self.lost += due_per_s * row.length_s - row.ok as f64;
            silent_s = if row.ok == 0 { silent_s + row.length_s } else { 0.0 };
            self.silence_s = self.silence_s.max(silent_s);
        }
        self.lost = self.lost.max(0.0);
    }
}

/// From when on, not before `end_s`, as much is done as is due.
fn well_from(rows: &[&Row], end_s: f64, due_per_s: f64) -> Option<f64> {
    let mut well: Option<f64> = None;
    for row in rows.iter().filter(|row| row.t_s + row.length_s > end_s) {
        if (row.ok as f64) < WELL * due_per_s * row.length_s {
            well = None;
            continue;
        }
        let from = *well.get_or_insert(row.t_s.max(end_s));
        if row.t_s + row.length_s - from >= WELL_FOR_S {
            return Some(from);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a quarter of a second.
    fn rows(ok: &[u64]) -> Vec<Row> {
        let row =
            |(at, ok): (usize, &u64)| Row { t_s: at as f64 / 4.0, length_s: 0.25, ok: *ok, ..Row::default() };
        ok.iter().enumerate().map(row).collect()
    }

    fn outage(start_s: f64, end_s: f64, ok: &[u64]) -> Outage {
        let mut outage = Outage { start_s, end_s: Some(end_s), ..Outage::default() };
        outage.measure(&rows(ok), 400.0);
        outage
    }

    #[test]
    fn a_fault_costs_what_was_not_done_until_all_is_well() {
        let outage = outage(1.0, 2.0, &[100, 100, 100, 100, 50, 0, 0, 0, 0, 80, 100, 100, 100, 100]);
        assert_eq!((outage.silence_s, outage.recovery_s), (1.0, Some(0.5)));
        assert_eq!(outage.lost, 50.0 + 4.0 * 100.0 + 20.0);
    }

    #[test]
    fn what_a_backlog_makes_up_for_is_not_lost() {
        let outage = outage(1.0, 1.5, &[100, 100, 100, 100, 0, 0, 80, 220, 100, 100, 100]);
        assert_eq!(outage.recovery_s, Some(0.25));
        assert!(outage.lost <= 220.0, "{outage:?}");
    }

    #[test]
    fn what_is_not_well_by_the_end_has_no_recovery() {
        let never = outage(0.5, 1.0, &[100, 100, 0, 0, 0, 0, 50, 50]);
        assert_eq!((never.recovery_s, never.silence_s), (None, 1.0));
        let untouched = outage(1.0, 1.5, &[100; 12]);
        assert_eq!((untouched.recovery_s, untouched.lost, untouched.silence_s), (Some(0.0), 0.0, 0.0));
    }
}
