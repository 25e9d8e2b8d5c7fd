//! An operation as a search sees it: what it says, and when it was open.

use crate::history::{OpId, Operation};

/// One operation, typed by its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<Op> {
    /// Its number in the history.
    pub id: OpId,
    /// What was asked and answered.
    pub op: Op,
    /// Position of its invocation.
    pub invoked: u64,
    /// Position of its completion; `None` if it may take effect at any time, or never.
    pub returned: Option<u64>,
}

impl<Op> Call<Op> {
    /// The call of an operation, which was read as `op`.
    pub fn new(operation: &Operation, op: Op) -> Call<Op> {
        Call {
            id: operation.id,
            op,
            invoked: operation.invoked.i,
            returned: operation.returned().map(|moment| moment.i),
        }
    }
}
