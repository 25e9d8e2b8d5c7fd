//! When leases run out: the leader's knowledge.
//!
//! Pure: time comes in as an argument. Every lease has one entry in a heap by the time at which it is worth a
//! look. A renewal only moves the lease's deadline; the entry is put back when it comes up too early. So
//! renewals cost one look into a map, and a scan costs what has come up.

use super::{Change, Leases};
#[cfg(feature = "plant")]
use crate::plant::{self, Plant};
use rustc_hash::FxHashMap;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

/// A scan that comes this much after the one before it was held up, by a pause of the process or by a machine
/// that had no time for it. Renewals that came meanwhile still wait, so that scan expires nothing.
const HELD_UP: Duration = Duration::from_secs(1);
/// Entries of leases that are gone, beyond which the heap is made anew.
const STALE_MAX: usize = 1024;

/// What came of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives for as many seconds as it was granted, from the given time on.
    Renewed {
        /// Its TTL.
        ttl_s: i64,
    },
    /// It has run out, and a command to end it is under way: it may yet be given back.
    Ending,
    /// There is no such lease.
    Unknown,
    /// This member does not lead, as far as it knows.
    NotLeader,
}

/// The clock of all leases, as long as this member leads.
#[derive(Debug, Default)]
pub struct Lessor {
    office: Option<Office>,
    scanned: Option<Instant>,
    /// Leases that were found to have run out, ever.
    pub expired: u64,
    /// Renewals, ever.
    pub renewed: u64,
}

/// What only a leader has.
#[derive(Debug)]
struct Office {
    term: u64,
    leases: FxHashMap<i64, Timed>,
    heap: BinaryHeap<Reverse<(Instant, i64)>>,
}

#[derive(Debug)]
struct Timed {
    ttl_s: i64,
    deadline: Instant,
    /// Time of its entry in the heap; an entry with another time is an earlier lease's of the same id.
    queued: Instant,
    /// A command to end it is under way.
    ending: bool,
}

/// A deadline that is as far away as time goes: no process lives to see it.
fn after(now: Instant, ttl_s: i64) -> Instant {
    let ttl = Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0));
    now.checked_add(ttl).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()))
}

impl Lessor {
    /// The term that this member is known to lead here.
    pub fn term(&self) -> Option<u64> {
        self.office.as_ref().map(|office| office.term)
    }

    /// This member leads `term`: every lease gets its whole TTL.
    pub fn promote(&mut self, term: u64, leases: &Leases, now: Instant) {
        let mut office = Office { term, leases: FxHashMap::default(), heap: BinaryHeap::new() };
        for (id, lease) in leases.iter() {
            #[cfg(feature = "plant")]
            if plant::is(Plant::PromotionHalvesTtl) {
                office.add(id, lease.ttl_s / 2, now);
                continue;
            }
            office.add(id, lease.ttl_s, now);
        }
        self.office = Some(office);
        self.scanned = None;
    }

    /// This member does not lead any more: nothing runs out.
    pub fn demote(&mut self) {
        self.office = None;
    }

    /// Leases came and went. Changes that [`promote`](Self::promote) has seen already do no harm, in order.
    pub fn note(&mut self, changes: &[Change], now: Instant) {
        let Some(office) = &mut self.office else { return };
        for change in changes {
            match *change {
                Change::Granted { id, ttl_s } if office.leases.contains_key(&id) => {
                    tracing::debug!(id, ttl_s, "a lease is known before it is granted");
                }
                Change::Granted { id, ttl_s } => office.add(id, ttl_s, now),
                Change::Ended { id } => drop(office.leases.remove(&id)),
            }
        }
        office.tidy();
    }

    /// Renews a lease from `now` on, which is not before the renewal came in. The caller has had the leadership
    /// of `term` confirmed since.
    pub fn renew(&mut self, term: u64, id: i64, now: Instant) -> Renewal {
        let Some(office) = self.office.as_mut().filter(|office| office.term == term) else {
            return Renewal::NotLeader;
        };
        match office.leases.get_mut(&id) {
            None => Renewal::Unknown,
            Some(lease) if lease.ending => Renewal::Ending,
            #[cfg(feature = "plant")]
            Some(lease) if plant::is(Plant::RenewalForgotten) => Renewal::Renewed { ttl_s: lease.ttl_s },
            Some(lease) => {
                lease.deadline = lease.deadline.max(after(now, lease.ttl_s));
                self.renewed += 1;
                Renewal::Renewed { ttl_s: lease.ttl_s }
            }
        }
    }

    /// A lease's TTL in seconds, and what is left of it: nothing if it has run out. `None` if this member does
    /// not lead or there is no such lease.
    pub fn remaining(&self, id: i64, now: Instant) -> Option<(i64, Duration)> {
        let lease = self.office.as_ref()?.leases.get(&id)?;
        Some((lease.ttl_s, lease.deadline.saturating_duration_since(now)))
    }

