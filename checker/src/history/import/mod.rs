//! Histories of other tools.
//!
//! [`mod@file`] looks at a file and reads it as what it is; the others each read one form.
mod elements;
pub mod file;
pub mod jepsen;
pub mod porcupine;
mod scan;
pub mod sessions;

pub use elements::{Broken, Elements, Notation};
