//! Encrypted connections between members, each with a certificate of its own.

use crate::{
    authority::Authority,
    fleet::{Fleet, PATIENCE, Writers, has_all, serves},
};
use server::proto::etcdserverpb::{
    MemberAddRequest, StatusRequest, cluster_client::ClusterClient, maintenance_client::MaintenanceClient,
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Flags for a member with the certificate `name` of `signer`, which trusts what `trusted` signs.
fn flags(signer: &Authority, name: &str, trusted: &Authority) -> Vec<String> {
    vec![
        format!("--peer-cert-file={}", signer.file(name, "pem").display()),
        format!("--peer-key-file={}", signer.file(name, "key").display()),
        format!("--peer-trusted-ca-file={}", trusted.file("ca", "pem").display()),
        "--peer-client-cert-auth".into(),
    ]
}

fn spawn(fleet: &mut Fleet, at: usize, members: &[usize], flags: &[String]) {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    fleet.spawn(at, members, &flags);
}

async fn logs(fleet: &Fleet, at: usize, what: &str) {
    let begun = Instant::now();
    while !fleet.log(at).contains(what) {
        assert!(begun.elapsed() < PATIENCE, "n{at} never says {what:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn leader_of(fleet: &Fleet, at: usize) -> u64 {
    let status = MaintenanceClient::new(fleet.channel(at)).status(StatusRequest {}).await;
    status.map_or(0, |status| status.into_inner().leader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_a_certificate_of_another_authority_stays_out_until_it_has_a_good_one() {
    let mut fleet = Fleet::with_encrypted_peers(3);
    let authority = Authority::new(fleet.dir());
    let other_dir = fleet.dir().join("other");
    fs::create_dir(&other_dir).unwrap();
    let other = Authority::new(&other_dir);
    for name in ["n0", "n1"] {
        authority.sign(name);
    }
    other.sign("n2");
    for at in [0, 1] {
        let flags = flags(&authority, &format!("n{at}"), &authority);
        spawn(&mut fleet, at, &[0, 1, 2], &flags);
    }
    // It trusts the others, and is not trusted.
    let foreign = flags(&other, "n2", &authority);
    spawn(&mut fleet, 2, &[0, 1, 2], &foreign);
    for at in [0, 1] {
        serves(fleet.channel(at)).await;
        logs(&fleet, at, "no encryption is agreed upon: invalid peer certificate").await;
    }
    assert_eq!(leader_of(&fleet, 2).await, 0, "nobody talks to it");

    // Neither is who speaks no TLS: it is told, and all goes on.
    let plain = fleet.peer_url(0).trim_start_matches("https://").to_string();
    let mut plain = TcpStream::connect(plain).unwrap();
    plain.write_all(b"GET /members HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut Vec::new());
    logs(&fleet, 0, "does not speak TLS").await;

    // Its certificate is renewed: nobody is started again.
    authority.sign("n2");
    for ending in ["key", "pem"] {
        fs::copy(authority.file("n2", ending), other.file("n2", ending)).unwrap();
    }
    serves(fleet.channel(2)).await;
    assert_ne!(leader_of(&fleet, 2).await, 0);
    for at in [0, 1, 2] {
        assert!(!fleet.log(at).contains("panicked"), "n{at}");
    }
}

/// All members get certificates of another authority one after the other, while clients write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_while_clients_write_and_a_new_member_joins_encrypted() {
    let mut fleet = Fleet::with_encrypted_peers(4);
    let authority = Authority::new(fleet.dir());
    let next_dir = fleet.dir().join("next");
    fs::create_dir(&next_dir).unwrap();
    let next = Authority::new(&next_dir);
    let first_three = [0, 1, 2];
    for at in first_three {
        authority.sign(&format!("n{at}"));
        let flags = flags(&authority, &format!("n{at}"), &authority);
        spawn(&mut fleet, at, &first_three, &flags);
    }
    for at in first_three {
        serves(fleet.channel(at)).await;
    }
    let writers = Writers::start(4, first_three.map(|at| fleet.client_url(at).to_string()).to_vec());
    // Both are trusted first, then certificates are replaced.
    let both = [authority.file("ca", "pem"), next.file("ca", "pem")].map(|file| fs::read(file).unwrap());
    fs::write(authority.file("ca", "pem"), both.concat()).unwrap();
    for at in first_three {
        let name = format!("n{at}");
        next.sign(&name);
        for ending in ["key", "pem"] {
            fs::copy(next.file(&name, ending), authority.file(&name, ending)).unwrap();
        }
        // Started again, it makes all its connections with what is there now.
        fleet.kill(at);
        let flags = flags(&authority, &name, &authority);
        spawn(&mut fleet, at, &first_three, &flags);
        serves(fleet.channel(at)).await;
    }
    // A member whose certificate only the new authority signed joins, through members that run.
    next.sign("n3");
    let add = MemberAddRequest { peer_ur_ls: vec![fleet.peer_url(3).into()], is_learner: false };
    let begun = Instant::now();
    // As with etcd, members change only once all have been connected for five seconds.
    while let Err(refused) = ClusterClient::new(fleet.channel(0)).member_add(add.clone()).await {
        assert_eq!(refused.message(), "etcdserver: unhealthy cluster");
        assert!(begun.elapsed() < PATIENCE, "the members never see each other");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let joining =
        [&flags(&next, "n3", &authority)[..], &["--initial-cluster-state=existing".into()]].concat();
    spawn(&mut fleet, 3, &[0, 1, 2, 3], &joining);
    serves(fleet.channel(3)).await;
    let acknowledged = writers.stop().await;
    assert!(!acknowledged.is_empty());
    has_all(fleet.channel(3), &acknowledged, "the new member").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_make_certificates_themselves_where_they_are_told_to() {
    let mut fleet = Fleet::with_encrypted_peers(3);
    for at in 0..3 {
        fleet.spawn(at, &[0, 1, 2], &["--peer-auto-tls"]);
    }
    for at in 0..3 {
        serves(fleet.channel(at)).await;
        assert!(fleet.data_dir(at).join("fixtures/peer/cert.pem").exists());
    }
}
