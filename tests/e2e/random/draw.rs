//! Random requests, good and bad ones, over a small space of keys, leases, users and members.

use super::call::Call;
use bytes::Bytes;
use rand::{Rng, RngExt as _, seq::IndexedRandom as _};
use server::proto::{
    etcdserverpb::{
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        *,
    },
    v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest},
    v3lockpb::{LockRequest, UnlockRequest},
};
use std::collections::BTreeSet;

/// The member that was added last, whatever its identity is in each store.
pub const ADDED: u64 = 0xadded;

/// In whose name something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Nobody's.
    Nobody,
    /// Root's.
    Root,
    /// A user's.
    U,
    /// Another user's.
    V,
    /// Somebody's whose token is none.
    Liar,
}

impl Who {
    /// The user's name; empty where there is none.
    pub fn name(self) -> &'static str {
        match self {
            Who::Root => "root",
            Who::U => "u",
            Who::V => "v",
            Who::Nobody | Who::Liar => "",
        }
    }
}

/// Something to ask both stores.
#[derive(Clone, Debug)]
pub enum Step {
    /// One call.
    Call(Call),
    /// The same through the gateway.
    Gateway(Call),
    /// A renewal of a lease.
    KeepAlive(i64),
    /// A watch that follows until now, and two events more.
    Watch(WatchCreateRequest),
    /// A lease whose identity the store chooses, of so many seconds; it is revoked at once.
    AnyLease(i64),
}

/// What is known of the stores, to ask what makes sense.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The current revision.
    pub revision: i64,
    /// The last compaction.
    pub compacted: i64,
    /// Later revisions at which one transaction may have deleted a key and put it. etcd from 3.5.16 on (3.5.30 too)
    /// loses such a pair where it compacts at just that revision, and dies ("range failed to find revision pair") as
    /// soon as somebody reads it: put a; transact [delete [a, \0), put a]; compact at that revision; range a. It keeps
    /// the deletion, since one at the very revision of a compaction must be kept, in place of what came after it.
    pub torn: BTreeSet<i64>,
    /// Whether callers are asked who they are.
    pub auth: bool,
    /// An alarm that stands, and of which member.
    pub alarm: Option<(u64, i32)>,
    /// Whether the other store is an etcd 3.4. It lets a role be given a range that is none: it is not then. And
    /// whoever asks for a lease, an alarm or a compaction is not asked who he is: root asks for them.
    pub is_3_4: bool,
}

/// Draws steps.
pub struct Draw<R> {
    rng: R,
    known: Known,
    names: u64,
}

const KEYS: &[&[u8]] = &[b"a", b"ab", b"b", b"b\0", b"c", b"d", b"\xff", b"z/1"];
const ENDS: &[&[u8]] = &[b"b", b"c", b"d", b"e", b"a", b"\0", b"\xff\xff", b"z0"];
const VALUES: &[&[u8]] = &[b"", b"1", b"2", b"10", b"\x00\xff"];
const LEASES: &[i64] = &[1, 2, 3, -7];
const USERS: &[&str] = &["u", "v", "w"];
const ROLES: &[&str] = &["r", "s", "root"];

impl<R: Rng> Draw<R> {
    pub fn new(rng: R) -> Draw<R> {
        Draw { rng, known: Known::default(), names: 0 }
    }

    /// Takes note of how the stores are.
    pub fn note(&mut self, known: Known) {
        self.known = known;
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        *among.choose(&mut self.rng).expect("there are some")
    }

    fn key(&mut self) -> Bytes {
        if self.one_in(60) { Bytes::new() } else { Bytes::from_static(self.pick(KEYS)) }
    }

    fn end(&mut self) -> Bytes {
        if self.rng.random_bool(0.5) { Bytes::new() } else { Bytes::from_static(self.pick(ENDS)) }
    }

    fn value(&mut self) -> Bytes {
        match self.rng.random_range(0..2000) {
            0 => vec![b'x'; 1 << 20].into(),
            1..=50 => vec![b'y'; 3000].into(),
            _ => Bytes::from_static(self.pick(VALUES)),
        }
    }

    fn lease(&mut self) -> i64 {
        if self.one_in(20) { 1234 } else { self.pick(LEASES) }
    }

