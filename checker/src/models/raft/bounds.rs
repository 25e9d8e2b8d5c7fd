//! How far a model goes.

use std::{fmt, str::FromStr};

/// How far a model goes. All counts are over the whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Members, numbered from 1; at most [`Bounds::NODES_MAX`].
    pub nodes: u64,
    /// Largest term.
    pub terms: u64,
    /// Longest log: clients propose nothing beyond it.
    pub log: u64,
    /// Commands that clients propose.
    pub puts: u8,
    /// Linearizable reads that clients ask for.
    pub reads: u8,
    /// Crashes. A node that crashed starts again at once: one that stays down is like one that hears nothing.
    pub crashes: u8,
    /// State images taken.
    pub snapshots: u8,
    /// Changes of membership.
    pub reconfigs: u8,
    /// Leadership transfers asked for.
    pub transfers: u8,
    /// Rounds of heartbeats that leaders send by themselves.
    pub beats: u8,
    /// How many of the newest messages a link holds: older ones are lost. 0: all that were ever sent.
    pub window: u8,
    /// Whether a turn's write is a step of its own while crashes are left, rather than part of the step that
    /// made it.
    pub slow_disk: bool,
    /// Whether, with a slow disk, a write waits too of which nobody has heard anything: no message, nothing applied. A
    /// crash that loses it is like one before which its cause had not come, so little is left out without.
    pub unheard: bool,
    /// Whether a request still arrives once its receiver has left its term for good. It is refused; without, it is
    /// lost, and its sender hears of the newer term by other messages.
    pub late: bool,
    /// Whether elections begin with a pre-vote.
    pub pre_vote: bool,
    /// Whether a message may carry more than one entry.
    pub batches: bool,
    /// A mistake of the core.
    #[cfg(feature = "plant")]
    pub mutation: Option<raft::Mutation>,
}

/// Bounds that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Exhausted in well under a minute on two cores: for every change.
    Smoke,
    /// Exhausted in minutes.
    Standard,
    /// For machines with time and memory to spare; meant to be walked or cut off.
    Deep,
    /// One short leadership after the other, an entry a message: where figure 8 of the Raft paper lies. To be walked.
    Churn,
    /// Voters and learners come and go. To be walked.
    Members,
    /// Five members, so that more than one is no majority yet. To be walked.
    Five,
}

impl Named {
    /// All of them.
    pub const ALL: [Named; 6] =
        [Named::Smoke, Named::Standard, Named::Deep, Named::Churn, Named::Members, Named::Five];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Named::Smoke => "smoke",
            Named::Standard => "standard",
            Named::Deep => "deep",
            Named::Churn => "churn",
            Named::Members => "members",
            Named::Five => "five",
        }
    }

    /// What it stands for.
    pub fn bounds(self) -> Bounds {
        let smoke = Bounds {
            nodes: 3,
            terms: 2,
            log: 8,
            puts: 1,
            reads: 1,
            crashes: 0,
            snapshots: 0,
            reconfigs: 0,
            transfers: 0,
            beats: 0,
            window: 1,
            slow_disk: false,
            unheard: true,
            late: true,
            pre_vote: false,
            batches: true,
            #[cfg(feature = "plant")]
            mutation: None,
        };
        let deep = Bounds {
            terms: 5,
            puts: 3,
            reads: 2,
            crashes: 2,
            snapshots: 1,
            transfers: 1,
            beats: 1,
            window: 0,
            slow_disk: true,
            ..smoke.clone()
        };
        match self {
            Named::Smoke => smoke,
            Named::Standard => {
                Bounds { terms: 3, crashes: 1, slow_disk: true, unheard: false, late: false, ..smoke }
            }
            Named::Deep => deep,
            // No more than it takes: what else might happen would only be in the way.
            Named::Churn => Bounds {
                puts: 0,
                reads: 0,
                crashes: 0,
                snapshots: 0,
                transfers: 0,
                beats: 0,
                slow_disk: false,
                batches: false,
                ..deep
            },
            Named::Members => Bounds { reconfigs: 3, transfers: 0, ..deep },
            Named::Five => Bounds { nodes: 5, puts: 2, transfers: 0, ..deep },
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Named, String> {
        let found = Named::ALL.into_iter().find(|named| named.name() == text);
        let names = Named::ALL.map(Named::name).join(", ");
        found.ok_or_else(|| format!("there is no configuration `{text}`; there are {names}"))
    }
}

impl Bounds {
    /// Largest cluster that is modelled.
    pub const NODES_MAX: u64 = 5;

    /// What makes no sense in these bounds; all of it.
    ///
    /// # Errors
    /// A sentence for each mistake.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        if self.nodes == 0 || self.nodes > Bounds::NODES_MAX {
            errors.push(format!("{} nodes: a model has 1 to {}", self.nodes, Bounds::NODES_MAX));
        }
        if self.terms == 0 || self.terms > 60 {
            errors.push(format!("{} terms: a model has 1 to 60", self.terms));
        }
        if u16::from(self.puts) + u16::from(self.reads) > 20 {
            errors.push(format!("{} operations: a model has at most 20", self.puts + self.reads));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The bounds in the words of the command line.
    pub fn flags(&self) -> String {
        let mut text = format!(
            "--nodes {} --terms {} --log {} --puts {} --reads {} --crashes {} --snapshots {} --reconfigs {} \
             --transfers {} --beats {} --window {} --slow-disk {} --unheard {} --late {} --pre-vote {} --batches {}",
            self.nodes,
            self.terms,
            self.log,
            self.puts,
            self.reads,
            self.crashes,
            self.snapshots,
            self.reconfigs,
            self.transfers,
            self.beats,
            self.window,
            self.slow_disk,
            self.unheard,
            self.late,
            self.pre_vote,
            self.batches,
        );
        #[cfg(feature = "plant")]
        if let Some(mutation) = self.mutation {
            text += &format!(" --plant {mutation}");
        }
        text.shrink_to_fit();
        text
    }
}

/// What of the bounds is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Used {
    pub(super) puts: u8,
    pub(super) reads: u8,
    pub(super) crashes: u8,
    pub(super) snapshots: u8,
    pub(super) reconfigs: u8,
    pub(super) transfers: u8,
    pub(super) beats: u8,
}

impl Used {
    pub(super) fn pack(self) -> u64 {
        let Used { puts, reads, crashes, snapshots, reconfigs, transfers, beats } = self;
        u64::from_le_bytes([puts, reads, crashes, snapshots, reconfigs, transfers, beats, 0])
    }

    pub(super) fn unpack(word: u64) -> Used {
        let [puts, reads, crashes, snapshots, reconfigs, transfers, beats, _] = word.to_le_bytes();
        Used { puts, reads, crashes, snapshots, reconfigs, transfers, beats }
    }

    /// The number of the next client; each acts once.
    pub(super) fn client(self) -> u8 {
        self.puts + self.reads
    }

    /// Whether the disk takes its time.
    pub(super) fn slow(self, bounds: &Bounds) -> bool {
        bounds.slow_disk && self.crashes < bounds.crashes
    }
}
