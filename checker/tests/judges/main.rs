//! The checkers against other judges: brute force, stateright's tester, published verdicts, and histories
//! that were made wrong on purpose.
//!
//! `ASSAY_ROUNDS=50 cargo test --release -p assay-checker --test judges` makes fifty times as many random
//! histories; `ASSAY_HISTORIES=FOLDER` adds published histories.
mod brute;
mod budgets;
mod by_hand;
mod engines;
mod executed;
mod extremes;
mod foreign;
mod isolation;
mod made;
mod malformed;
mod models;
mod objects;
mod online;
mod online_lists;
mod online_sets;
mod promises;
mod published;
mod revisions;
mod rivals;
mod script;
mod soundness;
mod spoilt;
mod stores;
mod synthetic;
mod transactions;