    /// Up to `max` leases that have run out, in the order of their deadlines, to be ended. Until they are gone,
    /// or [given back](Self::give_back), nobody can renew them.
    pub fn take_expired(&mut self, now: Instant, max: usize) -> Vec<i64> {
        let before = self.scanned.replace(now);
        if before.is_some_and(|before| now.saturating_duration_since(before) > HELD_UP) {
            self.scanned = None;
            return Vec::new();
        }
        #[cfg(feature = "plant")]
        if plant::is(Plant::NothingExpires) {
            return Vec::new();
        }
        let Some(office) = &mut self.office else { return Vec::new() };
        let mut expired = Vec::new();
        while expired.len() < max
            && let Some(Reverse((queued, id))) = office.heap.peek().copied()
            && queued <= now
        {
            office.heap.pop();
            let Some(lease) = office.leases.get_mut(&id).filter(|lease| lease.queued == queued) else {
                continue;
            };
            if lease.deadline > now {
                lease.queued = lease.deadline;
                office.heap.push(Reverse((lease.deadline, id)));
            } else if !lease.ending {
                lease.ending = true;
                expired.push(id);
            }
        }
        self.expired += expired.len() as u64;
        expired
    }

    /// The command to end these leases came to nothing: they are looked at again.
    pub fn give_back(&mut self, ids: &[i64]) {
        let Some(office) = &mut self.office else { return };
        for id in ids {
            if let Some(lease) = office.leases.get_mut(id).filter(|lease| lease.ending) {
                lease.ending = false;
                lease.queued = lease.deadline;
                office.heap.push(Reverse((lease.deadline, *id)));
            }
        }
    }
}

impl Office {
    fn add(&mut self, id: i64, ttl_s: i64, now: Instant) {
        let deadline = after(now, ttl_s);
        self.leases.insert(id, Timed { ttl_s, deadline, queued: deadline, ending: false });
        self.heap.push(Reverse((deadline, id)));
    }

    /// Drops the entries of leases that ended before their time, once they are many.
    fn tidy(&mut self) {
        if self.heap.len() <= 2 * self.leases.len() + STALE_MAX {
            return;
        }
        let leases = &self.leases;
        let known = |entry: &Reverse<(Instant, i64)>| {
            leases.get(&entry.0.1).is_some_and(|lease| lease.queued == entry.0.0)
        };
        self.heap.retain(known);
        self.heap.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn leases(ttls: &[(i64, i64)]) -> Leases {
        let mut leases = Leases::default();
        for (id, ttl_s) in ttls {
            leases.grant(*id, *ttl_s).expect("new ids");
        }
        leases
    }

    /// Scans every tenth of a second until `until`, and tells when what was found.
    fn scan(lessor: &mut Lessor, start: Instant, from_ms: u64, until_ms: u64) -> Vec<(u64, i64)> {
        let mut found = Vec::new();
        for ms in (from_ms..=until_ms).step_by(100) {
            let ids = lessor.take_expired(start + Duration::from_millis(ms), 100);
            found.extend(ids.into_iter().map(|id| (ms, id)));
        }
        found
    }

    #[test]
    fn leases_run_out_in_their_order_unless_they_are_renewed() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        assert_eq!(lessor.renew(7, 1, start), Renewal::NotLeader);
        lessor.promote(7, &leases(&[(1, 2), (2, 3), (3, 4)]), start);
        lessor.note(&[Change::Granted { id: 4, ttl_s: 2 }], start + S);
        assert_eq!(lessor.renew(7, 1, start + S), Renewal::Renewed { ttl_s: 2 });
        assert_eq!(lessor.renew(7, 9, start), Renewal::Unknown);
        assert_eq!(lessor.renew(6, 1, start), Renewal::NotLeader);
        assert_eq!(lessor.remaining(1, start + S), Some((2, 2 * S)));
        lessor.note(&[Change::Ended { id: 3 }], start + S);
        assert_eq!(scan(&mut lessor, start, 0, 5000), [(3000, 1), (3000, 2), (3000, 4)]);
        assert_eq!(lessor.renew(7, 1, start + 4 * S), Renewal::Ending);
        lessor.give_back(&[1]);
        assert_eq!(lessor.renew(7, 1, start + 4 * S), Renewal::Renewed { ttl_s: 2 });
        assert_eq!(scan(&mut lessor, start, 5000, 7000), [(6000, 1)]);
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_whole_time() {
        let start = Instant::now();
        let held = leases(&[(1, 2)]);
        let mut lessor = Lessor::default();
        lessor.promote(1, &held, start);
        lessor.demote();
        assert_eq!(scan(&mut lessor, start, 0, 3000), []);
        lessor.promote(2, &held, start + 3 * S);
        assert_eq!(scan(&mut lessor, start, 3000, 6000), [(5000, 1)]);
    }

    #[test]
    fn a_scan_that_was_held_up_expires_nothing() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        lessor.promote(1, &leases(&[(1, 2)]), start);
        assert_eq!(scan(&mut lessor, start, 0, 500), []);
        assert_eq!(lessor.take_expired(start + 9 * S, 10), [0; 0]);
        // Renewals that waited would come now.
        assert_eq!(scan(&mut lessor, start, 9100, 9100), [(9100, 1)]);
    }

    #[test]
    fn leases_that_come_and_go_leave_nothing_behind() {
        let start = Instant::now();
        let mut lessor = Lessor::default();
        lessor.promote(1, &Leases::default(), start);
        for round in 0..10_000 {
            let now = start + Duration::from_millis(round);
            lessor.note(&[Change::Granted { id: 1, ttl_s: 60 }, Change::Ended { id: 1 }], now);
        }
        let office = lessor.office.as_ref().expect("it leads");
        assert!(office.leases.is_empty());
        assert!(office.heap.len() <= STALE_MAX + 1, "{} entries", office.heap.len());
    }
}
