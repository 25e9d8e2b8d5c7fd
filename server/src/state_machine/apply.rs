//! Applying the log's entries, one by one and in order.

#[cfg(feature = "plant")]
use crate::plant::Plant;
use crate::{
    alarm::Alarms,
    auth::{self, AuthStore, Principal},
    cluster::Roster,
    error::ApiError,
    lease::{Change, Leases},
    mvcc::{Scrub, Store},
    proto::{
        etcdserverpb::{
            AlarmResponse, CompactionResponse, DeleteRangeResponse, DowngradeRequest, LeaseGrantResponse,
            LeaseRevokeResponse, PutResponse, ResponseHeader, TxnResponse,
            downgrade_request::DowngradeAction,
        },
        internal::{Command, command::Request},
        mvccpb::Event,
    },
};
use raft::types::{LogIndex, NodeId};

/// What a command came to. An error proves that nothing was written.
pub type Outcome = Result<Response, ApiError>;

/// The answer to a command. Of the headers inside only `revision` is filled in: the rest is not part of the
/// replicated state.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction: it is in force, though superseded versions may still take up memory
    /// ([`StateMachine::scrub`]).
    Compaction(CompactionResponse),
    /// To the grant of a lease.
    LeaseGrant(LeaseGrantResponse),
    /// To the revocation of a lease.
    LeaseRevoke(LeaseRevokeResponse),
    /// To the finding that leases have run out: those that still existed are gone.
    LeaseExpire,
    /// To a change of the roster.
    Members,
    /// To an alarm that was raised, disarmed or asked for.
    Alarm(AlarmResponse),
    /// To a downgrade that was begun or cancelled.
    Downgrade,
    /// To a change of users or roles.
    Auth {
        /// The store's newest revision.
        revision: i64,
    },
}

/// What one revision changed.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: i64,
    /// Its changes, in the order of its writes.
    pub events: Vec<Event>,
}

/// What applying did, for those who follow it. Not part of the state: nobody has to listen.
#[derive(Debug, Default)]
pub struct News {
    /// What the revisions changed, if it was asked for.
    pub events: Vec<RevisionEvents>,
    /// Leases that came and went.
    pub leases: Vec<Change>,
}

/// The replicated state of one member.
#[derive(Debug, Default)]
pub struct StateMachine {
    pub(super) applied: LogIndex,
    pub(super) kv: Store,
    pub(super) leases: Leases,
    pub(super) news: News,
    pub(super) record_events: bool,
    pub(super) roster: Roster,
    pub(super) alarms: Alarms,
    pub(super) auth: AuthStore,
    /// The release that a downgrade goes to; empty if there is none.
    pub(super) downgrade: String,
    /// Counts the changes of the roster in this process.
    pub(super) roster_version: u64,
}

impl StateMachine {
    /// The state before the first entry.
    pub fn new() -> StateMachine {
        StateMachine::default()
    }

    /// The state before the first entry, in a cluster that begins with these members.
    pub fn of_new_cluster(roster: Roster) -> StateMachine {
        StateMachine { roster, ..StateMachine::default() }
    }

    /// Applies the command of the entry at `index`, which must be the next one. Total: whatever the command
    /// holds, the outcome is an answer, or a refusal without effect.
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Outcome {
        self.note_applied(index);
        let before = self.kv.revision();
        let outcome = self.carry_out(command);
        if self.record_events {
            // At once: the next command may compact them away.
            for revision in before + 1..=self.kv.revision() {
                let events = self.kv.events(revision).expect("a revision of now is readable");
                self.news.events.push(RevisionEvents { revision, events });
            }
        }
        outcome
    }

    /// Whether [`take_news`](Self::take_news) is to tell what revisions change, from now on.
    pub fn record_events(&mut self, record: bool) {
        self.record_events = record;
    }

    /// What was applied since the last call.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Notes that the entry at `index`, the next one, carries no command.
    pub fn note_applied(&mut self, index: LogIndex) {
        assert!(index == self.applied.next(), "entry {index} follows {} in the state", self.applied);
        self.applied = index;
    }

    /// Index of the newest entry that the state holds.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The keys and values.
    pub fn kv(&self) -> &Store {
        &self.kv
    }

    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Who shall take part.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// What is wrong.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Users and roles.
    pub fn auth(&self) -> &AuthStore {
        &self.auth
    }

    /// The release that a downgrade goes to, if there is one.
    pub fn downgrade(&self) -> Option<&str> {
        Some(&self.downgrade[..]).filter(|target| !target.is_empty())
    }

    /// The keys that are attached to a lease.
    pub fn lease_keys(&self, lease: i64) -> Vec<Vec<u8>> {
        self.leases
            .get(lease)
            .map_or_else(Vec::new, |lease| lease.keys.iter().map(|key| key.to_vec()).collect())
    }

    /// Makes the state one of another cluster, as if its first entry had made all of it: keys, leases and users
    /// stay, members and alarms are the other cluster's.
    pub fn transplant(&mut self, roster: Roster) {
        self.applied = LogIndex(1);
        self.roster = roster;
        self.alarms = Alarms::default();
        self.downgrade.clear();
    }

    /// Differs whenever the roster does, within the life of this value.
    pub fn roster_version(&self) -> u64 {
        self.roster_version
    }

    /// Frees up to `budget` versions that a compaction superseded; see [`Store::scrub`]. No answer, hash or
    /// image depends on how much of it was done.
    pub fn scrub(&mut self, budget: usize) -> Scrub {
        self.kv.scrub(budget)
    }

