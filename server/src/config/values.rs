//! Values of flags that have a grammar of their own.

use crate::{
    cli::Flags,
    compactor::Mode,
    duration,
    telemetry::{LogFormat, LogLevel, LogOutput, Logging},
};
use jsonwebtoken::Algorithm;
use std::{path::PathBuf, str::FromStr, time::Duration};

/// What tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthToken {
    /// Signed with the cluster's own secret.
    Simple,
    /// Signed with an operator's keys.
    Jwt(JwtFiles),
}

/// Where the keys are, and how they sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtFiles {
    /// Verifies. For HMAC the secret itself.
    pub verify: PathBuf,
    /// Signs; without it this member gives out no tokens.
    pub sign: Option<PathBuf>,
    /// How.
    pub method: Algorithm,
    /// How long a token lives.
    pub ttl: Duration,
}

/// What automatic compaction keeps; `None`: everything.
pub(super) fn compaction(mode: &str, retention: &str) -> Result<Option<Mode>, (&'static str, String)> {
    const RETENTION: &str = "auto-compaction-retention";
    match mode {
        "periodic" => {
            let keep = match retention.parse::<u32>() {
                Ok(hours) => Duration::from_secs(3600) * hours,
                Err(_) => duration::parse(retention).map_err(|problem| (RETENTION, problem))?,
            };
            Ok(Some(keep).filter(|keep| !keep.is_zero()).map(Mode::Periodic))
        }
        "revision" => {
            let keep = retention.parse::<i64>().ok().filter(|keep| *keep >= 0);
            let keep = keep.ok_or_else(|| (RETENTION, format!("{retention:?} is no number of revisions")))?;
            Ok(Some(keep).filter(|keep| *keep > 0).map(Mode::Revision))
        }
        other => Err(("auto-compaction-mode", format!("{other:?} is neither `periodic` nor `revision`"))),
    }
}

/// The log.
pub(super) fn logging(flags: &Flags) -> Result<Logging, (&'static str, String)> {
    let level = LogLevel::of(&flags.log_level)
        .ok_or_else(|| ("log-level", format!("{:?} is none of debug, info, warn, error", flags.log_level)))?;
    let format = match flags.log_format.as_str() {
        "console" => LogFormat::Console,
        "json" => LogFormat::Json,
        other => return Err(("log-format", format!("{other:?} is neither `console` nor `json`"))),
    };
    let outputs = flags.log_outputs.iter().map(|name| LogOutput::of(name)).collect::<Result<_, _>>();
    Ok(Logging { level, format, outputs: outputs.map_err(|problem| ("log-outputs", problem))? })
}

/// What tokens are: `simple`, or `jwt,NAME=VALUE,...`.
pub(super) fn auth_token(spec: &str) -> Result<AuthToken, String> {
    let mut parts = spec.split(',');
    match parts.next() {
        Some("simple" | "") if spec == "simple" || spec.is_empty() => return Ok(AuthToken::Simple),
        Some("jwt") => {}
        _other => return Err(format!("{spec:?} is neither `simple` nor `jwt,...`")),
    }
    let (mut verify, mut sign, mut method, mut ttl) = (None, None, None, Duration::from_secs(300));
    for part in parts {
        match part.split_once('=') {
            Some(("pub-key", path)) => verify = Some(PathBuf::from(path)),
            Some(("priv-key", path)) => sign = Some(PathBuf::from(path)),
            Some(("sign-method", name)) => {
                let known =
                    Algorithm::from_str(name).map_err(|_| format!("{name:?} is no sign-method known here"));
                method = Some(known?);
            }
            Some(("ttl", text)) => ttl = duration::parse(text)?,
            _other => return Err(format!("{part:?} is none of pub-key, priv-key, sign-method, ttl")),
        }
    }
    let method = method.ok_or("jwt needs sign-method=NAME, such as RS256")?;
    // One secret does both.
    let verify =
        verify.or_else(|| sign.clone()).ok_or("jwt needs pub-key=FILE, and priv-key=FILE to sign")?;
    Ok(AuthToken::Jwt(JwtFiles { verify, sign, method, ttl }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_time_or_revisions() {
        let hours = |n: u64| Ok(Some(Mode::Periodic(Duration::from_secs(3600 * n))));
        assert_eq!(compaction("periodic", "0"), Ok(None));
        assert_eq!(compaction("periodic", "8"), hours(8));
        assert_eq!(compaction("periodic", "120m"), hours(2));
        assert_eq!(compaction("revision", "1000"), Ok(Some(Mode::Revision(1000))));
        for (mode, retention) in [("revision", "1h"), ("revision", "-1"), ("periodic", "x"), ("never", "0")] {
            assert!(compaction(mode, retention).is_err(), "{mode} {retention}");
        }
    }

    #[test]
    fn tokens_are_simple_or_signed_with_keys() {
        assert_eq!(auth_token("simple"), Ok(AuthToken::Simple));
        let spec = "jwt,pub-key=a.pub,priv-key=a.key,sign-method=RS512,ttl=10m";
        let files = JwtFiles {
            verify: "a.pub".into(),
            sign: Some("a.key".into()),
            method: Algorithm::RS512,
            ttl: Duration::from_secs(600),
        };
        assert_eq!(auth_token(spec), Ok(AuthToken::Jwt(files)));
        for bad in
            ["jwt", "jwt,sign-method=RS256", "jwt,pub-key=a", "jwt,pub-key=a,sign-method=X", "other", "jwt,x"]
        {
            assert!(auth_token(bad).is_err(), "{bad}");
        }
    }
}
