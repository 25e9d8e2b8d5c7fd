//! Draws operations and turns them into requests.

use super::{
    http2::{Answer, Method},
    keys::Keys,
    mix::{Action, Workload},
    request::{self, RangeOptions},
    stamp::Stamp,
    trace::Act,
    values::Values,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// An operation that met another's write begins again until it has made so many calls; then that is its outcome.
const CALLS_MAX: u8 = 200;

/// TTL of the leases that events hang from, in s, and how many keys share one. As the Kubernetes API server.
const EVENT_TTL_S: i64 = 3600;
const LEASE_KEYS_MAX: u32 = 1000;

/// What a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// When the operation was due, in ns from the start.
    pub due_ns: u64,
    /// When its first call was sent.
    pub sent_ns: u64,
    /// When this call was sent.
    pub call_ns: u64,
    /// The key's number.
    pub key: u64,
    /// Place of the operation in the mix.
    pub op: u8,
    /// How many calls the operation has made before.
    pub calls: u8,
    /// The call's place in a history; 0 where it is not recorded.
    pub trace: u32,
}

/// How many keys there are: shared by all workers, grown by inserts.
#[derive(Debug)]
pub(super) struct KeySpace {
    /// The number of the next new key.
    next: AtomicU64,
    /// Keys that were acknowledged.
    count: AtomicU64,
}

impl KeySpace {
    pub(super) fn new(count: u64) -> KeySpace {
        KeySpace { next: AtomicU64::new(count), count: AtomicU64::new(count) }
    }
}

/// One worker's source of operations.
#[derive(Debug)]
pub(super) struct Source {
    workload: Arc<Workload>,
    space: Arc<KeySpace>,
    keys: Keys,
    values: Values,
    rng: ChaCha8Rng,
    /// For each number below the sum of weights that is drawn: weights up to and with each operation.
    upto: Vec<u32>,
    prefix_end: Vec<u8>,
    /// Mod revisions last seen of keys.
    seen: FxHashMap<u64, i64>,
    /// The lease of events, and how many more may hang from it.
    lease: (i64, u32),
    key: Vec<u8>,
    /// Where the value lies in the message, if there is just one.
    value: Option<Range<usize>>,
    /// The request that was drawn last.
    pub message: Vec<u8>,
}

impl Source {
    /// For one of `workers` workers.
    pub(super) fn new(
        workload: Arc<Workload>,
        space: Arc<KeySpace>,
        seed: u64,
        worker: usize,
        workers: usize,
    ) -> Source {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(2000 + worker as u64);
        let mut sum = 0;
        let upto = workload.mix.0.iter().map(|(_, weight)| {
            sum += weight;
            sum
        });
        Source {
            upto: upto.collect(),
            keys: Keys::new(workload.keys, workload.key_count, worker, workers),
            values: Values::new(workload.values.clone(), workload.compressible, &mut rng),
            prefix_end: workload.prefix_end(),
            seen: FxHashMap::default(),
            lease: (0, 0),
            key: Vec::new(),
            value: None,
            message: Vec::new(),
            rng,
            space,
            workload,
        }
    }

    /// Draws an operation: its place in the mix, its key, and the call it begins with, whose message is in
    /// `message`.
    pub(super) fn draw(&mut self) -> (u8, u64, Method) {
        let sum = self.upto.last().copied().unwrap_or(1);
        let at = self.rng.random_range(0..sum);
        let op = self.upto.partition_point(|&upto| upto <= at);
        let action = self.workload.mix.0[op].0;
        let key = match action {
            Action::Insert | Action::Event => self.space.next.fetch_add(1, Ordering::Relaxed),
            _ => self.keys.draw(self.space.count.load(Ordering::Relaxed), &mut self.rng),
        };
        let method = self.write(action, key);
        (u8::try_from(op).unwrap_or(u8::MAX), key, method)
    }