    fn carry_out(&mut self, command: &Command) -> Outcome {
        if let Some(request) = &command.request {
            if self.auth.enabled {
                let keys_of = |lease| self.lease_keys(lease);
                self.auth.check(&principal(command), auth::needs_of(request), keys_of)?;
            }
            self.alarms.check(request)?;
        }
        let leases = &self.leases;
        let lease_exists = |id| leases.contains(id);
        let outcome = match &command.request {
            Some(Request::Put(request)) => self.kv.put(request, &lease_exists).map(Response::Put),
            Some(Request::DeleteRange(request)) => self.kv.delete_range(request).map(Response::DeleteRange),
            Some(Request::Txn(request)) => self.kv.txn(request, &lease_exists).map(Response::Txn),
            Some(Request::Compaction(request)) => self.kv.compact(request.revision).map(Response::Compaction),
            Some(Request::MemberAttributes(told)) => self.change_roster(|roster| {
                roster.publish(NodeId(told.member_id), &told.name, &told.client_urls);
                Ok(())
            }),
            Some(Request::MemberAdd(add)) => {
                self.change_roster(|roster| roster.add(NodeId(add.member_id), &add.peer_urls, add.is_learner))
            }
            Some(Request::MemberRemove(remove)) => {
                self.change_roster(|roster| roster.remove(NodeId(remove.member_id)))
            }
            Some(Request::MemberUpdate(update)) => {
                self.change_roster(|roster| roster.update(NodeId(update.member_id), &update.peer_urls))
            }
            Some(Request::MemberPromote(promote)) => {
                self.change_roster(|roster| roster.promote(NodeId(promote.member_id)))
            }
            Some(Request::Alarm(request)) => {
                let alarms = self.alarms.apply(request);
                Ok(Response::Alarm(AlarmResponse { header: self.header(), alarms }))
            }
            Some(Request::Downgrade(request)) => self.change_downgrade(request),
            Some(Request::Auth(change)) => {
                self.auth.apply(change).map(|()| Response::Auth { revision: self.kv.revision() })
            }
            Some(Request::LeaseGrant(request)) => self.grant(request.id, request.ttl),
            Some(Request::LeaseRevoke(request)) => self
                .revoke(request.id)
                .map(|()| Response::LeaseRevoke(LeaseRevokeResponse { header: self.header() })),
            Some(Request::LeaseExpire(request)) => {
                for id in &request.ids {
                    // One that is gone already needs no end.
                    let _ = self.revoke(*id);
                }
                Ok(Response::LeaseExpire)
            }
            // As etcd calls an operation that says nothing.
            None => Err(ApiError::KeyNotFound),
        };
        for moved in self.kv.take_moved() {
            self.leases.note(moved);
        }
        outcome
    }

    fn grant(&mut self, id: i64, ttl_s: i64) -> Outcome {
        self.leases.grant(id, ttl_s)?;
        self.news.leases.push(Change::Granted { id, ttl_s });
        Ok(Response::LeaseGrant(LeaseGrantResponse {
            header: self.header(),
            id,
            ttl: ttl_s,
            ..LeaseGrantResponse::default()
        }))
    }

    /// Ends a lease, and deletes its keys at one revision.
    fn revoke(&mut self, id: i64) -> Result<(), ApiError> {
        let keys = self.leases.revoke(id)?;
        #[cfg(feature = "plant")]
        if crate::plant::is(Plant::KeysEndApart) {
            keys.into_iter().for_each(|key| self.kv.delete_keys([key]));
            self.news.leases.push(Change::Ended { id });
            return Ok(());
        }
        self.kv.delete_keys(keys);
        self.news.leases.push(Change::Ended { id });
        Ok(())
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.kv.revision(), ..ResponseHeader::default() })
    }

    fn change_downgrade(&mut self, request: &DowngradeRequest) -> Outcome {
        match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Enable) if self.downgrade.is_empty() => {
                self.downgrade.clone_from(&request.version);
            }
            Ok(DowngradeAction::Enable) => return Err(ApiError::DowngradeInProgress),
            Ok(DowngradeAction::Cancel) if self.downgrade.is_empty() => return Err(ApiError::NoDowngrade),
            Ok(DowngradeAction::Cancel) => self.downgrade.clear(),
            Ok(DowngradeAction::Validate) | Err(_) => {}
        }
        Ok(Response::Downgrade)
    }

    fn change_roster(&mut self, change: impl FnOnce(&mut Roster) -> Result<(), ApiError>) -> Outcome {
        change(&mut self.roster)?;
        self.roster_version += 1;
        Ok(Response::Members)
    }
}

/// In whose name a command was proposed.
fn principal(command: &Command) -> Principal {
    if command.by_server {
        Principal::Server
    } else if command.user.is_empty() {
        Principal::Nobody
    } else {
        Principal::User { name: command.user.clone(), revision: command.auth_revision }
    }
}

#[cfg(feature = "plant")]
impl StateMachine {
    /// Chooses the planted bug of this state machine. A restored one has none.
    pub fn set_plant(&mut self, plant: Option<Plant>) {
        self.kv.set_plant(plant);
    }

    /// Applies a command without moving the applied index: what the planted bug
    /// [`Plant::ApplyTwiceAfterRestart`] needs.
    pub fn apply_again(&mut self, command: &Command) -> Outcome {
        self.carry_out(command)
    }
}
