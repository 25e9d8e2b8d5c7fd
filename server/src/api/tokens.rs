//! Tokens: what a user gets for its password, and shows with every request.
//!
//! A token is a signed statement (RFC 7519) of who the user is and as of which revision of users and roles. A
//! *simple* one is signed with a secret that the cluster drew when authentication was enabled: any member accepts
//! what another gave out, without a word between them. It lives on while it is used, as in etcd. A *jwt* one is
//! signed with keys that the operator provides, ends when it says so, and is void once users or roles change.

use crate::{
    auth::{AuthStore, Principal},
    config::JwtFiles,
    error::ApiError,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt, fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Tokens whose use is remembered, at most.
const REMEMBERED_MAX: usize = 10_000;

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    /// Seconds since 1970.
    exp: u64,
}

/// The keys that an operator provides.
pub struct JwtKeys {
    /// How tokens are signed.
    pub method: Algorithm,
    /// Signs; without it this member verifies tokens, and gives out none.
    pub sign: Option<EncodingKey>,
    /// Verifies.
    pub verify: DecodingKey,
}

/// Reads an operator's keys.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn open(files: &JwtFiles) -> Result<Tokens, String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let bad = |path: &Path, error: jsonwebtoken::errors::Error| format!("{}: {error}", path.display());
    let verify = read(&files.verify)?;
    let sign = files.sign.as_deref().map(|path| Ok::<_, String>((path, read(path)?))).transpose()?;
    type Parse<K> = fn(&[u8]) -> Result<K, jsonwebtoken::errors::Error>;
    let (decode, encode): (Parse<DecodingKey>, Parse<EncodingKey>) = match files.method {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            (|secret| Ok(DecodingKey::from_secret(secret)), |secret| Ok(EncodingKey::from_secret(secret)))
        }
        Algorithm::ES256 | Algorithm::ES384 => (DecodingKey::from_ec_pem, EncodingKey::from_ec_pem),
        Algorithm::EdDSA => (DecodingKey::from_ed_pem, EncodingKey::from_ed_pem),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => (DecodingKey::from_rsa_pem, EncodingKey::from_rsa_pem),
    };
    let verify = decode(&verify).map_err(|error| bad(&files.verify, error))?;
    let sign = sign.map(|(path, key)| encode(&key).map_err(|error| bad(path, error))).transpose()?;
    Ok(Tokens::jwt(files.ttl, JwtKeys { method: files.method, sign, verify }))
}

/// Gives out tokens, and verifies them.
pub struct Tokens {
    ttl: Duration,
    jwt: Option<JwtKeys>,
    /// When simple tokens that are past their time were used last.
    used: Mutex<HashMap<String, Instant>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.jwt.is_some() { "jwt" } else { "simple" };
        f.debug_struct("Tokens").field("kind", &kind).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Simple tokens, which end when they were not used for so long.
    pub fn simple(ttl: Duration) -> Tokens {
        Tokens { ttl, jwt: None, used: Mutex::default() }
    }

    /// Tokens signed with an operator's keys, which end after so long.
    pub fn jwt(ttl: Duration, keys: JwtKeys) -> Tokens {
        Tokens { ttl, jwt: Some(keys), used: Mutex::default() }
    }

    /// A token for a user.
    ///
    /// # Errors
    /// [`ApiError::InvalidToken`] where this member has no key to sign with.
    pub fn issue(&self, user: &str, auth: &AuthStore) -> Result<String, ApiError> {
        let exp = unix_s(SystemTime::now() + self.ttl);
        let claims = Claims { username: user.into(), revision: auth.revision, exp };
        let signed = match &self.jwt {
            Some(JwtKeys { sign: None, .. }) => return Err(ApiError::InvalidToken),
            Some(JwtKeys { method, sign: Some(key), .. }) => encode(&Header::new(*method), &claims, key),
            None => encode(&Header::default(), &claims, &EncodingKey::from_secret(&auth.secret)),
        };
        signed.map_err(|error| {
            tracing::error!(%error, "cannot sign a token");
            ApiError::InvalidToken
        })
    }

    /// Who shows a token.
    ///
    /// # Errors
    /// [`ApiError::InvalidToken`]; [`ApiError::AuthOldRevision`] for a jwt of before the last change.
    pub fn verify(&self, token: &str, auth: &AuthStore) -> Result<Principal, ApiError> {
        let claims = match &self.jwt {
            Some(keys) => read(token, &keys.verify, keys.method),
            None => read(token, &DecodingKey::from_secret(&auth.secret), Algorithm::HS256),
        };
        let claims = claims.ok_or(ApiError::InvalidToken)?;
        let is_over = unix_s(SystemTime::now()) >= claims.exp;
        let user = auth.user(&claims.username).ok_or(ApiError::InvalidToken)?;
        if claims.revision < user.since {
            return Err(ApiError::InvalidToken);
        }
        if self.jwt.is_some() {
            if is_over {
                return Err(ApiError::InvalidToken);
            }
            if claims.revision < auth.revision {
                return Err(ApiError::AuthOldRevision);
            }
        } else if !self.use_simple(token, is_over) {
            return Err(ApiError::InvalidToken);
        }
        Ok(Principal::User { name: claims.username, revision: auth.revision })
    }

