//! What a member does about leases beside keeping them: ends those that ran out, renews them, and asks the
//! leader about them. Written against [`Office`], so that the node and the simulator run the same.

use crate::{
    error::ApiError,
    lease::{LeaseTime, Lessor, Renewal},
    proto::internal::{LeaseAnswer, LeaseExpire, LeaseQuery, LeaseTime as WireTime, command::Request},
};
use raft::types::{NodeId, Term};
use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Leases that one command ends.
const EXPIRE_MAX: usize = 512;

/// A member, as leases need it.
pub trait Office: Sync {
    /// The term that this member leads, as far as it knows.
    fn leading(&self) -> Option<Term>;

    /// The time, which never goes back.
    fn now(&self) -> Instant;

    /// The lessor of the term that this member leads, which it is made if it is not yet.
    fn in_office<T>(&self, term: Term, act: impl FnOnce(&mut Lessor) -> T) -> T;

    /// The lessor, whatever it is.
    fn lessor<T>(&self, act: impl FnOnce(&mut Lessor) -> T) -> T;

    /// Returns once a majority has confirmed that this member led after the call.
    fn confirm(&self) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Replicates a command in the server's own name.
    fn replicate(&self, request: Request) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Returns a moment later.
    ///
    /// # Errors
    /// [`ApiError::Stopped`].
    fn pause(&self) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Returns a leader other than this member as soon as any is known; `None` if it is this member.
    ///
    /// # Errors
    /// [`ApiError::NoLeader`] if there is none for too long, [`ApiError::Stopped`].
    fn leader_elsewhere(&self) -> impl Future<Output = Result<Option<NodeId>, ApiError>> + Send;

    /// Asks a member. `None` if it does not answer in time.
    fn ask(&self, leader: NodeId, query: LeaseQuery) -> impl Future<Output = Option<LeaseAnswer>> + Send;
}

/// Leases that were found to have run out.
#[derive(Debug)]
#[must_use = "nobody can renew them until they are ended or given back"]
pub struct Expired {
    term: Term,
    ids: Vec<i64>,
}

/// Looks which leases have run out, if this member leads; `None` if none has. To be called again only once
/// those found before are [ended](Expired::end).
pub fn expired<O: Office>(office: &O) -> Option<Expired> {
    let Some(term) = office.leading() else {
        office.lessor(Lessor::demote);
        return None;
    };
    let now = office.now();
    let ids = office.in_office(term, |lessor| lessor.take_expired(now, EXPIRE_MAX));
    (!ids.is_empty()).then_some(Expired { term, ids })
}

impl Expired {
    /// Ends them.
    pub async fn end<O: Office>(self, office: &O) {
        let Expired { term, mut ids } = self;
        while !ids.is_empty() {
            let expire = LeaseExpire { term: term.0, ids: ids.clone() };
            match office.replicate(Request::LeaseExpire(expire)).await {
                Ok(()) => tracing::debug!(leases = ids.len(), "leases ran out"),
                // Surely not proposed.
                Err(ApiError::NoLeader | ApiError::TooManyRequests) => {
                    office.lessor(|lessor| lessor.give_back(&ids));
                    return;
                }
                // Nobody knows: as long as this member leads they may yet end, so nobody may renew them.
                Err(error) => {
                    tracing::debug!(?error, leases = ids.len(), "cannot tell whether leases were ended");
                    return;
                }
            }
            // More may have run out at once than one command ends.
            let full = ids.len() == EXPIRE_MAX && office.leading() == Some(term);
            let now = office.now();
            ids = if full {
                office.in_office(term, |lessor| lessor.take_expired(now, EXPIRE_MAX))
            } else {
                Vec::new()
            };
        }
    }
}

/// Answers a peer's question.
pub async fn answer<O: Office>(office: &O, query: LeaseQuery) -> LeaseAnswer {
    let LeaseQuery { renew, ids } = query;
    let times = match office.leading() {
        Some(term) => times_here(office, term, &ids, renew).await.ok().flatten(),
        None => None,
    };
    let wire = |time: Option<LeaseTime>| {
        time.map_or_else(WireTime::default, |time| WireTime {
            granted_ttl_s: time.granted_ttl_s,
            remaining_ms: i64::try_from(time.remaining.as_millis()).unwrap_or(i64::MAX),
        })
    };
    LeaseAnswer { leads: times.is_some(), leases: times.unwrap_or_default().into_iter().map(wire).collect() }
}

/// What is left of leases; see `Backend::lease_times`. Bounded by the
/// caller's patience alone.
///
/// # Errors
/// As there.
pub async fn times<O: Office>(
    office: &O,
    ids: &[i64],
    renew: bool,
) -> Result<Vec<Option<LeaseTime>>, ApiError> {
    loop {
        let times = match office.leading() {
            Some(term) => times_here(office, term, ids, renew).await?,
            None => match office.leader_elsewhere().await? {
                Some(leader) => times_of(office, leader, ids, renew).await,
                None => None,
            },
        };
        if let Some(times) = times {
            return Ok(times);
        }
        office.pause().await?;
    }
}

/// Looks here, as the leader of `term`. `None` if this member turns out not to lead it.
async fn times_here<O: Office>(
    office: &O,
    term: Term,
    ids: &[i64],
    renew: bool,
) -> Result<Option<Vec<Option<LeaseTime>>>, ApiError> {
    // A majority confirms the leadership after the question came. Where this member had ceased to lead
    // meanwhile it would not lead the same term again.
    #[cfg(feature = "plant")]
    let unconfirmed = crate::plant::is(crate::plant::Plant::RenewedUnconfirmed);
    #[cfg(not(feature = "plant"))]
    let unconfirmed = false;
    if !unconfirmed {
        office.confirm().await?;
    }
    let mut times = vec![None; ids.len()];
    let mut open: Vec<usize> = (0..ids.len()).collect();
    loop {
        if office.leading() != Some(term) {
            return Ok(None);
        }
        let now = office.now();
        let still_open = office.in_office(term, |lessor| {
            let mut still_open = Vec::new();
            for at in std::mem::take(&mut open) {
                let id = ids[at];
                if renew {
                    match lessor.renew(term.0, id, now) {
                        Renewal::NotLeader => return None,
                        Renewal::Unknown | Renewal::Renewed { .. } => {}
                        Renewal::Ending => still_open.push(at),
                    }
                }
                times[at] = lessor
                    .remaining(id, now)
                    .map(|(granted_ttl_s, remaining)| LeaseTime { granted_ttl_s, remaining });
            }
            Some(still_open)
        });
        match still_open {
            None => return Ok(None),
            Some(none) if none.is_empty() => return Ok(Some(times)),
            // They have run out, and their end is under way: most likely they will be gone in a moment.
            Some(some) => open = some,
        }
        office.pause().await?;
    }
}

/// Asks the leader. `None` if it does not answer in time, or does not lead.
async fn times_of<O: Office>(
    office: &O,
    leader: NodeId,
    ids: &[i64],
    renew: bool,
) -> Option<Vec<Option<LeaseTime>>> {
    let answer = office.ask(leader, LeaseQuery { renew, ids: ids.to_vec() }).await?;
    if !answer.leads || answer.leases.len() != ids.len() {
        return None;
    }
    let time = |time: WireTime| {
        (time.granted_ttl_s != 0).then(|| LeaseTime {
            granted_ttl_s: time.granted_ttl_s,
            remaining: Duration::from_millis(u64::try_from(time.remaining_ms).unwrap_or(0)),
        })
    };
    Some(answer.leases.into_iter().map(time).collect())
}
