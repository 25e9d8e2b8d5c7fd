//! The checkers against other judges: brute force, stateright's tester, published verdicts, and histories
//! that were made wrong on purpose.
mod brute;
mod engines;
mod made;
mod published;
mod revisions;
mod stores;
mod synthetic;