    fn revision(&mut self) -> i64 {
        let Known { revision, compacted, .. } = self.known;
        let edges = [0, 0, 0, 0, -1, compacted, compacted - 1, compacted + 1, revision, revision + 1];
        if self.rng.random_bool(0.2) {
            self.rng.random_range(compacted..=revision.max(compacted))
        } else {
            self.pick(&edges)
        }
    }

    /// A bound on revisions: mostly none.
    fn bound(&mut self) -> i64 {
        if self.one_in(8) { self.revision() } else { 0 }
    }

    /// The next step, and in whose name.
    pub fn next(&mut self) -> (Who, Step) {
        let alarm = self.known.alarm;
        match alarm {
            // A store with an alarm refuses too much to be of interest for long.
            Some((member_id, alarm)) if self.one_in(12) => {
                (Who::Root, Step::Call(Call::Alarm(AlarmRequest { action: 2, member_id, alarm })))
            }
            _ => {
                let (who, step) = (self.who(), self.step());
                let who = match who {
                    _ if self.known.is_3_4 && is_open_in_3_4(&step) => Who::Root,
                    Who::U | Who::V if ends_before_it_begins(&step) => Who::Root,
                    Who::U | Who::V if self.known.is_3_4 && is_nested(&step) => Who::Root,
                    who => who,
                };
                (who, step)
            }
        }
    }

    fn who(&mut self) -> Who {
        let often = if self.known.auth { 12 } else { 2 };
        match self.rng.random_range(0..14) {
            n if n >= often => Who::Nobody,
            0..=3 => Who::Root,
            4..=7 => Who::U,
            8..=10 => Who::V,
            _ => Who::Liar,
        }
    }

    fn step(&mut self) -> Step {
        match self.rng.random_range(0..1000) {
            0..=14 => Step::KeepAlive(self.lease()),
            15..=34 => Step::Watch(self.watch()),
            35..=39 => Step::AnyLease(self.pick(&[3000, 7_000_000])),
            40..=139 => match self.call() {
                // The gateway of etcd 3.4 has no paths for these.
                call @ (Call::HashKv(_) | Call::Downgrade(_) | Call::AuthStatus(_)) if self.known.is_3_4 => {
                    Step::Call(call)
                }
                call => Step::Gateway(call),
            },
            _ => Step::Call(self.call()),
        }
    }

    fn call(&mut self) -> Call {
        match self.rng.random_range(0..1000) {
            0..=249 => Call::Put(self.put()),
            250..=429 => Call::Range(self.range()),
            430..=549 => Call::Delete(self.delete()),
            550..=749 => Call::Txn(self.txn(0)),
            750..=764 => {
                let revision = self.revision();
                // One that is refused in place of one that etcd does not survive.
                let revision = if self.known.torn.contains(&revision) { 0 } else { revision };
                Call::Compact(CompactionRequest { revision, physical: self.one_in(2) })
            }
            765..=834 => self.lease_call(),
            835..=859 => self.cluster(),
            860..=889 => self.maintenance(),
            890..=969 => self.auth(),
            _ => self.recipe(),
        }
    }

    fn put(&mut self) -> PutRequest {
        PutRequest {
            key: self.key(),
            value: if self.one_in(12) { Bytes::new() } else { self.value() },
            lease: if self.one_in(4) { self.lease() } else { 0 },
            prev_kv: self.one_in(4),
            ignore_value: self.one_in(12),
            ignore_lease: self.one_in(12),
        }
    }

    fn range(&mut self) -> RangeRequest {
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: self.pick(&[0, 0, 0, 1, 2, -1]),
            revision: self.revision(),
            sort_order: self.pick(&[0, 0, 1, 2]),
            sort_target: self.pick(&[0, 0, 1, 2, 3, 4]),
            serializable: self.one_in(3),
            keys_only: self.one_in(8),
            count_only: self.one_in(8),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest { key: self.key(), range_end: self.end(), prev_kv: self.one_in(3) }
    }

