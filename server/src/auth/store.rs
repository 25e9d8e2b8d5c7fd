//! Users and roles, and changing them.

use super::range;
use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::Permission,
        internal::{AuthChange, AuthState, RoleRecord, UserRecord, auth_change::Change},
    },
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The user, and the role, that may do everything.
pub const ROOT: &str = "root";

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The bcrypt hash of the password; empty where there is none, and then no password fits.
    pub hash: String,
    /// Whether the user is to have no password, however often one is given.
    pub no_password: bool,
    /// The roles.
    pub roles: BTreeSet<String>,
    /// The revision at which user or password were last made: older tokens are worth nothing.
    pub since: u64,
}

/// Users and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthStore {
    /// Whether anybody is asked who they are.
    pub enabled: bool,
    /// Counts the changes.
    pub revision: u64,
    /// What tokens are signed with; chosen when authentication was enabled.
    pub secret: Bytes,
    users: BTreeMap<String, User>,
    /// Permissions, sorted by key; those of one key by their age.
    roles: BTreeMap<String, Vec<Permission>>,
}

impl Default for AuthStore {
    fn default() -> AuthStore {
        AuthStore {
            enabled: false,
            revision: 1,
            secret: Bytes::new(),
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

impl AuthStore {
    /// A user.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The names of all users.
    pub fn users(&self) -> impl Iterator<Item = &String> {
        self.users.keys()
    }

    /// The names of all roles.
    pub fn roles(&self) -> impl Iterator<Item = &String> {
        self.roles.keys()
    }

    /// The permissions of a role. Those of `root` are not listed: it may do everything.
    pub fn permissions(&self, role: &str) -> Option<Vec<Permission>> {
        self.roles.get(role).cloned()
    }

    /// All permissions of a user.
    pub(super) fn permissions_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Permission> {
        user.roles.iter().filter_map(|role| self.roles.get(role)).flatten()
    }

    /// Carries out a change.
    ///
    /// # Errors
    /// Why it makes no sense; then nothing was changed.
    pub fn apply(&mut self, change: &AuthChange) -> Result<(), ApiError> {
        let Some(change) = &change.change else { return Err(ApiError::KeyNotFound) };
        let before = self.revision;
        let next = before + 1;
        let changed = match change {
            Change::Enable(enable) => self.enable(&enable.secret).map(|()| false),
            Change::Disable(_) => Ok(std::mem::take(&mut self.enabled)),
            Change::UserAdd(add) => self.user_add(&add.name, &add.hash, next),
            Change::UserDelete(delete) => self.user_delete(&delete.name),
            Change::UserPassword(password) => {
                let user = self.users.get_mut(&password.name).ok_or(ApiError::UserNotFound)?;
                if !user.no_password {
                    user.hash.clone_from(&password.hash);
                }
                user.since = next;
                Ok(true)
            }
            Change::UserGrant(grant) => self.user_grant(&grant.name, &grant.role),
            Change::UserRevoke(revoke) => self.user_revoke(&revoke.name, &revoke.role),
            Change::RoleAdd(add) => self.role_add(&add.name),
            Change::RoleDelete(delete) => self.role_delete(&delete.name),
            Change::RoleGrant(grant) => self.role_grant(&grant.role, grant.permission.as_ref()),
            Change::RoleRevoke(revoke) => self.role_revoke(&revoke.role, &revoke.key, &revoke.range_end),
        };
        if changed? {
            self.revision = next;
        }
        Ok(())
    }

    fn enable(&mut self, secret: &Bytes) -> Result<(), ApiError> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(ApiError::NoRootUser)?;
        if !root.roles.contains(ROOT) {
            return Err(ApiError::NoRootRole);
        }
        self.enabled = true;
        self.secret = secret.clone();
        Ok(())
    }

    fn user_add(&mut self, name: &str, hash: &str, since: u64) -> Result<bool, ApiError> {
        if name.is_empty() {
            return Err(ApiError::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(ApiError::UserExists);
        }
        let user = User { hash: hash.into(), no_password: hash.is_empty(), roles: BTreeSet::new(), since };
        self.users.insert(name.into(), user);
        Ok(true)
    }

    fn user_delete(&mut self, name: &str) -> Result<bool, ApiError> {
        if self.enabled && name == ROOT {
            return Err(ApiError::InvalidAuthManagement);
        }
        self.users.remove(name).map(|_| true).ok_or(ApiError::UserNotFound)
    }

    fn user_grant(&mut self, name: &str, role: &str) -> Result<bool, ApiError> {
        let user = self.users.get_mut(name).ok_or(ApiError::UserNotFound)?;
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(ApiError::RoleNotFound);
        }
        Ok(user.roles.insert(role.into()))
    }

    fn user_revoke(&mut self, name: &str, role: &str) -> Result<bool, ApiError> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(ApiError::InvalidAuthManagement);
        }
        let user = self.users.get_mut(name).ok_or(ApiError::UserNotFound)?;
        if user.roles.remove(role) { Ok(true) } else { Err(ApiError::RoleNotGranted) }
    }

