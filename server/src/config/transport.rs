//! etcd's flags for encrypted connections: one group for clients, one for peers.

use super::{Mistakes, Url};
use crate::{
    cli::Flags,
    tls::{Allowed, Own},
};
use std::path::PathBuf;

/// How connections to a kind of port are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// What the port shows.
    pub certificate: Certificate,
    /// Who signs the certificates that callers must have; `None`: they need none.
    pub ca: Option<PathBuf>,
    /// Which of them are revoked.
    pub crl: Option<PathBuf>,
    /// Which of them are good here.
    pub allowed: Allowed,
    /// For clients: whether a certificate's common name is a user. For peers without a meaning.
    pub names_users: bool,
    /// What a member shows when it calls another, if that is not what its port shows.
    pub caller: Option<Own>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// From files.
    Files(Own),
    /// Signed by nobody, made in the data directory, and valid for so many years.
    SelfSigned {
        /// How many.
        years: u32,
    },
}

/// The flags of a group, by name and by value.
struct Group<'a> {
    cert: (&'static str, &'a Option<PathBuf>),
    key: (&'static str, &'a Option<PathBuf>),
    ca: (&'static str, &'a Option<PathBuf>),
    auth: (&'static str, bool),
    auto: (&'static str, bool),
    crl: (&'static str, &'a Option<PathBuf>),
    names: (&'static str, &'a [String]),
    hosts: (&'static str, &'a [String]),
    caller: [(&'static str, &'a Option<PathBuf>); 2],
}

/// Encryption for clients, who call at `listen`.
pub(super) fn client(flags: &Flags, listen: &[Url], mistakes: &mut Mistakes) -> Option<Transport> {
    let group = Group {
        cert: ("cert-file", &flags.cert_file),
        key: ("key-file", &flags.key_file),
        ca: ("trusted-ca-file", &flags.trusted_ca_file),
        auth: ("client-cert-auth", flags.client_cert_auth),
        auto: ("auto-tls", flags.auto_tls),
        crl: ("client-crl-file", &flags.client_crl_file),
        names: ("", &[]),
        hosts: ("client-cert-allowed-hostname", &flags.client_cert_allowed_hostname),
        caller: [("", &None), ("", &None)],
    };
    let url = listen.iter().find(|url| url.tls);
    group.transport(flags.self_signed_cert_validity, url.map(|url| ("listen-client-urls", url)), mistakes)
}

/// Encryption between members, who call each other at `urls`, of this flag each.
pub(super) fn peer(
    flags: &Flags,
    urls: &[(&'static str, Url)],
    mistakes: &mut Mistakes,
) -> Option<Transport> {
    let group = Group {
        cert: ("peer-cert-file", &flags.peer.peer_cert_file),
        key: ("peer-key-file", &flags.peer.peer_key_file),
        ca: ("peer-trusted-ca-file", &flags.peer.peer_trusted_ca_file),
        auth: ("peer-client-cert-auth", flags.peer.peer_client_cert_auth),
        auto: ("peer-auto-tls", flags.peer.peer_auto_tls),
        crl: ("peer-crl-file", &flags.peer.peer_crl_file),
        names: ("peer-cert-allowed-cn", &flags.peer.peer_cert_allowed_cn),
        hosts: ("peer-cert-allowed-hostname", &flags.peer.peer_cert_allowed_hostname),
        caller: [
            ("peer-client-cert-file", &flags.peer.peer_client_cert_file),
            ("peer-client-key-file", &flags.peer.peer_client_key_file),
        ],
    };
    let url = urls.iter().find(|(_, url)| url.tls);
    let transport =
        group.transport(flags.self_signed_cert_validity, url.map(|(flag, url)| (*flag, url)), mistakes);
    if let (Some((flag, url)), Some(Transport { certificate: Certificate::Files(_), ca: None, .. })) =
        (url, &transport)
    {
        let problem =
            format!("{} needs --peer-trusted-ca-file: who signs the members' certificates", url.text);
        mistakes.add(flag, problem);
    }
    transport
}

impl Group<'_> {
    /// What the flags say, and whether `encrypted`, a URL, has what it needs.
    fn transport(
        &self,
        years: u32,
        encrypted: Option<(&'static str, &Url)>,
        mistakes: &mut Mistakes,
    ) -> Option<Transport> {
        let certificate = match both(self.cert, self.key, mistakes) {
            Some(own) => Some(Certificate::Files(own)),
            None if self.auto.1 && self.cert.1.is_none() && self.key.1.is_none() => {
                Some(Certificate::SelfSigned { years })
            }
            None => None,
        };
        self.check_callers(mistakes);
        if let (Some((flag, url)), None, None, None) = (encrypted, &certificate, self.cert.1, self.key.1) {
            let (cert, key, auto) = (self.cert.0, self.key.0, self.auto.0);
            mistakes.add(flag, format!("{} needs --{cert} and --{key}, or --{auto}", url.text));
        }
        let [caller_cert, caller_key] = self.caller;
        let allowed = match (self.names.1, self.hosts.1) {
            ([], []) => Allowed::All,
            ([], hosts) => Allowed::Hosts(hosts.to_vec()),
            (names, _) => Allowed::CommonNames(names.to_vec()),
        };
        Some(Transport {
            certificate: certificate?,
            ca: self.ca.1.clone(),
            crl: self.crl.1.clone(),
            allowed,
            names_users: self.auth.1,
            caller: both(caller_cert, caller_key, mistakes),
        })
    }

    /// What asks something of callers' certificates needs who signs them.
    fn check_callers(&self, mistakes: &mut Mistakes) {
        let asked = [
            (self.auth.0, self.auth.1),
            (self.crl.0, self.crl.1.is_some()),
            (self.names.0, !self.names.1.is_empty()),
            (self.hosts.0, !self.hosts.1.is_empty()),
        ];
        for (flag, _) in asked.into_iter().filter(|(_, asked)| *asked && self.ca.1.is_none()) {
            mistakes.add(flag, format!("--{} must say who signs the callers' certificates", self.ca.0));
        }
        if !self.names.1.is_empty() && !self.hosts.1.is_empty() {
            mistakes.add(self.names.0, format!("give this or --{}, not both", self.hosts.0));
        }
    }
}

/// Two files that belong together.
fn both(
    (cert_flag, cert): (&'static str, &Option<PathBuf>),
    (key_flag, key): (&'static str, &Option<PathBuf>),
    mistakes: &mut Mistakes,
) -> Option<Own> {
    match (cert, key) {
        (Some(cert), Some(key)) => return Some(Own { cert: cert.clone(), key: key.clone() }),
        (None, None) => {}
        (Some(_), None) => mistakes.add(key_flag, format!("it belongs to --{cert_flag}; give both")),
        (None, Some(_)) => mistakes.add(cert_flag, format!("it belongs to --{key_flag}; give both")),
    }
    None
}
