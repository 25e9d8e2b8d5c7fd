//! Models for stateright: state spaces that are explored exhaustively within bounds.
pub mod raft;