    /// Writes the first call of an operation.
    fn write(&mut self, action: Action, key: u64) -> Method {
        self.name(key);
        self.message.clear();
        self.value = None;
        let (out, name) = (&mut self.message, &self.key);
        let options = RangeOptions::default();
        match action {
            Action::Put | Action::Insert => {
                let value = self.values.draw(&mut self.rng);
                request::put(out, name, value, 0);
                self.value = Some(out.len() - value.len()..out.len());
                Method::Put
            }
            Action::Event if self.lease.1 == 0 => {
                request::lease_grant(out, EVENT_TTL_S);
                Method::LeaseGrant
            }
            Action::Event => {
                self.lease.1 -= 1;
                request::put(out, name, self.values.draw(&mut self.rng), self.lease.0);
                Method::Put
            }
            Action::Get | Action::ReadModifyWrite | Action::Stm => {
                request::range(out, name, &[], options);
                Method::Range
            }
            Action::GetSerializable => {
                request::range(out, name, &[], RangeOptions { serializable: true, ..options });
                Method::Range
            }
            Action::Scan => {
                let limit = self.rng.random_range(1..=self.workload.scan_max);
                request::range(out, name, &self.prefix_end, RangeOptions { limit, ..options });
                Method::Range
            }
            Action::List => {
                let options = RangeOptions { limit: self.workload.scan_max, ..options };
                request::range(out, self.workload.prefix.as_bytes(), &self.prefix_end, options);
                Method::Range
            }
            Action::Count => {
                let options = RangeOptions { count_only: true, ..options };
                request::range(out, self.workload.prefix.as_bytes(), &self.prefix_end, options);
                Method::Range
            }
            Action::Delete => {
                request::delete(out, name);
                Method::DeleteRange
            }
            Action::TxnPut => {
                let count = self.space.count.load(Ordering::Relaxed).max(1);
                for n in 0..self.workload.txn_ops {
                    // Neighbours: a transaction may not write a key twice.
                    self.key.clear();
                    self.workload.write_key((key + n) % count, &mut self.key);
                    request::then_put(&mut self.message, &self.key, self.values.draw(&mut self.rng));
                }
                Method::Txn
            }
            Action::Update => {
                let seen = self.seen.get(&key).copied().unwrap_or(0);
                self.write_conditional(seen)
            }
        }
    }

    /// Writes a transaction: a put if the key's mod revision is `revision`, else a get.
    fn write_conditional(&mut self, revision: i64) -> Method {
        let (out, name) = (&mut self.message, &self.key);
        request::compare_mod_revision(out, name, revision);
        request::then_put(out, name, self.values.draw(&mut self.rng));
        request::else_get(out, name);
        Method::Txn
    }

    /// Writes when the operation was due and is sent, and its number if it has one, into its value: for those who
    /// watch, and those who read.
    pub(super) fn stamp(&mut self, due_ns: u64, sent_ns: u64, tag: u64) {
        if (tag != 0 || self.workload.watching.is_some())
            && let Some(place) = self.value.clone()
        {
            Stamp { due_ns, sent_ns, tag }.write(&mut self.message[place]);
        }
    }

    /// What the call that was drawn last does, for a history. `value` gives a number for what is written.
    pub(super) fn act(&self, op: u8, method: Method, value: impl FnOnce() -> u64) -> Act {
        let serializable = self.workload.mix.0[usize::from(op)].0 == Action::GetSerializable;
        match method {
            Method::Put => Act::Write(value()),
            Method::Range | Method::Txn | Method::DeleteRange | Method::LeaseGrant => {
                Act::Read { serializable }
            }
        }
    }

