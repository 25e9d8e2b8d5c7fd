//! The page of a run: self-contained, with nothing from elsewhere, so it can be kept, sent and read alone.
//!
//! Everything that decides is plain HTML, readable without a script, without colour and on paper. One script of our
//! own adds what needs one: the operations of every process, zooming, and the lines of the logs that belong to what is
//! in view. Its data stands in the page as JSON, within [`budget`]s that keep the page below 10 MB however long
//! the run was; what is left out is said.

mod budget;
mod chart;
mod data;
mod evidence;
mod layout;
mod logs;
mod operations;
mod roles;
mod stack;
mod tables;

pub(super) use layout::page;
