//! The members as the raft thread sees them: whom to talk to, what to change, when to leave.

use super::shared::{Options, Shared};
use crate::{
    cluster::{self, Roster},
    net::{Address, Network},
};
use raft::{
    MembershipChange, Raft,
    types::{LogIndex, NodeId, Role},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// A member that was removed is talked to for so many election timeouts more, so that it learns of it.
const FAREWELL_ELECTIONS: u32 = 5;
/// A removed member that finds no leader gives up after so many election timeouts.
const LEADERLESS_ELECTIONS: u32 = 10;
/// The members as the raft thread sees them.
pub(super) struct Members {
    own: NodeId,
    election: Duration,
    roster: Arc<Roster>,
    /// Members to talk to although the roster does not name them (yet).
    contacts: Roster,
    /// Who was removed, and until when it is talked to.
    leaving: BTreeMap<NodeId, (Vec<Address>, Instant)>,
    /// Since when this member has been out of the cluster.
    out_since: Option<Instant>,
}

impl Members {
    pub(super) fn new(options: &Options, roster: Arc<Roster>) -> Members {
        Members {
            own: options.id,
            election: options.election,
            roster,
            contacts: options.contacts.clone(),
            leaving: BTreeMap::new(),
            out_since: None,
        }
    }

    /// Takes note of a new roster.
    pub(super) fn roster_changed(&mut self, roster: Arc<Roster>, network: &mut Network) {
        let until = Instant::now() + FAREWELL_ELECTIONS * self.election;
        for (id, member) in &self.roster.members {
            if !roster.members.contains_key(id) {
                self.leaving.insert(*id, (addresses(&member.peer_urls), until));
            }
        }
        self.roster = roster;
        self.connect(network);
    }

    /// Ends what is left of connections to members that were removed long enough ago.
    pub(super) fn forget(&mut self, now: Instant, network: &mut Network) {
        let before = self.leaving.len();
        self.leaving.retain(|_, (_, until)| *until > now);
        if self.leaving.len() != before {
            self.connect(network);
        }
    }

    /// Connects to everybody to talk to.
    pub(super) fn connect(&self, network: &mut Network) {
        let mut peers: BTreeMap<NodeId, Vec<Address>> =
            self.leaving.iter().map(|(id, (addresses, _))| (*id, addresses.clone())).collect();
        for (id, member) in self.contacts.members.iter().chain(&self.roster.members) {
            if !self.roster.removed.contains(id) {
                peers.insert(*id, addresses(&member.peer_urls));
            }
        }
        if let Err(error) = network.set_peers(&peers) {
            tracing::error!(%error, "cannot start a thread for a peer; tried again when the members change");
        }
    }

    /// What to change in raft's membership, if this member leads, and can. Publishes which learners hold nearly
    /// the whole log.
    pub(super) fn next_change(&self, shared: &Shared, raft: &Raft) -> Option<MembershipChange> {
        let membership = raft.membership();
        if raft.role() == Role::Leader && !membership.learners.is_empty() {
            let last = raft.last_index();
            // Nine tenths of the log: as etcd.
            let close = |id: &NodeId, matched: LogIndex| {
                membership.learners.contains(id) && u128::from(matched.0) * 10 >= u128::from(last.0) * 9
            };
            let caught_up: BTreeSet<NodeId> = raft
                .progress()
                .filter(|(id, progress)| close(id, progress.matched))
                .map(|(id, _)| id)
                .collect();
            *shared.caught_up.lock() = caught_up;
        }
        cluster::change_to_propose(&self.roster, raft)
    }

    /// Whether this member was removed, has no duty left, and should stop.
    pub(super) fn is_over(&mut self, shared: &Shared, raft: &Raft) -> bool {
        let removed = self.roster.removed.contains(&self.own) && raft.role() != Role::Leader;
        let is_out = !raft.membership().contains(self.own);
        if !removed || !(is_out || raft.leader().is_none()) {
            self.out_since = None;
            return false;
        }
        let since = *self.out_since.get_or_insert_with(Instant::now);
        let patience = if is_out { 1 } else { LEADERLESS_ELECTIONS };
        since.elapsed() >= patience * shared.options.election
    }
}

/// Where the owner of these URLs is called.
pub(super) fn addresses(urls: &[String]) -> Vec<Address> {
    urls.iter().map(|url| Address::of_url(url)).collect()
}
