//! The checkers against other judges: brute force, stateright's tester, published verdicts, and histories
//! that were made wrong on purpose.
mod brute;
mod by_hand;
mod engines;
mod made;
mod malformed;
mod published;
mod revisions;
mod script;
mod spoilt;
mod stores;
mod synthetic;
mod transactions;
