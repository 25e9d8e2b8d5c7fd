//! What a person reads: operations in a line, verdicts as text, witnesses as pictures.
mod describe;
mod svg;
mod text;

pub use describe::{answer, invocation, line, moment, request, response, who};
pub use svg::svg;
pub use text::{anomaly, report};