    fn compare(&mut self) -> Compare {
        let number = self.pick(&[0, 0, 1, 2, self.known.revision]);
        let lease = self.lease();
        let (target, union) = match self.rng.random_range(0..5) {
            0 => (CompareTarget::Version, TargetUnion::Version(number)),
            1 => (CompareTarget::Create, TargetUnion::CreateRevision(number)),
            2 => (CompareTarget::Mod, TargetUnion::ModRevision(number)),
            3 => (CompareTarget::Value, TargetUnion::Value(self.value())),
            _ => (CompareTarget::Lease, TargetUnion::Lease(lease)),
        };
        let results =
            [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
        Compare {
            result: self.pick(&results).into(),
            target: target.into(),
            key: self.key(),
            range_end: if self.one_in(4) { self.end() } else { Bytes::new() },
            target_union: (!self.one_in(15)).then_some(union),
        }
    }

    fn op(&mut self, depth: u32) -> RequestOp {
        let request = match self.rng.random_range(0..20) {
            0..=7 => Some(Request::RequestPut(self.put())),
            8..=12 => Some(Request::RequestRange(self.range())),
            13..=16 => Some(Request::RequestDeleteRange(self.delete())),
            // A store that is full lets puts of nested transactions pass, if it is etcd: ours would not follow.
            17..=18 if depth < 3 && self.known.alarm.is_none() => {
                Some(Request::RequestTxn(self.txn(depth + 1)))
            }
            19 if self.one_in(3) => None,
            _ => Some(Request::RequestPut(self.put())),
        };
        RequestOp { request }
    }

    fn txn(&mut self, depth: u32) -> TxnRequest {
        let most = if self.one_in(50) { 130 } else { 4 };
        let mut ops = |most: usize| -> Vec<RequestOp> {
            let count = self.rng.random_range(0..=most);
            (0..count).map(|_| self.op(depth)).collect()
        };
        // Many writes nearly always collide; only one branch is that large.
        let (success, failure) = (ops(most), ops(3));
        let compare = (0..self.rng.random_range(0..3)).map(|_| self.compare()).collect();
        let mut txn = TxnRequest { compare, success, failure };
        if depth == 0 && deletes_unseen(&txn) {
            ignore_nothing(&mut txn);
        }
        txn
    }

    fn lease_call(&mut self) -> Call {
        let id = self.lease();
        match self.rng.random_range(0..10) {
            0..=3 => {
                let ttl = self.pick(&[5000, 100_000, 9_000_000_000, 9_000_000_001]);
                Call::Grant(LeaseGrantRequest { ttl, id: if id == 1234 { 1 } else { id } })
            }
            4..=6 => Call::Revoke(LeaseRevokeRequest { id }),
            7..=8 => Call::TimeToLive(LeaseTimeToLiveRequest { id, keys: self.one_in(2) }),
            _ => Call::Leases(LeaseLeasesRequest {}),
        }
    }

    fn cluster(&mut self) -> Call {
        let urls = ["http://127.0.0.1:9", "http://127.0.0.1:19", "nonsense", "http://127.0.0.1:9/path", ""];
        let url = self.pick(&urls).to_string();
        let peer_ur_ls = if self.one_in(10) { vec![] } else { vec![url] };
        let id = self.pick(&[ADDED, ADDED, 77]);
        match self.rng.random_range(0..6) {
            0 => Call::MemberAdd(MemberAddRequest { peer_ur_ls, is_learner: true }),
            1 => Call::MemberRemove(MemberRemoveRequest { id }),
            // Of an unknown one: a learner whose URLs change is forgotten by etcd to be one.
            2 => Call::MemberUpdate(MemberUpdateRequest { id: 77, peer_ur_ls }),
            3 => Call::MemberPromote(MemberPromoteRequest { id }),
            _ => Call::MemberList(MemberListRequest { linearizable: self.one_in(2) }),
        }
    }

    fn maintenance(&mut self) -> Call {
        match self.rng.random_range(0..20) {
            0..=2 => Call::Status(StatusRequest {}),
            3 => Call::Defragment(DefragmentRequest {}),
            4..=6 => Call::HashKv(HashKvRequest { revision: self.revision() }),
            7 => Call::MoveLeader(MoveLeaderRequest { target_id: self.pick(&[0, 5]) }),
            8..=9 => Call::Downgrade(DowngradeRequest {
                action: self.pick(&[0, 2]),
                version: self.pick(&["3.4.0", "3.5.0", "3.3.0", "", "x", "3.4"]).to_string(),
            }),
            _ => {
                // While etcd has an alarm it asks nobody who they are: none is raised while users are on. And with
                // an alarm that is disarmed it forgets those of another kind: there is none beside.
                let action =
                    if self.known.auth { self.pick(&[0, 2]) } else { self.pick(&[0, 1, 2, 2, 2, 2]) };
                let alarm = match self.known.alarm {
                    Some((_, alarm)) if action == 1 => alarm,
                    // An alarm of no kind ends etcd 3.4.
                    None if self.known.is_3_4 => self.pick(&[1, 1, 2]),
                    _ => self.pick(&[0, 1, 1, 2]),
                };
                Call::Alarm(AlarmRequest { action, member_id: self.pick(&[0, 0, 0, 5]), alarm })
            }
        }
    }

    fn auth(&mut self) -> Call {
        let user = if self.one_in(15) { String::new() } else { self.pick(USERS).to_string() };
        let role = if self.one_in(15) { String::new() } else { self.pick(ROLES).to_string() };
        let password = self.pick(&["one", "two", ""]).to_string();
        match self.rng.random_range(0..26) {
            0..=2 => {
                let options = self.one_in(3).then(|| UserAddOptions { no_password: self.one_in(2) });
                Call::UserAdd(AuthUserAddRequest { name: user, password, options })
            }
            3 => Call::UserGet(AuthUserGetRequest { name: user }),
            4 => Call::UserList(AuthUserListRequest {}),
            5 => Call::UserDelete(AuthUserDeleteRequest { name: user }),
            6 => Call::UserPassword(AuthUserChangePasswordRequest { name: user, password }),
            7..=8 => Call::UserGrant(AuthUserGrantRoleRequest { user, role }),
            9 => Call::UserRevoke(AuthUserRevokeRoleRequest { name: user, role }),
            10..=11 => Call::RoleAdd(AuthRoleAddRequest { name: role }),
            12 => Call::RoleGet(AuthRoleGetRequest { role }),
            13 => Call::RoleList(AuthRoleListRequest {}),
            14 => Call::RoleDelete(AuthRoleDeleteRequest { role }),
            15..=17 => {
                let mut perm =
                    Permission { perm_type: self.pick(&[0, 1, 2]), key: self.key(), range_end: self.end() };
                let Permission { key, range_end, .. } = &perm;
                let is_range =
                    !key.is_empty() && (range_end.is_empty() || range_end[..] == [0] || key < range_end);
                if self.known.is_3_4 && !is_range {
                    (perm.key, perm.range_end) = (Bytes::from_static(b"a"), Bytes::new());
                }
                // No right at all ends etcd 3.4.
                let perm = (!self.one_in(20) || self.known.is_3_4).then_some(perm);
                Call::RoleGrant(AuthRoleGrantPermissionRequest { name: role, perm })
            }
            18 => {
                let (key, range_end) = (self.key(), self.end());
                Call::RoleRevoke(AuthRoleRevokePermissionRequest { role, key, range_end })
            }
            19..=21 => Call::Authenticate(AuthenticateRequest { name: user, password }),
            22 => Call::AuthStatus(AuthStatusRequest {}),
            // Root must stay logged in where it asks for what etcd 3.4 lets everybody do.
            23..=25 if self.known.is_3_4 => Call::AuthStatus(AuthStatusRequest {}),
            23 => Call::AuthDisable(AuthDisableRequest {}),
            // Nobody has a right to anything for a while then.
            _ if self.known.auth || self.one_in(40) => Call::AuthEnable(AuthEnableRequest {}),
            _ => Call::AuthStatus(AuthStatusRequest {}),
        }
    }

    /// Locks and elections that nobody else has: nothing waits.
    fn recipe(&mut self) -> Call {
        self.names += 1;
        let name = Bytes::from(format!("z/{}", self.names));
        let lease = self.lease();
        let leader = LeaderKey { name: name.clone(), key: self.key(), rev: self.revision(), lease };
        let leader = (!self.one_in(4)).then_some(leader);
        match self.rng.random_range(0..8) {
            0..=1 => Call::Lock(LockRequest { name, lease }),
            2 => Call::Unlock(UnlockRequest { key: self.key() }),
            3..=4 => Call::Campaign(CampaignRequest { name, lease, value: self.value() }),
            5 => Call::Proclaim(ProclaimRequest { leader, value: self.value() }),
            6 => Call::Leader(LeaderRequest { name: self.key() }),
            _ => Call::Resign(ResignRequest { leader }),
        }
    }

    fn watch(&mut self) -> WatchCreateRequest {
        let Known { revision, compacted, .. } = self.known;
        let past = self.rng.random_range(compacted..=revision.max(compacted));
        WatchCreateRequest {
            key: self.key(),
            range_end: self.end(),
            start_revision: self.pick(&[0, past, past, past, compacted - 1, revision + 1, 1]).max(0),
            progress_notify: self.one_in(5),
            filters: match self.rng.random_range(0..6) {
                0 => vec![0],
                1 => vec![1],
                2 => vec![0, 1],
                _ => vec![],
            },
            prev_kv: self.one_in(3),
            watch_id: self.pick(&[0, 0, 0, 7, 9]),
            fragment: self.one_in(4),
        }
    }
}

/// Whether etcd 3.4 lets everybody do this, users or not.
fn is_open_in_3_4(step: &Step) -> bool {
    match step {
        Step::KeepAlive(_) | Step::AnyLease(_) => true,
        Step::Watch(_) => false,
        Step::Call(call) | Step::Gateway(call) => matches!(
            call,
            Call::Grant(_)
                | Call::Revoke(_)
                | Call::TimeToLive(_)
                | Call::Leases(_)
                | Call::Alarm(_)
                | Call::Compact(_)
                | Call::Status(_)
                | Call::HashKv(_)
                | Call::MoveLeader(_)
                | Call::MemberList(_)
        ),
    }
}

/// Whether a step is about a range that ends before it begins, and so holds nothing. Rights to such a range etcd
/// looks up in a tree that was not made for it: what it finds depends on the tree's shape.
fn ends_before_it_begins(step: &Step) -> bool {
    fn inverted(key: &[u8], end: &[u8]) -> bool {
        !end.is_empty() && end != [0] && end <= key
    }
    fn of_txn(txn: &TxnRequest) -> bool {
        let of_op = |op: &RequestOp| match &op.request {
            Some(Request::RequestRange(range)) => inverted(&range.key, &range.range_end),
            Some(Request::RequestDeleteRange(delete)) => inverted(&delete.key, &delete.range_end),
            Some(Request::RequestTxn(nested)) => of_txn(nested),
            Some(Request::RequestPut(_)) | None => false,
        };
        txn.compare.iter().any(|compare| inverted(&compare.key, &compare.range_end))
            || txn.success.iter().chain(&txn.failure).any(of_op)
    }
    match step {
        Step::Call(call) | Step::Gateway(call) => match call {
            Call::Range(range) => inverted(&range.key, &range.range_end),
            Call::Delete(delete) => inverted(&delete.key, &delete.range_end),
            Call::Txn(txn) => of_txn(txn),
            _ => false,
        },
        Step::Watch(watch) => inverted(&watch.key, &watch.range_end),
        Step::KeepAlive(_) | Step::AnyLease(_) => false,
    }
}

/// Whether a step is a transaction with another one in it: what that one needs a right for etcd 3.4 does not look at.
fn is_nested(step: &Step) -> bool {
    let (Step::Call(Call::Txn(txn)) | Step::Gateway(Call::Txn(txn))) = step else { return false };
    let nested = |op: &RequestOp| matches!(op.request, Some(Request::RequestTxn(_)));
    txn.success.iter().chain(&txn.failure).any(nested)
}

/// Whether a transaction may delete what it puts: etcd overlooks that for deletions without an upper end, and for
/// those of nested transactions.
pub fn deletes_unseen(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestDeleteRange(delete)) => delete.range_end[..] == [0],
        Some(Request::RequestTxn(_)) => true,
        Some(Request::RequestRange(_) | Request::RequestPut(_)) | None => false,
    })
}

/// Takes from all puts that they need a key which is there: where the transaction itself has deleted it, etcd panics
/// ("unexpected error during txn").
fn ignore_nothing(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) => (put.ignore_value, put.ignore_lease) = (false, false),
            Some(Request::RequestTxn(nested)) => ignore_nothing(nested),
            Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => {}
        }
    }
}
