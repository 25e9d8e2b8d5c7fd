//! The stored runs as a web page: `assay serve`.
//!
//! Reads the folders of runs and writes nothing. What a run's files hold comes from the system under test, so none of
//! it is trusted: it is escaped in pages, and files are handed out with types and a content policy under which a
//! browser runs nothing but the report's own script, which may talk to nobody.

mod compare;
mod files;
mod index;
mod scan;
mod web;

pub use web::{Served, serve};
