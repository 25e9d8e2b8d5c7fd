//! Whole-system tests: layering, real clients, real clusters, planted bugs.

mod layering;