    /// Notes the use of a simple token; whether it may still be used.
    fn use_simple(&self, token: &str, is_over: bool) -> bool {
        let now = Instant::now();
        let mut used = self.used.lock();
        match used.get_mut(token) {
            Some(last) if now - *last < self.ttl => *last = now,
            Some(_) => {
                used.remove(token);
                return !is_over;
            }
            None if is_over => return false,
            None => {
                if used.len() >= REMEMBERED_MAX {
                    used.retain(|_, last| now - *last < self.ttl);
                }
                if used.len() < REMEMBERED_MAX {
                    used.insert(token.into(), now);
                }
            }
        }
        true
    }
}

fn read(token: &str, key: &DecodingKey, method: Algorithm) -> Option<Claims> {
    let mut validation = Validation::new(method);
    // Its end is judged by the caller.
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    decode::<Claims>(token, key, &validation).ok().map(|token| token.claims)
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::internal::{
        AuthChange, AuthEnable, AuthName, AuthUserRole, AuthUserSecret, auth_change::Change,
    };

    fn store() -> AuthStore {
        let mut auth = AuthStore::default();
        let secret = |name: &str| AuthUserSecret { name: name.into(), hash: "h".into() };
        for change in [
            Change::UserAdd(secret("root")),
            Change::UserAdd(secret("u")),
            Change::UserGrant(AuthUserRole { name: "root".into(), role: "root".into() }),
            Change::Enable(AuthEnable { secret: b"secret"[..].into() }),
        ] {
            auth.apply(&AuthChange { change: Some(change) }).expect("a change");
        }
        auth
    }

    fn change(auth: &mut AuthStore, change: Change) {
        auth.apply(&AuthChange { change: Some(change) }).expect("a change");
    }

    fn user(auth: &AuthStore) -> Result<Principal, ApiError> {
        Ok(Principal::User { name: "u".into(), revision: auth.revision })
    }

    #[test]
    fn a_simple_token_is_good_on_every_member_until_its_user_changes() {
        let mut auth = store();
        let tokens = Tokens::simple(Duration::from_secs(300));
        let token = tokens.issue("u", &auth).expect("a token");
        let other = Tokens::simple(Duration::from_secs(300));
        assert_eq!(other.verify(&token, &auth), user(&auth));
        change(&mut auth, Change::RoleAdd(AuthName { name: "r".into() }));
        assert_eq!(tokens.verify(&token, &auth), user(&auth), "other changes do not matter");
        assert_eq!(tokens.verify(&format!("{token}x"), &auth), Err(ApiError::InvalidToken));
        assert_eq!(tokens.verify("", &auth), Err(ApiError::InvalidToken));
        change(&mut auth, Change::UserPassword(AuthUserSecret { name: "u".into(), hash: "h2".into() }));
        assert_eq!(tokens.verify(&token, &auth), Err(ApiError::InvalidToken), "another password");
        let token = tokens.issue("u", &auth).expect("a token");
        assert_eq!(tokens.verify(&token, &auth), user(&auth));
        change(&mut auth, Change::UserDelete(AuthName { name: "u".into() }));
        assert_eq!(tokens.verify(&token, &auth), Err(ApiError::InvalidToken), "no user");
    }

    #[test]
    fn a_token_that_was_not_used_in_time_is_over() {
        let auth = store();
        let tokens = Tokens::simple(Duration::ZERO);
        let token = tokens.issue("u", &auth).expect("a token");
        assert_eq!(tokens.verify(&token, &auth), Err(ApiError::InvalidToken));
    }

    #[test]
    fn a_jwt_is_void_once_anything_changes() {
        let keys = || JwtKeys {
            method: Algorithm::HS256,
            sign: Some(EncodingKey::from_secret(b"operator's")),
            verify: DecodingKey::from_secret(b"operator's"),
        };
        let mut auth = store();
        let tokens = Tokens::jwt(Duration::from_secs(300), keys());
        let token = tokens.issue("u", &auth).expect("a token");
        assert_eq!(tokens.verify(&token, &auth), user(&auth));
        assert_eq!(
            Tokens::simple(Duration::from_secs(300)).verify(&token, &auth),
            Err(ApiError::InvalidToken)
        );
        change(&mut auth, Change::RoleAdd(AuthName { name: "r".into() }));
        assert_eq!(tokens.verify(&token, &auth), Err(ApiError::AuthOldRevision));
        let verifier = Tokens::jwt(Duration::from_secs(300), JwtKeys { sign: None, ..keys() });
        assert_eq!(verifier.issue("u", &auth), Err(ApiError::InvalidToken));
    }
}
