//! The Auth service: users, roles, permissions, and tokens.
//!
//! Passwords are hashed and compared here, off the threads that serve others; what is replicated is the hash.

use super::Api;
use crate::{
    auth::Needs,
    backend::Backend,
    error::ApiError,
    proto::{
        etcdserverpb::{
            AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
            AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
            AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
            AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
            AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
            AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
            AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
            AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse,
            AuthUserListRequest, AuthUserListResponse, AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse,
            AuthenticateRequest, AuthenticateResponse, ResponseHeader, auth_server::Auth,
        },
        internal::{
            AuthChange, AuthDisable, AuthEnable, AuthName, AuthRolePermission, AuthRoleRange, AuthUserRole,
            AuthUserSecret, auth_change::Change, command::Request,
        },
    },
    state_machine::Response,
};
use rand::Rng as _;
use tonic::Status;

/// Length of the secret that tokens are signed with.
const SECRET_BYTES: usize = 32;

impl<B: Backend> Api<B> {
    /// Carries out a change of users, roles or authentication itself.
    async fn change_auth(&self, change: Change) -> Result<Option<ResponseHeader>, ApiError> {
        let change = AuthChange { change: Some(change) };
        match self.propose(Request::Auth(change)).await? {
            Response::Auth { revision } => Ok(self.header(revision)),
            other => panic!("a change of users was answered with {other:?}"),
        }
    }

    /// Turns authentication on.
    ///
    /// # Errors
    /// [`ApiError::NoRootUser`], [`ApiError::NoRootRole`], or why the outcome is not known.
    pub async fn auth_enable(&self, _: AuthEnableRequest) -> Result<AuthEnableResponse, ApiError> {
        let mut secret = vec![0; SECRET_BYTES];
        rand::rng().fill_bytes(&mut secret);
        let secret = secret.into();
        Ok(AuthEnableResponse { header: self.change_auth(Change::Enable(AuthEnable { secret })).await? })
    }

    /// Turns authentication off.
    ///
    /// # Errors
    /// What the caller may not, or why the outcome is not known.
    pub async fn auth_disable(&self, _: AuthDisableRequest) -> Result<AuthDisableResponse, ApiError> {
        Ok(AuthDisableResponse { header: self.change_auth(Change::Disable(AuthDisable {})).await? })
    }

    /// Tells whether authentication is on.
    ///
    /// # Errors
    /// What the caller may not.
    pub async fn auth_status(&self, _: AuthStatusRequest) -> Result<AuthStatusResponse, ApiError> {
        self.authorize(Needs::Root)?;
        let (enabled, auth_revision) = {
            let state = self.backend.state();
            (state.auth().enabled, state.auth().revision)
        };
        Ok(AuthStatusResponse { header: self.current_header(), enabled, auth_revision })
    }

    /// Gives a token for a password.
    ///
    /// # Errors
    /// [`ApiError::AuthNotEnabled`], [`ApiError::AuthFailed`], or why no quorum confirmed the users.
    pub async fn authenticate(&self, request: AuthenticateRequest) -> Result<AuthenticateResponse, ApiError> {
        self.backend.read_index().await?;
        let hash = {
            let state = self.backend.state();
            if !state.auth().enabled {
                return Err(ApiError::AuthNotEnabled);
            }
            state.auth().user(&request.name).map(|user| user.hash.clone()).unwrap_or_default()
        };
        // Who is not there, or has no password, is told as late as everybody else.
        let password = request.password;
        let compare = move || !hash.is_empty() && bcrypt::verify(password, &hash).unwrap_or(false);
        if !tokio::task::spawn_blocking(compare).await.map_err(|_| ApiError::Stopped)? {
            return Err(ApiError::AuthFailed);
        }
        let token = self.tokens.issue(&request.name, self.backend.state().auth())?;
        Ok(AuthenticateResponse { header: self.current_header(), token })
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`ApiError::UserEmpty`], [`ApiError::UserExists`]; what the caller may not; or why the outcome is not
    /// known.
    pub async fn user_add(&self, request: AuthUserAddRequest) -> Result<AuthUserAddResponse, ApiError> {
        self.authorize(Needs::Root)?;
        let AuthUserAddRequest { name, password, options } = request;
        let has_password = !options.is_some_and(|options| options.no_password);
        let hash = if has_password { self.hash_password(password).await? } else { String::new() };
        let change = Change::UserAdd(AuthUserSecret { name, hash });
        Ok(AuthUserAddResponse { header: self.change_auth(change).await? })
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// [`ApiError::UserNotFound`]; otherwise as [`user_add`](Self::user_add).
    pub async fn user_change_password(
        &self,
        request: AuthUserChangePasswordRequest,
    ) -> Result<AuthUserChangePasswordResponse, ApiError> {
        self.authorize(Needs::Root)?;
        let password = request.password;
        // As in etcd: nobody can log in with an empty password that was another one before.
        let hash = if password.is_empty() { password } else { self.hash_password(password).await? };
        let change = Change::UserPassword(AuthUserSecret { name: request.name, hash });
        Ok(AuthUserChangePasswordResponse { header: self.change_auth(change).await? })
    }

    async fn hash_password(&self, password: String) -> Result<String, ApiError> {
        let cost = self.limits.bcrypt_cost;
        let hash = tokio::task::spawn_blocking(move || bcrypt::hash(password, cost));
        match hash.await {
            Ok(Ok(hash)) => Ok(hash),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot hash a password");
                Err(ApiError::AuthFailed)
            }
            Err(_) => Err(ApiError::Stopped),
        }
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`ApiError::UserNotFound`], [`ApiError::InvalidAuthManagement`]; otherwise as
    /// [`user_add`](Self::user_add).
    pub async fn user_delete(
        &self,
        request: AuthUserDeleteRequest,
    ) -> Result<AuthUserDeleteResponse, ApiError> {
        let change = Change::UserDelete(AuthName { name: request.name });
        Ok(AuthUserDeleteResponse { header: self.change_auth(change).await? })
    }

