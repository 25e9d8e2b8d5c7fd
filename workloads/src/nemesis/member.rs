//! Who is a member, and who leads, is changed.
//!
//! `move-leader`: the leader hands over to another. `shrink`: a member is removed, and a new one without data is
//! added in its place when the fault ends. `replace`: the same at once. `learner`: the new one is added as a
//! learner first, and promoted when the fault ends. In the end there are as many voters as before.
//!
//! Proof: the list of members, as another member tells it, or who leads afterwards. Every cluster can do it,
//! where the system can.

use super::{
    Change, Target, kill,
    strike::{Active, FaultError, Scene, Strike, Undoing, merged},
};
use crate::cluster::NodeIndex;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tonic::Status;

/// How long a change may be refused, for want of a leader or of a learner's having caught up.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);

/// A node that is out, or on its way back.
#[derive(Debug)]
struct Outsider {
    node: NodeIndex,
    /// Whom to ask.
    by: NodeIndex,
    /// Whether it comes back as a learner.
    learner: bool,
    /// Its new identity, once it has one.
    added: Option<u64>,
}

/// Nothing to undo.
#[derive(Debug)]
struct Done;

impl Active for Done {
    fn undo<'a>(&'a mut self, _scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async { Ok(json!({})) })
    }
}

impl Active for Outsider {
    fn undo<'a>(&'a mut self, scene: &'a Scene) -> Undoing<'a> {
        Box::pin(async move {
            let (cluster, node, by) = (&scene.cluster, self.node, self.by);
            if self.added.is_none() {
                self.learner = false;
                self.come_back(scene).await?;
            }
            let revived = kill::revive(cluster, node, &*scene.others_active).await?;
            if self.learner {
                let id = self.added.unwrap_or_default();
                persist(|| cluster.promote_member(by, id)).await.map_err(not_undone("promoting", node))?;
            }
            let members = cluster.members(by).await.map_err(not_undone("listing members beside", node))?;
            let voters = members.iter().filter(|member| !member.is_learner).count();
            if voters != cluster.nodes().len() {
                return Err(FaultError::NotUndone(format!("there are {voters} voters")));
            }
            Ok(json!({node.to_string(): revived, "voters": voters}))
        })
    }
}

impl Outsider {
    /// Has the node join anew, without data.
    async fn come_back(&mut self, scene: &Scene) -> Result<(), FaultError> {
        let (cluster, node) = (&scene.cluster, self.node);
        // It may still be a member, where its removal failed.
        if member_id(scene, self.by, node).await.is_ok_and(|id| id.is_some()) {
            self.added = Some(0);
            cluster.start_node(node).await?;
            return Ok(());
        }
        cluster.kill(node).await?;
        cluster.wipe(node).await?;
        let (by, learner) = (self.by, self.learner);
        let add = || async move {
            match cluster.add_member(by, node, learner).await {
                // One without an answer may have come about all the same.
                Err(error) => member_id(scene, by, node).await?.ok_or(error),
                Ok(id) => Ok(id),
            }
        };
        let id = persist(add).await.map_err(not_undone("adding", node))?;
        cluster.know(id, node);
        self.added = Some(id);
        cluster.start_node(node).await?;
        Ok(())
    }
}

fn not_undone(doing: &'static str, node: NodeIndex) -> impl FnOnce(Status) -> FaultError {
    move |error| FaultError::NotUndone(format!("{doing} {node}: {}", error.message()))
}

/// Asks until it is granted, for at most [`CHANGE_TIMEOUT`].
async fn persist<T, F: Future<Output = Result<T, Status>>>(ask: impl Fn() -> F) -> Result<T, Status> {
    let start = Instant::now();
    loop {
        match ask().await {
            Err(_) if start.elapsed() < CHANGE_TIMEOUT => sleep(Duration::from_millis(200)).await,
            outcome => return outcome,
        }
    }
}

/// The identity of a node, as another member knows it.
async fn member_id(scene: &Scene, by: NodeIndex, node: NodeIndex) -> Result<Option<u64>, Status> {
    let url = &scene.cluster.node(node).peer_url;
    let members = scene.cluster.members(by).await?;
    Ok(members.iter().find(|member| member.peer_ur_ls.contains(url)).map(|member| member.id))
}

/// Changes something about members.
pub(super) async fn strike(scene: &mut Scene, change: Change) -> Result<Option<Strike>, FaultError> {
    if change == Change::Leader {
        return hand_over(scene).await;
    }
    let Some(&node) = scene.take(Target::One).first() else { return Ok(None) };
    let Some(by) = scene.other_than(&[node]) else { return Ok(None) };
    let act_at = Instant::now();
    let mut outsider = Outsider { node, by, learner: change == Change::Learner, added: None };
    let proof = async {
        let proof = remove(scene, by, node).await?;
        if change != Change::Shrink {
            outsider.come_back(scene).await?;
        }
        Ok(proof)
    };
    let proof = proof.await;
    let detail = json!({"nodes": [node.to_string()], "asked": by.to_string()});
    Ok(Some(Strike { active: Box::new(outsider), detail, act_at, proof }))
}

async fn remove(scene: &Scene, by: NodeIndex, node: NodeIndex) -> Result<Value, FaultError> {
    let cluster = &scene.cluster;
    let failed = |doing: &'static str| {
        move |error: Status| FaultError::NotProved(format!("{doing} {node}: {}", error.message()))
    };
    let id = member_id(scene, by, node).await.map_err(failed("looking for"))?;
    let Some(id) = id else { return Err(FaultError::NotProved(format!("{node} is no member"))) };
    // A member that is removed ends by itself.
    cluster.expect_end(node).await;
    let remove = || async move {
        match cluster.remove_member(by, id).await {
            Err(error) if member_id(scene, by, node).await?.is_some() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    };
    persist(remove).await.map_err(failed("removing"))?;
    let left = member_id(scene, by, node).await.map_err(failed("looking for"))?;
    if left.is_some() {
        return Err(FaultError::NotProved(format!("{node} is still a member")));
    }
    let ended = match cluster.kill(node).await? {
        Some(end) => Some(end.status),
        None => cluster.expected_end(node).await.map(|end| end.status),
    };
    Ok(json!({node.to_string(): {"removed": format!("{id:x}"), "ended": ended}}))
}

async fn hand_over(scene: &mut Scene) -> Result<Option<Strike>, FaultError> {
    let Some(leader) = scene.view.leader else { return Ok(None) };
    let Some(&to) = scene.take(Target::Follower).first() else { return Ok(None) };
    let cluster = &scene.cluster;
    let status = cluster.status(to).await;
    let to_id =
        status.map_err(|error| FaultError::NotProved(format!("{to} does not answer: {error}")))?.member_id;
    let act_at = Instant::now();
    let asked = cluster.move_leader(leader, to_id).await;
    let start = Instant::now();
    let proof = loop {
        if cluster.leader().await == Some(to) {
            break Ok(json!({"leader_now": to.to_string()}));
        }
        if start.elapsed() > Duration::from_secs(5) {
            let said = asked.as_ref().err().map_or("it agreed", |error| error.message());
            break Err(FaultError::NotProved(format!("{leader} does not hand over to {to}: {said}")));
        }
        sleep(Duration::from_millis(20)).await;
    };
    let detail = merged(json!({"nodes": [to.to_string()]}), json!({"from": leader.to_string()}));
    Ok(Some(Strike { active: Box::new(Done), detail, act_at, proof }))
}
