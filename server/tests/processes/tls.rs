//! Encrypted connections of clients: plain, and with certificates of their own.

use crate::{
    authority::Authority,
    fleet::{Fleet, PATIENCE},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    env, fs, io,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Asks for /version, with the certificate of `name` if there is one.
async fn version(address: &str, authority: &Authority, name: Option<&str>) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.file("ca", "pem")).map_err(io::Error::other)?;
    roots.add(ca).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let config = match name {
        None => config.with_no_client_auth(),
        Some(name) => {
            let chain =
                CertificateDer::from_pem_file(authority.file(name, "pem")).map_err(io::Error::other)?;
            let key = PrivateKeyDer::from_pem_file(authority.file(name, "key")).map_err(io::Error::other)?;
            config.with_client_auth_cert(vec![chain], key).map_err(io::Error::other)?
        }
    };
    let socket = TcpStream::connect(address).await?;
    let server = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut socket = TlsConnector::from(Arc::new(config)).connect(server, socket).await?;
    socket.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn answers(address: &str, authority: &Authority, name: Option<&str>) {
    let begun = Instant::now();
    loop {
        match version(address, authority, name).await {
            Ok(answer) => return assert!(answer.contains("etcdserver"), "{answer}"),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "no answer: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Flags for a server with the certificate `server`, and its address.
fn flags(fleet: &Fleet, authority: &Authority, more: &[&str]) -> (Vec<String>, String) {
    let url = fleet.client_url(0).replace("http://", "https://");
    let address = url.trim_start_matches("https://").to_string();
    let mut flags = vec![
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--initial-cluster=n0={}", fleet.peer_url(0)),
        format!("--cert-file={}", authority.file("server", "pem").display()),
        format!("--key-file={}", authority.file("server", "key").display()),
    ];
    flags.extend(more.iter().map(|flag| flag.to_string()));
    (flags, address)
}

fn start(fleet: &mut Fleet, flags: &[String]) {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    fleet.spawn_with(0, &flags);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_encrypted_and_a_renewed_certificate_needs_no_restart() {
    let mut fleet = Fleet::of(1);
    let authority = Authority::new(fleet.dir());
    authority.sign("server");
    let (flags, address) = flags(&fleet, &authority, &[]);
    start(&mut fleet, &flags);
    answers(&address, &authority, None).await;
    let mut plain = TcpStream::connect(&address).await.unwrap();
    plain.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("etcdserver"), "without TLS nothing is told");
    // Somebody else signs from now on: who trusts only that authority is served, without a restart.
    let other_dir = fleet.dir().join("other");
    fs::create_dir(&other_dir).unwrap();
    let other = Authority::new(&other_dir);
    other.sign("server");
    assert!(version(&address, &other, None).await.is_err(), "not trusted yet");
    for ending in ["key", "pem"] {
        fs::copy(other.file("server", ending), authority.file("server", ending)).unwrap();
    }
    answers(&address, &other, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_a_certificate_are_turned_away_where_they_need_one() {
    let mut fleet = Fleet::of(1);
    let authority = Authority::new(fleet.dir());
    authority.sign("server");
    authority.sign("root");
    let ca = format!("--trusted-ca-file={}", authority.file("ca", "pem").display());
    let (flags, address) = flags(&fleet, &authority, &["--client-cert-auth", &ca]);
    start(&mut fleet, &flags);
    answers(&address, &authority, Some("root")).await;
    let refused = version(&address, &authority, None).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.is_empty()), "no certificate");
    let other_dir = fleet.dir().join("other");
    fs::create_dir(&other_dir).unwrap();
    let other = Authority::new(&other_dir);
    other.sign("root");
    fs::copy(authority.file("ca", "pem"), other.file("ca", "pem")).unwrap();
    let refused = version(&address, &other, Some("root")).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.is_empty()), "another authority's");
    etcdctl_is_who_its_certificate_says(&address, &authority);
}

/// The common name of a certificate is a user: no password is needed.
fn etcdctl_is_who_its_certificate_says(address: &str, authority: &Authority) {
    let Some(bin) = env::var_os("ASSAY_ETCD_BIN").map(PathBuf::from) else {
        eprintln!("SKIPPED etcdctl with TLS: ASSAY_ETCD_BIN does not name a folder with etcdctl");
        return;
    };
    authority.sign("nobody");
    let run = |name: &str, args: &[&str]| {
        let output = Command::new(bin.join("etcdctl"))
            .env_clear()
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=https://{address}"))
            .arg(format!("--cacert={}", authority.file("ca", "pem").display()))
            .arg(format!("--cert={}", authority.file(name, "pem").display()))
            .arg(format!("--key={}", authority.file(name, "key").display()))
            .args(args)
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    for args in [
        &["put", "k", "v"][..],
        &["user", "add", "root:secret"],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
        &["put", "k", "w"],
        &["get", "k"],
        &["user", "list"],
    ] {
        let (ok, said) = run("root", args);
        assert!(ok, "{args:?}: {said}");
    }
    let (ok, said) = run("nobody", &["get", "k"]);
    assert!(!ok && said.contains("permission denied"), "{said}");
    let (ok, said) = run("nobody", &["--user=root:secret", "get", "k"]);
    assert!(ok && said.contains('w'), "a password counts more than a certificate: {said}");
}
