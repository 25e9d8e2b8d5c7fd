//! Whole-system tests live in `e2e/`.
