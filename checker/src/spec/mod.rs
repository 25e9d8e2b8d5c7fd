//! Sequential references: what a correct system answers when it is asked one thing at a time.
pub mod kv_types;
