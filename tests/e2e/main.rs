//! Whole-system tests: layering, real clients, real clusters, planted bugs.

mod commands;
mod etcdctl;
mod follow;
mod held;
mod json_lines;
mod layering;
mod pair;
mod random;
mod semantics;
mod transcript;