    fn role_add(&mut self, name: &str) -> Result<bool, ApiError> {
        if name.is_empty() {
            return Err(ApiError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(ApiError::RoleExists);
        }
        self.roles.insert(name.into(), Vec::new());
        Ok(true)
    }

    fn role_delete(&mut self, name: &str) -> Result<bool, ApiError> {
        if self.enabled && name == ROOT {
            return Err(ApiError::InvalidAuthManagement);
        }
        self.roles.remove(name).ok_or(ApiError::RoleNotFound)?;
        for user in self.users.values_mut() {
            user.roles.remove(name);
        }
        Ok(true)
    }

    fn role_grant(&mut self, role: &str, permission: Option<&Permission>) -> Result<bool, ApiError> {
        let permission = permission.ok_or(ApiError::PermissionNotGiven)?;
        if !range::is_valid(&permission.key, &permission.range_end) {
            return Err(ApiError::InvalidAuthManagement);
        }
        let permissions = self.roles.get_mut(role).ok_or(ApiError::RoleNotFound)?;
        // As etcd: of those that begin at the same key only the oldest is ever changed, and what follows it comes
        // on top.
        let oldest = permissions.partition_point(|known| known.key < permission.key);
        let newest = permissions.partition_point(|known| known.key <= permission.key);
        match permissions[oldest..newest].first_mut() {
            Some(known) if known.range_end == permission.range_end => known.perm_type = permission.perm_type,
            Some(_) | None => permissions.insert(newest, permission.clone()),
        }
        Ok(true)
    }

    fn role_revoke(&mut self, role: &str, key: &[u8], range_end: &[u8]) -> Result<bool, ApiError> {
        let permissions = self.roles.get_mut(role).ok_or(ApiError::RoleNotFound)?;
        let before = permissions.len();
        permissions.retain(|permission| permission.key != key || permission.range_end != range_end);
        if permissions.len() < before { Ok(true) } else { Err(ApiError::PermissionNotGranted) }
    }

    /// As a message, for a state image.
    pub fn record(&self) -> AuthState {
        let user = |(name, user): (&String, &User)| UserRecord {
            name: name.clone(),
            hash: user.hash.clone(),
            roles: user.roles.iter().cloned().collect(),
            since: user.since,
            emptied: user.hash.is_empty() && !user.no_password,
        };
        let role = |(name, permissions): (&String, &Vec<Permission>)| RoleRecord {
            name: name.clone(),
            permissions: permissions.clone(),
        };
        AuthState {
            enabled: self.enabled,
            revision: self.revision,
            secret: self.secret.clone(),
            users: self.users.iter().map(user).collect(),
            roles: self.roles.iter().map(role).collect(),
        }
    }

    /// From a message.
    pub fn from_record(state: AuthState) -> AuthStore {
        let user = |user: UserRecord| {
            let UserRecord { name, hash, roles, since, emptied } = user;
            let no_password = hash.is_empty() && !emptied;
            (name, User { hash, no_password, roles: roles.into_iter().collect(), since })
        };
        AuthStore {
            enabled: state.enabled,
            revision: state.revision.max(1),
            secret: state.secret,
            users: state.users.into_iter().map(user).collect(),
            roles: state.roles.into_iter().map(|role| (role.name, role.permissions)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::internal::{
        AuthDisable, AuthEnable, AuthName, AuthRolePermission, AuthRoleRange, AuthUserRole, AuthUserSecret,
    };

    fn name(name: &str) -> AuthName {
        AuthName { name: name.into() }
    }

    fn secret(name: &str, hash: &str) -> AuthUserSecret {
        AuthUserSecret { name: name.into(), hash: hash.into() }
    }

    fn role(name: &str, role: &str) -> AuthUserRole {
        AuthUserRole { name: name.into(), role: role.into() }
    }

    fn grant(role: &str, kind: i32, key: &str, end: &str) -> AuthRolePermission {
        let permission =
            Permission { perm_type: kind, key: key.to_string().into(), range_end: end.to_string().into() };
        AuthRolePermission { role: role.into(), permission: Some(permission) }
    }

    fn revoke(role: &str, key: &str, end: &str) -> AuthRoleRange {
        AuthRoleRange { role: role.into(), key: key.to_string().into(), range_end: end.to_string().into() }
    }

    #[test]
    fn every_change_is_made_or_refused_as_etcd_does() {
        use Change::*;
        let enable = || Enable(AuthEnable { secret: Bytes::from_static(b"s") });
        let mut auth = AuthStore::default();
        for (change, want, revision) in [
            (enable(), Err(ApiError::NoRootUser), 1),
            (Disable(AuthDisable {}), Ok(()), 1),
            (UserAdd(secret("", "h")), Err(ApiError::UserEmpty), 1),
            (UserAdd(secret("root", "h")), Ok(()), 2),
            (UserAdd(secret("root", "h")), Err(ApiError::UserExists), 2),
            (enable(), Err(ApiError::NoRootRole), 2),
            (UserGrant(role("root", "root")), Ok(()), 3),
            (UserGrant(role("root", "root")), Ok(()), 3),
            (UserGrant(role("nobody", "root")), Err(ApiError::UserNotFound), 3),
            (UserGrant(role("root", "none")), Err(ApiError::RoleNotFound), 3),
            (enable(), Ok(()), 3),
            (UserDelete(name("root")), Err(ApiError::InvalidAuthManagement), 3),
            (UserRevoke(role("root", "root")), Err(ApiError::InvalidAuthManagement), 3),
            (RoleDelete(name("root")), Err(ApiError::InvalidAuthManagement), 3),
            (RoleAdd(name("")), Err(ApiError::RoleEmpty), 3),
            (RoleAdd(name("r")), Ok(()), 4),
            (RoleAdd(name("r")), Err(ApiError::RoleExists), 4),
            (RoleGrant(grant("r", 0, "a", "")), Ok(()), 5),
            (RoleGrant(grant("r", 2, "a", "")), Ok(()), 6),
            (RoleGrant(grant("r", 2, "b", "a")), Err(ApiError::InvalidAuthManagement), 6),
            (RoleGrant(grant("none", 2, "b", "")), Err(ApiError::RoleNotFound), 6),
            (
                RoleGrant(AuthRolePermission { role: "r".into(), permission: None }),
                Err(ApiError::PermissionNotGiven),
                6,
            ),
            (RoleRevoke(revoke("r", "a", "b")), Err(ApiError::PermissionNotGranted), 6),
            (UserAdd(secret("u", "h")), Ok(()), 7),
            (UserGrant(role("u", "r")), Ok(()), 8),
            (UserPassword(secret("u", "h2")), Ok(()), 9),
            (UserPassword(secret("nobody", "h2")), Err(ApiError::UserNotFound), 9),
            (RoleRevoke(revoke("r", "a", "")), Ok(()), 10),
            (RoleDelete(name("r")), Ok(()), 11),
            (RoleDelete(name("r")), Err(ApiError::RoleNotFound), 11),
            (UserRevoke(role("u", "r")), Err(ApiError::RoleNotGranted), 11),
            (Disable(AuthDisable {}), Ok(()), 12),
            (UserDelete(name("root")), Ok(()), 13),
        ] {
            let outcome = auth.apply(&AuthChange { change: Some(change.clone()) });
            assert_eq!((outcome, auth.revision), (want, revision), "{change:?}");
        }
        assert_eq!(auth.user("u").map(|user| (&user.hash[..], user.since)), Some(("h2", 9)));
        assert_eq!(AuthStore::from_record(auth.record()), auth);
    }

    #[test]
    fn who_is_to_have_no_password_gets_none() {
        use Change::*;
        let mut auth = AuthStore::default();
        for (change, want) in [
            (UserAdd(secret("without", "")), ("without", "")),
            (UserPassword(secret("without", "h")), ("without", "")),
            (UserAdd(secret("with", "h")), ("with", "h")),
            (UserPassword(secret("with", "")), ("with", "")),
            (UserPassword(secret("with", "h2")), ("with", "h2")),
        ] {
            auth.apply(&AuthChange { change: Some(change.clone()) }).expect("a change");
            // Also where the state came as an image.
            auth = AuthStore::from_record(auth.record());
            let (name, hash) = want;
            assert_eq!(auth.user(name).map(|user| &user.hash[..]), Some(hash), "{change:?}");
        }
    }
}