    /// The key of the call that was drawn last.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    fn name(&mut self, key: u64) {
        self.key.clear();
        self.workload.write_key(key, &mut self.key);
    }

    /// Whether another call may follow on an answer: [`Source::follow`] has to be asked.
    pub(super) fn goes_on(&self, token: &Token) -> bool {
        match self.workload.mix.0[usize::from(token.op)].0 {
            Action::Insert | Action::Update | Action::Delete | Action::Stm => true,
            Action::ReadModifyWrite | Action::Event => token.calls == 0,
            Action::Put
            | Action::Get
            | Action::GetSerializable
            | Action::Scan
            | Action::List
            | Action::Count
            | Action::TxnPut => false,
        }
    }

    /// The call that follows on an answer, whose message is in `message`; `None` when the operation is done.
    pub(super) fn follow(&mut self, token: &Token, answer: &Answer) -> Option<Method> {
        match self.workload.mix.0[usize::from(token.op)].0 {
            Action::Insert => {
                self.space.count.fetch_add(1, Ordering::Relaxed);
                None
            }
            // The answer to a put names no lease: its field of that number is no number.
            Action::Event if answer.number != 0 => {
                self.lease = (answer.number.cast_signed(), LEASE_KEYS_MAX);
                Some(self.write(Action::Event, token.key))
            }
            Action::ReadModifyWrite if token.calls == 0 => Some(self.write(Action::Put, token.key)),
            Action::Stm if token.calls.is_multiple_of(2) => {
                self.name(token.key);
                self.message.clear();
                Some(self.write_conditional(answer.mod_revision))
            }
            Action::Stm if answer.number == 0 && token.calls < CALLS_MAX => {
                Some(self.write(Action::Stm, token.key))
            }
            Action::Update if answer.number == 0 && token.calls < CALLS_MAX => {
                self.seen.insert(token.key, answer.mod_revision);
                Some(self.write(Action::Update, token.key))
            }
            Action::Update => {
                self.seen.insert(token.key, answer.revision);
                None
            }
            Action::Delete => {
                self.seen.remove(&token.key);
                None
            }
            Action::Put
            | Action::Get
            | Action::GetSerializable
            | Action::Scan
            | Action::List
            | Action::Count
            | Action::ReadModifyWrite
            | Action::TxnPut
            | Action::Event
            | Action::Stm => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::mix::Mix;

    fn source(mix: &str) -> Source {
        let workload =
            Workload { mix: mix.parse::<Mix>().unwrap(), ..Workload::named("mix").expect("a workload") };
        Source::new(Arc::new(workload), Arc::new(KeySpace::new(100)), 5, 0, 1)
    }

    #[test]
    fn operations_come_by_their_weights_and_from_the_seed() {
        let draw = || {
            let mut source = source("get=3,put=1");
            (0..4000).map(|_| (source.draw(), source.message.clone())).collect::<Vec<_>>()
        };
        let drawn = draw();
        assert_eq!(drawn, draw());
        let puts = drawn.iter().filter(|((op, _, method), _)| *op == 1 && *method == Method::Put).count();
        assert!(puts.abs_diff(1000) < 150, "{puts}");
    }

    #[test]
    fn a_read_modify_write_is_two_calls_and_stm_ends_when_nobody_came_between() {
        let token = |calls| Token { due_ns: 0, sent_ns: 0, call_ns: 0, key: 7, op: 0, calls, trace: 0 };
        let answer = Answer { revision: 9, number: 0, mod_revision: 4, tag: 0, bytes: 10 };
        let mut rmw = source("rmw");
        assert_eq!(rmw.draw().2, Method::Range);
        assert_eq!(rmw.follow(&token(0), &answer), Some(Method::Put));
        assert_eq!(rmw.follow(&token(1), &answer), None);
        let mut stm = source("stm");
        assert_eq!(stm.follow(&token(0), &answer), Some(Method::Txn));
        assert_eq!(stm.follow(&token(1), &answer), Some(Method::Range));
        assert_eq!(stm.follow(&token(3), &Answer { number: 1, ..answer }), None);
        let mut update = source("update");
        assert_eq!(update.follow(&token(0), &answer), Some(Method::Txn));
        assert_eq!(update.seen[&7], 4);
        assert_eq!(update.follow(&token(1), &Answer { number: 1, ..answer }), None);
        assert_eq!(update.seen[&7], 9);
    }

    #[test]
    fn an_insert_makes_a_key_that_counts_once_it_is_acknowledged() {
        let mut source = source("insert");
        let (op, key, _) = source.draw();
        assert_eq!(key, 100);
        assert_eq!(source.space.count.load(Ordering::Relaxed), 100);
        let token = Token { due_ns: 0, sent_ns: 0, call_ns: 0, key, op, calls: 0, trace: 0 };
        assert_eq!(source.follow(&token, &Answer::default()), None);
        assert_eq!(source.space.count.load(Ordering::Relaxed), 101);
    }
}
