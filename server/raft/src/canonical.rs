//! One form for states that differ only in what a model leaves out.

use crate::{raft::Raft, rng::Rng};

impl Raft {
    /// Brings what depends on chance and on the number of turns into one form: the random generator, the
    /// drawn election timeout, and (when nothing waits to be saved) the numbering of turns.
    ///
    /// For model checkers, which let elections happen at any time and would otherwise see states apart that
    /// behave alike. A server never calls it: all nodes would draw the same timeouts.
    pub fn canonicalise(&mut self) {
        let ticks = self.node.config.election_ticks;
        self.node.rng = Rng::new(0);
        self.node.election_timeout = ticks * 2 - 1;
        self.node.election_elapsed = if self.node.election_elapsed < ticks { 0 } else { ticks };
        self.node.disk.renumber();
    }
}
