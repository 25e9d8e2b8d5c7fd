//! Whole-system tests: layering, real clients, real clusters, planted bugs.

mod etcdctl;
mod layering;
mod pair;
