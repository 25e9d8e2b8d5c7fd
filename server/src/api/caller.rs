//! Who calls, and what they may do.
//!
//! What a connection and a request say of their caller travels with the task that serves the request, so that an
//! operation asks for it where it decides: under the same lock under which it reads.

use super::Api;
use crate::{
    auth::{AuthStore, Needs, Principal},
    backend::Backend,
    error::ApiError,
    state_machine::StateMachine,
};
use http::HeaderMap;
use std::future::Future;

tokio::task_local! {
    static CALLER: Caller;
}

/// What is known of a caller before anything is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The server itself, for its own health.
    Server,
    /// A client.
    Client {
        /// The token that it sent.
        token: Option<String>,
        /// The common name of its certificate, where that names a user.
        certificate: Option<String>,
    },
}

/// The common name of the certificate with which a client opened a connection: an extension of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonName(pub String);

impl Caller {
    /// A client, by the headers of its request.
    pub fn client(headers: &HeaderMap, certificate: Option<&CommonName>) -> Caller {
        let token = headers.get("token").or_else(|| headers.get(http::header::AUTHORIZATION));
        let token = token
            .and_then(|token| token.to_str().ok())
            .map(|token| token.strip_prefix("Bearer ").unwrap_or(token).trim().to_string());
        Caller::Client { token, certificate: certificate.map(|name| name.0.clone()) }
    }

    /// Runs an operation in this caller's name.
    pub async fn calls<F: Future>(self, operation: F) -> F::Output {
        CALLER.scope(self, operation).await
    }

    /// The caller of the request that this task serves. A stream outlives that: it keeps its caller.
    pub fn current() -> Caller {
        CALLER.try_with(Caller::clone).unwrap_or(Caller::Client { token: None, certificate: None })
    }
}

impl<B: Backend> Api<B> {
    /// In whose name this task's request is carried out.
    ///
    /// # Errors
    /// [`ApiError::InvalidToken`], [`ApiError::AuthOldRevision`].
    fn principal(&self, auth: &AuthStore) -> Result<Principal, ApiError> {
        self.principal_of(Caller::current(), auth)
    }

    fn principal_of(&self, caller: Caller, auth: &AuthStore) -> Result<Principal, ApiError> {
        match caller {
            Caller::Server => Ok(Principal::Server),
            Caller::Client { token: Some(token), .. } => self.tokens.verify(&token, auth),
            Caller::Client { token: None, certificate: Some(name) } => {
                Ok(Principal::User { name, revision: auth.revision })
            }
            Caller::Client { token: None, certificate: None } => Ok(Principal::Nobody),
        }
    }

    /// As [`principal`](Self::principal), for a command that is to be proposed. While authentication is off
    /// nobody is asked, and the command is refused if it is on by the time that it is applied.
    pub(super) fn proposer(&self) -> Result<Principal, ApiError> {
        if !self.backend.auth_enabled() {
            return Ok(Principal::Nobody);
        }
        self.principal(self.backend.state().auth())
    }

    /// Whether the caller may do what needs this, in the state that is read.
    ///
    /// # Errors
    /// As [`principal`](Self::principal), and [`AuthStore::check`].
    pub(super) fn permit<'a>(
        &self,
        state: &StateMachine,
        needs: impl IntoIterator<Item = Needs<'a>>,
    ) -> Result<(), ApiError> {
        self.permit_to(Caller::current(), state, needs)
    }

    /// As [`permit`](Self::permit), for the caller of a stream.
    pub(crate) fn permit_to<'a>(
        &self,
        caller: Caller,
        state: &StateMachine,
        needs: impl IntoIterator<Item = Needs<'a>>,
    ) -> Result<(), ApiError> {
        let auth = state.auth();
        if !auth.enabled {
            return Ok(());
        }
        auth.check(&self.principal_of(caller, auth)?, needs, |lease| state.lease_keys(lease))
    }

    /// As [`permit`](Self::permit), in the state of now.
    pub(super) fn authorize(&self, needs: Needs<'_>) -> Result<(), ApiError> {
        if !self.backend.auth_enabled() {
            return Ok(());
        }
        self.permit(&self.backend.state(), [needs])
    }

    /// The name of the calling user, where authentication is on and there is one.
    ///
    /// # Errors
    /// As [`principal`](Self::principal).
    pub(super) fn calling_user(&self, state: &StateMachine) -> Result<Option<String>, ApiError> {
        let auth = state.auth();
        if !auth.enabled {
            return Ok(None);
        }
        Ok(match self.principal(auth)? {
            Principal::User { name, .. } => Some(name),
            Principal::Server | Principal::Nobody => None,
        })
    }
}
