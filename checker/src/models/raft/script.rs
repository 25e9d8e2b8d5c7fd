//! Counterexamples as scripts in the language of the core's golden scripts.
//!
//! ```text
//! # what breaks
//! cluster nodes=3 pre_vote=false check_quorum=false
//! hold 1 sync=true               turns that must reach the disk wait for `persist`
//! campaign 1
//! receive 1 2 1                  the first message that n1 ever sent to n2 arrives (again)
//! persist 1 1
//! crash 1
//! restart 1
//! propose 1 7
//! read 1 0
//! ```

use super::{Act, Action, Bounds, Counterexample, Named, Reconfiguration, Replay, Replayed};
use raft::NodeId;
use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

/// A script, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Bounds that allow what it does.
    pub bounds: Bounds,
    /// Its commands, as the model's actions would be chosen: messages by link and number.
    commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq)]
enum Command {
    Receive {
        from: NodeId,
        to: NodeId,
        number: usize,
    },
    Do(Action),
    /// The disk waits, or no longer: then everything that waited is written.
    Hold(NodeId, bool),
}

/// Why a text is no script of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Writes a counterexample as a script.
    pub fn write(bounds: &Bounds, counterexample: &Counterexample) -> String {
        let mut text = format!(
            "# {}\n# Found by: assay model {}\n",
            counterexample.broken.to_string().lines().next().unwrap_or_default(),
            bounds.flags()
        );
        let batches = if bounds.batches { "" } else { " append_bytes=1" };
        let _ = writeln!(
            text,
            "cluster nodes={} pre_vote={} check_quorum=false{batches}",
            bounds.nodes, bounds.pre_vote
        );
        let slow = bounds.slow_disk && bounds.crashes > 0;
        if slow {
            (1..=bounds.nodes).for_each(|id| text += &format!("hold {id} sync=true\n"));
        }
        // In a script every write waits: what did not wait in the search is let go at once.
        let mut replay = Replay::new(&Bounds { unheard: true, ..bounds.clone() });
        let mut searched = Replay::new(bounds);
        let mut held: BTreeSet<NodeId> =
            if slow { (1..=bounds.nodes).map(NodeId).collect() } else { BTreeSet::new() };
        for action in &counterexample.actions {
            text += &line_of(&replay, action);
            replay.step(action);
            searched.step(action);
            let persist = Action { node: action.node, act: Act::Persist };
            while replay.unsaved(action.node) > searched.unsaved(action.node) {
                text += &line_of(&replay, &persist);
                replay.step(&persist);
            }
            if action.act == Act::Reboot {
                held.remove(&action.node);
                if replay.is_slow(action.node) {
                    text += &format!("hold {} sync=true\n", action.node.0);
                    held.insert(action.node);
                }
            }
            for id in held.clone().into_iter().filter(|id| !replay.is_slow(*id) && replay.unsaved(*id) == 0) {
                text += &format!("persist {}\n", id.0);
                held.remove(&id);
            }
        }
        text
    }

    /// Reads a script. What a golden script may hold beyond the model's actions is refused.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Script, ScriptError> {
        let mut script = Script { bounds: Named::Smoke.bounds(), commands: Vec::new() };
        script.bounds.terms = 60;
        let mut output = false;
        let mut begun = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            output = if line == "---" { true } else { output && !line.is_empty() };
            // `!` expects a refusal: a core without the mistake never sent the message that arrives.
            let line = line.trim_start_matches(['(', '!']).trim_end_matches(')');
            if output || line.is_empty() {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let fault = |why: String| ScriptError { line: number, why };
            if words[0] == "cluster" {
                script.cluster(&words[1..]).map_err(fault)?;
                begun = true;
            } else if !begun {
                return Err(fault("a script begins with `cluster nodes=N`".into()));
            } else {
                script.command(&words).map_err(fault)?;
            }
        }
        Ok(script)
    }

    /// Takes over the mistake of the core that these bounds name: a script names none.
    pub fn keep_mutation(&mut self, bounds: &Bounds) {
        #[cfg(feature = "plant")]
        {
            self.bounds.mutation = bounds.mutation;
        }
        #[cfg(not(feature = "plant"))]
        let _ = bounds;
    }

    fn cluster(&mut self, words: &[&str]) -> Result<(), String> {
        for word in words {
            match word.split_once('=') {
                Some(("nodes", value)) => self.bounds.nodes = number(value)?,
                Some(("pre_vote", value)) => self.bounds.pre_vote = value == "true",
                Some(("append_bytes", "1")) => self.bounds.batches = false,
                Some(("check_quorum", "false")) => {}
                _ => return Err(format!("the model has no `{word}`")),
            }
        }
        self.bounds.validate().map_err(|errors| errors.join("; "))
    }

    fn command(&mut self, words: &[&str]) -> Result<(), String> {
        let id = |at: usize| -> Result<NodeId, String> {
            let id = number(words.get(at).ok_or("a node is missing")?)?;
            if (1..=self.bounds.nodes).contains(&id) { Ok(NodeId(id)) } else { Err(format!("no node {id}")) }
        };
        let arg = |at: usize| -> Result<u64, String> { number(words.get(at).ok_or("a number is missing")?) };
        let small = |at: usize| -> Result<u8, String> {
            arg(at)?.try_into().map_err(|_| "the model's numbers are below 256".into())
        };
        let act = match words[0] {
            "receive" => {
                let number = usize::try_from(arg(3)?).map_err(|error| error.to_string())?;
                self.commands.push(Command::Receive { from: id(1)?, to: id(2)?, number });
                return Ok(());
            }
            "hold" => {
                self.commands.push(Command::Hold(id(1)?, true));
                return Ok(());
            }
            "persist" if words.len() == 2 => {
                self.commands.push(Command::Hold(id(1)?, false));
                return Ok(());
            }
            "restart" | "status" | "log" | "progress" => return Ok(()),
            "crash" => Act::Reboot,
            "campaign" => Act::Campaign,
            "persist" => Act::Persist,
            "propose" => Act::Put { client: 100 + small(2)?, value: small(2)? },
            "read" => Act::Read { client: small(2)? },
            "snapshot" => Act::Snapshot,
            "transfer" => Act::Transfer(id(2)?),
            "tick" => Act::Beat,
            "change" => match words.get(2).and_then(|word| word.split_once('=')) {
                Some(("remove", node)) => Act::Reconfigure(Reconfiguration::Remove(NodeId(number(node)?))),
                Some(("voters", node)) => Act::Reconfigure(Reconfiguration::Add(NodeId(number(node)?))),
                Some(("learners", node)) => Act::Reconfigure(Reconfiguration::Demote(NodeId(number(node)?))),
                _ => return Err("a change names `remove=`, `voters=` or `learners=`".into()),
            },
            other => return Err(format!("the model has no command `{other}`")),
        };
        self.commands.push(Command::Do(Action { node: id(1)?, act }));
        Ok(())
    }

    /// Carries the script out: each action that is possible with what it did, up to the first that breaks a
    /// promise.
    pub fn play(&self) -> (Vec<(Action, Replayed)>, Replay) {
        let mut replay = Replay::with_quick_disks(&self.bounds);
        let mut done = Vec::new();
        for command in &self.commands {
            match command {
                Command::Do(action) => done.extend(step(&mut replay, action.clone())),
                Command::Receive { from, to, number } => {
                    let sent = number.checked_sub(1).and_then(|at| replay.link(*from, *to).get(at));
                    let Some(message) = sent.cloned() else { continue };
                    done.extend(step(&mut replay, Action { node: *to, act: Act::Receive(message) }));
                }
                Command::Hold(id, true) => replay.hold(*id, true),
                Command::Hold(id, false) => {
                    replay.hold(*id, false);
                    while replay.unsaved(*id) > 0 {
                        done.extend(step(&mut replay, Action { node: *id, act: Act::Persist }));
                    }
                }
            }
            if done.last().is_some_and(|(_, replayed)| replayed.broken.is_some()) {
                break;
            }
        }
        (done, replay)
    }
}

