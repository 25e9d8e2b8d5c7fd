//! Histories of other tools.
pub mod porcupine;
