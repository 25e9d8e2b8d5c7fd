//! The language of the scripts.

use super::{cluster::Cluster, format};
use raft::{Config, Durable, Input, LogIndex, Membership, MembershipChange, NodeId, ReadId};
use std::{collections::BTreeSet, error::Error, str::FromStr};

/// Ids, as in `1,2,3`.
#[derive(Clone, Debug, Default)]
struct Ids(BTreeSet<NodeId>);

impl FromStr for Ids {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Ids, Self::Err> {
        text.split(',').map(|id| id.parse().map(NodeId)).collect::<Result<_, _>>().map(Ids)
    }
}

#[derive(goldenscript::Command)]
enum Command {
    /// Starts nodes 1 to `nodes`. The defaults are those of `Config::new`, but a long election timeout.
    Cluster {
        #[arg(key)]
        nodes: u64,
        #[arg(key)]
        learners: Option<Ids>,
        #[arg(key)]
        pre_vote: Option<bool>,
        #[arg(key)]
        check_quorum: Option<bool>,
        #[arg(key)]
        election: Option<u32>,
        #[arg(key)]
        append_bytes: Option<usize>,
        #[arg(key)]
        window: Option<usize>,
        #[arg(key)]
        uncommitted_bytes: Option<usize>,
    },
    /// Starts a node with an empty disk.
    Join(u64),
    /// The node campaigns.
    Campaign(u64),
    /// The node campaigns, and everything settles.
    Elect(u64),
    /// Ticks go by at a node: one, or as many as given.
    Tick(u64, Option<u32>),
    /// Commands are proposed at a node, in one turn.
    Propose(u64, #[arg(many)] Vec<String>),
    /// Reads with these numbers are asked for at a node, in one turn.
    Read(u64, #[arg(many)] Vec<u64>),
    /// A change of membership is proposed at a node.
    Change {
        node: u64,
        #[arg(key)]
        voters: Option<Ids>,
        #[arg(key)]
        learners: Option<Ids>,
        #[arg(key)]
        remove: Option<Ids>,
    },
    /// The first node is to hand leadership to the second.
    Transfer(u64, u64),
    /// Messages under way arrive, all or those chosen; answers stay under way.
    Deliver {
        #[arg(key)]
        from: Option<u64>,
        #[arg(key)]
        to: Option<u64>,
        #[arg(key)]
        count: Option<usize>,
    },
    /// Everything arrives until nothing is under way.
    Settle,
    /// Messages under way are lost, all or those chosen.
    Lose {
        #[arg(key)]
        from: Option<u64>,
        #[arg(key)]
        to: Option<u64>,
    },
    /// Messages under way on a link are doubled.
    Double(u64, u64),
    /// Messages under way on a link change their order.
    Reverse(u64, u64),
    /// The node's links are cut; with `to`, only the one to that node, one way.
    Cut {
        node: u64,
        #[arg(key)]
        to: Option<u64>,
    },
    /// All links work again.
    Heal,
    /// A message that was sent once arrives, by its number on the link; it stays under way as it is.
    Receive(u64, u64, usize),
    /// The node's disk waits for `persist`; with `sync`, only from a turn on that must reach the disk.
    Hold {
        node: u64,
        #[arg(key)]
        sync: Option<bool>,
    },
    /// The node's disk writes what waits: as many turns as given, or all, and from then on at once.
    Persist(u64, Option<usize>),
    /// The node loses what is not durable.
    Crash(u64),
    /// The node starts from its disk.
    Restart(u64),
    /// A state image is taken.
    Snapshot {
        node: u64,
        #[arg(key)]
        index: u64,
        #[arg(key)]
        keep: Option<u64>,
    },
    /// The first node is told that the second cannot be reached.
    Unreachable(u64, u64),
    /// A line for each node, or for those given.
    Status(#[arg(many, optional)] Vec<u64>),
    /// A node's log.
    Log(u64),
    /// What a leader knows of its peers.
    Progress(u64),
}

#[derive(Default)]
pub struct Runner {
    cluster: Cluster,
    #[cfg(feature = "plant")]
    mutation: Option<raft::Mutation>,
}

impl TryFrom<&goldenscript::Command> for Step {
    type Error = Box<dyn Error>;

    fn try_from(command: &goldenscript::Command) -> Result<Step, Self::Error> {
        Command::try_from(command).map(Step)
    }
}

/// One command of a script.
pub struct Step(Command);

impl goldenscript::Runner for Runner {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        self.act(&step.0)?;
        let mut text = String::new();
        for line in self.cluster.lines.drain(..) {
            text += &line;
            text.push('\n');
        }
        Ok(text)
    }

    fn end_script(&mut self) -> Result<(), Box<dyn Error>> {
        Ok(self.cluster.check_agreement()?)
    }
}

impl Runner {
    /// Lets the nodes make a mistake.
    #[cfg(feature = "plant")]
    pub fn plant(&mut self, mutation: Option<raft::Mutation>) {
        self.mutation = mutation;
    }

    fn act(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        let cluster = &mut self.cluster;
        match command {
            Command::Cluster { .. } => self.start(command),
            Command::Join(id) => {
                let config = Config { id: NodeId(*id), ..cluster.config()? };
                cluster.add(config, Durable::default())
            }
            Command::Campaign(id) => cluster.step_all(NodeId(*id), [Input::Campaign]),
            Command::Elect(id) => {
                cluster.step_all(NodeId(*id), [Input::Campaign])?;
                cluster.settle()
            }
            Command::Tick(id, count) => {
                (0..count.unwrap_or(1)).try_for_each(|_| cluster.step_all(NodeId(*id), [Input::Tick]))
            }
            Command::Propose(id, commands) => {
                let inputs = commands.iter().map(|command| Input::Propose(command.clone().into()));
                cluster.step_all(NodeId(*id), inputs)
            }
            Command::Read(id, numbers) => {
                let inputs = numbers.iter().map(|number| Input::Read(ReadId(*number)));
                cluster.step_all(NodeId(*id), inputs)
            }
            Command::Change { node, voters, learners, remove } => {
                let ids = |ids: &Option<Ids>| ids.clone().unwrap_or_default().0;
                let change = MembershipChange {
                    add_voters: ids(voters),
                    add_learners: ids(learners),
                    remove: ids(remove),
                };
                let input = Input::ProposeMembership { change, context: "".into() };
                cluster.step_all(NodeId(*node), [input])
            }
            Command::Transfer(id, to) => cluster.step_all(NodeId(*id), [Input::Transfer(NodeId(*to))]),
            Command::Crash(id) => cluster.crash(NodeId(*id)),
            Command::Restart(id) => cluster.restart(NodeId(*id)),
            Command::Snapshot { node, index, keep } => {
                cluster.snapshot(NodeId(*node), LogIndex(*index), keep.unwrap_or(0))
            }
            Command::Unreachable(id, peer) => {
                cluster.step_all(NodeId(*id), [Input::Unreachable(NodeId(*peer))])
            }
            Command::Receive(from, to, number) => cluster.receive((NodeId(*from), NodeId(*to)), *number),
            Command::Hold { node, sync } => {
                let server = cluster.server(NodeId(*node))?;
                (server.held, server.held_for_sync) = (true, sync.unwrap_or(false));
                Ok(())
            }
            Command::Persist(id, Some(turns)) => {
                (0..*turns).try_for_each(|_| cluster.persist_one(NodeId(*id)))?;
                cluster.finish_turns(NodeId(*id))
            }
            Command::Persist(id, None) => {
                cluster.server(NodeId(*id))?.held = false;
                cluster.persist(NodeId(*id))
            }
            Command::Deliver { from, to, count } => {
                cluster.deliver(links(*from, *to), count.unwrap_or(usize::MAX))
            }
            Command::Settle => cluster.settle(),
            Command::Lose { from, to } => cluster.lose(links(*from, *to)),
            Command::Double(from, to) => {
                let queue = cluster.network.entry((NodeId(*from), NodeId(*to))).or_default();
                queue.extend(queue.clone());
                Ok(())
            }
            Command::Reverse(from, to) => {
                let queue = cluster.network.entry((NodeId(*from), NodeId(*to))).or_default();
                queue.make_contiguous().reverse();
                Ok(())
            }
            Command::Cut { node, to } => {
                let node = NodeId(*node);
                let cut = |&peer: &NodeId| match to {
                    Some(to) => vec![(node, NodeId(*to))],
                    None => vec![(node, peer), (peer, node)],
                };
                cluster.cut.extend(cluster.servers.keys().flat_map(cut));
                Ok(())
            }
            Command::Heal => {
                cluster.cut.clear();
                Ok(())
            }
            Command::Status(ids) => {
                let chosen = |id: &NodeId| ids.is_empty() || ids.contains(&id.0);
                let servers = cluster.servers.iter().filter(|(id, _)| chosen(id));
                cluster.lines.extend(servers.map(|(id, server)| match &server.raft {
                    Some(raft) => raft.view().to_string(),
                    None => format!("{id} is down"),
                }));
                Ok(())
            }
            Command::Log(id) => {
                let lines = format::log(cluster.raft(NodeId(*id))?.log());
                cluster.lines.extend(lines);
                Ok(())
            }
            Command::Progress(id) => {
                let progress = cluster.raft(NodeId(*id))?.progress();
                let lines: Vec<String> = progress.map(|(id, peer)| format::progress(id, peer)).collect();
                cluster.lines.extend(lines);
                Ok(())
            }
        }
    }

    fn start(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        let Command::Cluster {
            nodes,
            learners,
            pre_vote,
            check_quorum,
            election,
            append_bytes,
            window,
            uncommitted_bytes,
        } = command
        else {
            return Err("this starts no cluster".into());
        };
        let default = Config::new(NodeId(1), 1);
        let config = Config {
            election_ticks: election.unwrap_or(default.election_ticks),
            pre_vote: pre_vote.unwrap_or(default.pre_vote),
            check_quorum: check_quorum.unwrap_or(default.check_quorum),
            max_append_bytes: append_bytes.unwrap_or(default.max_append_bytes),
            max_inflight: window.unwrap_or(default.max_inflight),
            max_uncommitted_bytes: uncommitted_bytes.unwrap_or(default.max_uncommitted_bytes),
            #[cfg(feature = "plant")]
            mutation: self.mutation,
            ..default
        };
        let learners = learners.clone().unwrap_or_default().0;
        let voters = (1..=*nodes).map(NodeId).filter(|id| !learners.contains(id));
        let membership = Membership { learners: learners.clone(), ..Membership::of_voters(voters) };
        self.cluster.start(config, &membership)
    }
}

/// The links from one node, to one node, or both; all where neither is given.
fn links(from: Option<u64>, to: Option<u64>) -> impl Fn((NodeId, NodeId)) -> bool {
    move |link| from.is_none_or(|from| link.0.0 == from) && to.is_none_or(|to| link.1.0 == to)
}