    /// Lists a user's roles, for itself and root.
    ///
    /// # Errors
    /// [`ApiError::UserNotFound`]; what the caller may not; why no quorum confirmed it.
    pub async fn user_get(&self, request: AuthUserGetRequest) -> Result<AuthUserGetResponse, ApiError> {
        self.backend.read_index().await?;
        let roles = {
            let state = self.backend.state();
            // Nobody has an empty name, as in etcd: that there is no such user is no secret.
            if self.calling_user(&state)?.unwrap_or_default() != request.name {
                self.permit(&state, [Needs::Root])?;
            }
            let user = state.auth().user(&request.name).ok_or(ApiError::UserNotFound)?;
            user.roles.iter().cloned().collect()
        };
        Ok(AuthUserGetResponse { header: self.current_header(), roles })
    }

    /// Lists the users.
    ///
    /// # Errors
    /// What the caller may not; why no quorum confirmed it.
    pub async fn user_list(&self, _: AuthUserListRequest) -> Result<AuthUserListResponse, ApiError> {
        self.backend.read_index().await?;
        self.authorize(Needs::Root)?;
        let users = self.backend.state().auth().users().cloned().collect();
        Ok(AuthUserListResponse { header: self.current_header(), users })
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// [`ApiError::UserNotFound`], [`ApiError::RoleNotFound`]; otherwise as [`user_add`](Self::user_add).
    pub async fn user_grant_role(
        &self,
        request: AuthUserGrantRoleRequest,
    ) -> Result<AuthUserGrantRoleResponse, ApiError> {
        let change = Change::UserGrant(AuthUserRole { name: request.user, role: request.role });
        Ok(AuthUserGrantRoleResponse { header: self.change_auth(change).await? })
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// [`ApiError::UserNotFound`], [`ApiError::RoleNotGranted`], [`ApiError::InvalidAuthManagement`];
    /// otherwise as [`user_add`](Self::user_add).
    pub async fn user_revoke_role(
        &self,
        request: AuthUserRevokeRoleRequest,
    ) -> Result<AuthUserRevokeRoleResponse, ApiError> {
        let change = Change::UserRevoke(AuthUserRole { name: request.name, role: request.role });
        Ok(AuthUserRevokeRoleResponse { header: self.change_auth(change).await? })
    }

    /// Adds a role.
    ///
    /// # Errors
    /// [`ApiError::RoleEmpty`], [`ApiError::RoleExists`]; otherwise as [`user_add`](Self::user_add).
    pub async fn role_add(&self, request: AuthRoleAddRequest) -> Result<AuthRoleAddResponse, ApiError> {
        let change = Change::RoleAdd(AuthName { name: request.name });
        Ok(AuthRoleAddResponse { header: self.change_auth(change).await? })
    }

    /// Lists a role's permissions, for who has it and root.
    ///
    /// # Errors
    /// [`ApiError::RoleNotFound`]; what the caller may not; why no quorum confirmed it.
    pub async fn role_get(&self, request: AuthRoleGetRequest) -> Result<AuthRoleGetResponse, ApiError> {
        self.backend.read_index().await?;
        let perm = {
            let state = self.backend.state();
            let caller = self.calling_user(&state)?;
            let user = caller.as_ref().and_then(|name| state.auth().user(name));
            let is_own = user.is_some_and(|user| user.roles.contains(&request.role));
            self.permit(&state, [if is_own { Needs::User } else { Needs::Root }])?;
            state.auth().permissions(&request.role).ok_or(ApiError::RoleNotFound)?
        };
        Ok(AuthRoleGetResponse { header: self.current_header(), perm })
    }

    /// Lists the roles.
    ///
    /// # Errors
    /// What the caller may not; why no quorum confirmed it.
    pub async fn role_list(&self, _: AuthRoleListRequest) -> Result<AuthRoleListResponse, ApiError> {
        self.backend.read_index().await?;
        self.authorize(Needs::Root)?;
        let roles = self.backend.state().auth().roles().cloned().collect();
        Ok(AuthRoleListResponse { header: self.current_header(), roles })
    }

    /// Removes a role, also from its users.
    ///
    /// # Errors
    /// [`ApiError::RoleNotFound`], [`ApiError::InvalidAuthManagement`]; otherwise as
    /// [`user_add`](Self::user_add).
    pub async fn role_delete(
        &self,
        request: AuthRoleDeleteRequest,
    ) -> Result<AuthRoleDeleteResponse, ApiError> {
        let change = Change::RoleDelete(AuthName { name: request.role });
        Ok(AuthRoleDeleteResponse { header: self.change_auth(change).await? })
    }

    /// Gives a role a permission.
    ///
    /// # Errors
    /// [`ApiError::RoleNotFound`], [`ApiError::PermissionNotGiven`], [`ApiError::InvalidAuthManagement`] for a
    /// range that is none; otherwise as [`user_add`](Self::user_add).
    pub async fn role_grant_permission(
        &self,
        request: AuthRoleGrantPermissionRequest,
    ) -> Result<AuthRoleGrantPermissionResponse, ApiError> {
        let change = AuthRolePermission { role: request.name, permission: request.perm };
        Ok(AuthRoleGrantPermissionResponse { header: self.change_auth(Change::RoleGrant(change)).await? })
    }

    /// Takes a permission from a role.
    ///
    /// # Errors
    /// [`ApiError::RoleNotFound`], [`ApiError::PermissionNotGranted`]; otherwise as
    /// [`user_add`](Self::user_add).
    pub async fn role_revoke_permission(
        &self,
        request: AuthRoleRevokePermissionRequest,
    ) -> Result<AuthRoleRevokePermissionResponse, ApiError> {
        let AuthRoleRevokePermissionRequest { role, key, range_end } = request;
        let change = Change::RoleRevoke(AuthRoleRange { role, key, range_end });
        Ok(AuthRoleRevokePermissionResponse { header: self.change_auth(change).await? })
    }
}

/// The gRPC side: every call is an operation of [`Api`] under the same name, or the one given.
macro_rules! serve_auth {
    ($($method:ident($request:ty) -> $response:ty = $operation:ident;)*) => {
        #[tonic::async_trait]
        impl<B: Backend> Auth for Api<B> {
            $(
                async fn $method(
                    &self,
                    request: tonic::Request<$request>,
                ) -> Result<tonic::Response<$response>, Status> {
                    Ok(tonic::Response::new(Api::$operation(self, request.into_inner()).await?))
                }
            )*
        }
    };
}

serve_auth! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse = auth_enable;
    auth_disable(AuthDisableRequest) -> AuthDisableResponse = auth_disable;
    auth_status(AuthStatusRequest) -> AuthStatusResponse = auth_status;
    authenticate(AuthenticateRequest) -> AuthenticateResponse = authenticate;
    user_add(AuthUserAddRequest) -> AuthUserAddResponse = user_add;
    user_get(AuthUserGetRequest) -> AuthUserGetResponse = user_get;
    user_list(AuthUserListRequest) -> AuthUserListResponse = user_list;
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse = user_delete;
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse = user_change_password;
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse = user_grant_role;
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse = user_revoke_role;
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse = role_add;
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse = role_get;
    role_list(AuthRoleListRequest) -> AuthRoleListResponse = role_list;
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse = role_delete;
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse = role_grant_permission;
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse = role_revoke_permission;
}
