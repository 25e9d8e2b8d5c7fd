//! Files that change, and who may call.

use super::{Accept, Allowed, Own, PeerTls, Tls, common_name};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::Connection;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// An authority that writes what it signs into a folder.
struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let signed = params.self_signed(&key).expect("a certificate");
        let dir = dir.join(name);
        fs::create_dir(&dir).expect("a folder");
        fs::write(dir.join("ca.pem"), signed.pem()).expect("a file");
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate for localhost with this common name and serial number.
    fn sign(&self, name: &str, serial: u64) -> Own {
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        assert_eq!(common_name(signed.der()).as_deref(), Some(name));
        let own =
            Own { cert: self.dir.join(format!("{name}.pem")), key: self.dir.join(format!("{name}.key")) };
        fs::write(&own.cert, signed.pem()).expect("a file");
        fs::write(&own.key, key.serialize_pem()).expect("a file");
        own
    }

    /// A list of revoked serial numbers.
    fn revoke(&self, serials: &[u64]) -> PathBuf {
        let now = SystemTime::now();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(86_400)).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.dir.join("crl.pem");
        fs::write(&file, list.signed_by(&self.issuer).expect("a list").pem().expect("it is text"))
            .expect("a file");
        file
    }
}

/// As if a file had been written so many seconds later.
fn touch(path: &Path, seconds: u64) {
    let file = fs::File::options().append(true).open(path).expect("a file");
    file.set_modified(SystemTime::now() + Duration::from_secs(seconds)).expect("a time");
}

#[test]
fn a_renewed_certificate_is_read_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(dir.path(), "ca");
    let own = authority.sign("server", 1);
    let tls = Tls::open(Accept::anybody(own.clone()), false).expect("good files");
    let first = tls.config();
    assert!(Arc::ptr_eq(&first, &tls.config()), "nothing has changed");
    fs::write(&own.cert, "nonsense").expect("a file");
    touch(&own.cert, 10);
    assert!(Arc::ptr_eq(&first, &tls.config()), "the old one stays in use");
    authority.sign("server", 2);
    touch(&own.cert, 20);
    assert!(!Arc::ptr_eq(&first, &tls.config()), "renewed");
    fs::remove_file(&own.key).expect("a file");
    let error = Tls::open(Accept::anybody(own), false).expect_err("no key").to_string();
    assert!(error.contains("server.key"), "{error}");
}

#[test]
fn a_certificate_that_nobody_signed_is_made_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = || Own::made_in(dir.path(), &["localhost".to_string()], 1).expect("it is made");
    let first = fs::read(made().cert).expect("a file");
    assert_eq!(fs::read(made().cert).expect("a file"), first);
}

/// What either side has against the other, once both have said all they have to say.
fn meet(caller: Result<Connection, rustls::Error>, called: &PeerTls) -> Result<(), String> {
    let mut sides = [caller.map_err(|error| error.to_string())?, called.accept().expect("a session")];
    let mut faults = Vec::new();
    for _turn in 0..10 {
        for from in [0, 1] {
            let mut said = Vec::new();
            while sides[from].wants_write() {
                sides[from].write_tls(&mut said).expect("memory");
            }
            let mut said = &said[..];
            while !said.is_empty() {
                sides[1 - from].read_tls(&mut said).expect("memory");
                faults.extend(sides[1 - from].process_new_packets().err());
            }
        }
    }
    // The first is the cause; what the other side is told of it comes later.
    match faults.first() {
        Some(fault) => Err(fault.to_string()),
        None => {
            assert!(sides.iter().all(|side| !side.is_handshaking()), "they never agree");
            Ok(())
        }
    }
}

#[test]
fn members_call_each_other_if_one_authority_signed_both() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let member = |authority: &Authority, name: &str, serial, ca: &Authority| {
        let own = authority.sign(name, serial);
        let accept = Accept { ca: Some(ca.ca()), ..Accept::anybody(own.clone()) };
        PeerTls::open(accept, own).expect("good files")
    };
    let (one, two) = (member(&ours, "one", 1, &ours), member(&ours, "two", 2, &ours));
    assert_eq!(meet(one.call("localhost"), &two), Ok(()));
    let error = meet(one.call("elsewhere"), &two).expect_err("another host's certificate");
    assert!(error.contains("elsewhere"), "{error}");
    let stranger = member(&theirs, "one", 1, &theirs);
    let unknown = "invalid peer certificate: UnknownIssuer";
    assert_eq!(meet(stranger.call("localhost"), &two), Err(unknown.into()), "it does not trust the member");
    assert_eq!(meet(one.call("localhost"), &stranger), Err(unknown.into()), "the member does not trust it");
    // Who trusts anybody is not trusted by anybody.
    let hostile = member(&theirs, "hostile", 2, &ours);
    assert_eq!(meet(hostile.call("localhost"), &two), Err(unknown.into()));
}

#[test]
fn certificates_that_are_revoked_or_of_another_name_are_not_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(dir.path(), "ca");
    let (one, two) = (authority.sign("one", 1), authority.sign("two", 2));
    let crl = authority.revoke(&[1]);
    let called = |crl: Option<&PathBuf>, allowed| {
        let accept = Accept { own: two.clone(), ca: Some(authority.ca()), crl: crl.cloned(), allowed };
        PeerTls::open(accept, two.clone()).expect("good files")
    };
    let by = |own: &Own, called: &PeerTls| {
        let accept = Accept { ca: Some(authority.ca()), ..Accept::anybody(own.clone()) };
        meet(PeerTls::open(accept, own.clone()).expect("good files").call("localhost"), called)
    };
    let revoking = called(Some(&crl), Allowed::All);
    assert_eq!(by(&two, &revoking), Ok(()));
    assert_eq!(by(&one, &revoking), Err("invalid peer certificate: Revoked".into()));
    // The list is read again too.
    authority.revoke(&[2]);
    touch(&crl, 10);
    assert_eq!(by(&one, &revoking), Ok(()));
    assert_eq!(by(&two, &revoking), Err("invalid peer certificate: Revoked".into()));

    let named = called(None, Allowed::CommonNames(vec!["zero".into(), "one".into()]));
    assert_eq!(by(&one, &named), Ok(()));
    let error = by(&two, &named).expect_err("another name");
    assert!(error.contains("\"two\" is not among those that are allowed"), "{error}");
    assert_eq!(by(&one, &called(None, Allowed::Hosts(vec!["a.example".into(), "localhost".into()]))), Ok(()));
    assert!(by(&one, &called(None, Allowed::Hosts(vec!["a.example".into()]))).is_err());
}

#[test]
fn members_whose_certificates_nobody_signed_take_any() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = |name: &str| {
        let own = Own::made_in(&dir.path().join(name), &[name.to_string()], 1).expect("it is made");
        PeerTls::open(Accept::anybody(own.clone()), own).expect("good files")
    };
    assert_eq!(meet(member("one").call("10.0.0.1"), &member("two")), Ok(()));
}
