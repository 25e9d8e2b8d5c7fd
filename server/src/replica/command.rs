//! How a request becomes a command of the log.

use crate::{
    auth::Principal,
    proto::internal::{Command, command::Request},
};

/// The command that carries a request in somebody's name; who waits for it is still to be said.
pub fn command(request: Request, principal: Principal) -> Command {
    let (user, auth_revision, by_server) = match principal {
        Principal::Server => (String::new(), 0, true),
        Principal::Nobody => (String::new(), 0, false),
        Principal::User { name, revision } => (name, revision, false),
    };
    Command { user, auth_revision, by_server, request: Some(request), ..Command::default() }
}
