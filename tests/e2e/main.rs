//! Whole-system tests: layering, real clients, real clusters, planted bugs.

mod etcdctl;
mod follow;
mod held;
mod layering;
mod pair;
mod random;
mod transcript;
