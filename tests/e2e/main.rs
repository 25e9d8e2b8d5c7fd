//! Whole-system tests: layering, real clients, real clusters, planted bugs.

mod etcdctl;
mod follow;
mod layering;
mod pair;
mod transcript;
