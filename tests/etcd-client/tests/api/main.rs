//! The API as somebody else's client sees it. `ASSAY_SERVER_BIN` names the server's program: `assay-server`, or
//! `assay`, which is one by that name; a real `etcd` may stand there too, and passes.

mod auth;
mod concurrency;
mod kv;
mod lease;
mod maintenance;
mod server;
mod watch;
