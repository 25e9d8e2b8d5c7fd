//! The `assay-server` program.
fn main() {}