fn step(replay: &mut Replay, action: Action) -> Option<(Action, Replayed)> {
    replay.step(&action).map(|replayed| (action, replayed))
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn line_of(replay: &Replay, action: &Action) -> String {
    let id = action.node.0;
    match &action.act {
        Act::Receive(message) => {
            let sent = replay.link(message.from, message.to);
            let number = sent.iter().position(|known| known == message).map_or(0, |at| at + 1);
            format!("receive {} {} {number}\n", message.from.0, message.to.0)
        }
        Act::Campaign => format!("campaign {id}\n"),
        Act::Persist => format!("persist {id} 1\n"),
        Act::Reboot => format!("crash {id}\nrestart {id}\n"),
        Act::Put { value, .. } => format!("propose {id} {value}\n"),
        Act::Read { client } => format!("read {id} {client}\n"),
        Act::Snapshot => format!("snapshot {id} index={}\n", replay.applied(action.node)),
        Act::Reconfigure(Reconfiguration::Remove(node)) => format!("change {id} remove={}\n", node.0),
        Act::Reconfigure(Reconfiguration::Add(node)) => format!("change {id} voters={}\n", node.0),
        Act::Reconfigure(Reconfiguration::Demote(node)) => format!("change {id} learners={}\n", node.0),
        Act::Transfer(to) => format!("transfer {id} {}\n", to.0),
        Act::Beat => format!("tick {id}\n"),
    }
}
