//! One line for each thing that happens.

use raft::{
    Body, Entry, Message, NodeId, Payload, SnapshotMeta, Write,
    log::Log,
    progress::{Progress, ProgressState},
};

pub fn entry(entry: &Entry) -> String {
    let payload = match &entry.payload {
        Payload::Empty => "-".to_string(),
        Payload::Command(command) => String::from_utf8_lossy(command).into_owned(),
        Payload::Membership { membership, .. } => membership.to_string(),
    };
    format!("{}@{} {payload}", entry.index, entry.term)
}

pub fn entries(entries: &[Entry]) -> String {
    let entries: Vec<String> = entries.iter().map(entry).collect();
    format!("[{}]", entries.join(", "))
}

fn image(meta: &SnapshotMeta) -> String {
    format!("{}@{} {}", meta.index, meta.term, meta.membership)
}

pub fn message(message: &Message) -> String {
    let Message { from, to, term, body } = message;
    let answer = |granted: &bool| if *granted { "granted" } else { "refused" };
    let body = match body {
        Body::PreVote { last_index, last_term } => {
            format!("PreVote term={term} last={last_index}@{last_term}")
        }
        Body::PreVoteReply { granted } => format!("PreVoteReply term={term} {}", answer(granted)),
        Body::Vote { last_index, last_term, transfer } => {
            let transfer = if *transfer { " transfer" } else { "" };
            format!("Vote term={term} last={last_index}@{last_term}{transfer}")
        }
        Body::VoteReply { granted } => format!("VoteReply term={term} {}", answer(granted)),
        Body::Append { prev_index, prev_term, entries: sent, commit } => {
            format!("Append term={term} prev={prev_index}@{prev_term} {} commit={commit}", entries(sent))
        }
        Body::Appended { matched } => format!("Appended term={term} matched={matched}"),
        Body::AppendRejected { prev_index, hint_index, hint_term } => {
            format!("AppendRejected term={term} prev={prev_index} hint={hint_index}@{hint_term}")
        }
        Body::Heartbeat { commit, round } => format!("Heartbeat term={term} commit={commit} round={round}"),
        Body::HeartbeatReply { round } => format!("HeartbeatReply term={term} round={round}"),
        Body::InstallSnapshot { meta } => format!("InstallSnapshot term={term} image={}", image(meta)),
        Body::TimeoutNow => format!("TimeoutNow term={term}"),
    };
    format!("{from} -> {to} {body}")
}

/// `None` for a mere advance of the commit index, which need not be durable.
pub fn write(id: NodeId, write: &Write) -> Option<String> {
    if !write.must_sync {
        return None;
    }
    let mut line = format!("{id} writes");
    if let Some(meta) = &write.install {
        line += &format!(" image={}", image(meta));
    }
    if !write.entries.is_empty() {
        line += &format!(" {}", entries(&write.entries));
    }
    if let Some(hard_state) = write.hard_state {
        let vote = hard_state.vote.map_or("-".to_string(), |vote| vote.to_string());
        line += &format!(" term={} vote={vote} commit={}", hard_state.term, hard_state.commit);
    }
    Some(line)
}

pub fn log(log: &Log) -> Vec<String> {
    let term = log.term_at(log.base_index()).expect("the base's term is known");
    let base = format!("base {}@{term}", log.base_index());
    std::iter::once(base).chain(log.entries().map(entry)).collect()
}

pub fn progress(id: NodeId, peer: &Progress) -> String {
    let state = match &peer.state {
        ProgressState::Probe { sent: false } => "probes".to_string(),
        ProgressState::Probe { sent: true } => "probes, waits".to_string(),
        ProgressState::Replicate { inflight } => format!("replicates, {} out", inflight.len()),
        ProgressState::Snapshot { index } => format!("gets image {index}"),
    };
    format!("{id} matched={} next={} {state}", peer.matched, peer.next)
}
