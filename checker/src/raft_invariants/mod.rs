//! What no single node can see: promises of Raft over a whole cluster, judged by an observer that looks at
//! every node after every step. Sources: Raft paper, figure 3.
mod observer;
mod promises;

pub use observer::{Observer, Violation};
pub use promises::Forgotten;
