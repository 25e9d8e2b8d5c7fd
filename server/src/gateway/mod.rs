//! What the client port answers over plain HTTP: the API as JSON, and the pages for probes, dashboards and
//! people with curl.
//!
//! - `routes` maps the paths of the JSON API to operations, `json` is their encoding;
//! - `http` finds the page or route for a request, and words errors;
//! - `streams` are the operations whose answers keep coming, one JSON document a line;
//! - `exposition` renders the metrics.
//!
//! Left out: the paths of services that the server does not have (they are unknown paths), cross-origin rules
//! other than "everybody may", and the v2 API.

mod exposition;
mod http;
mod json;
mod routes;
mod streams;

#[cfg(test)]
mod tests;

pub use http::Gateway;
pub(crate) use json::fuzz;
