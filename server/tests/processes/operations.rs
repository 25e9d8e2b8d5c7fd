//! What operators do: backups, another name, a configuration file.

use crate::fleet::{Fleet, PATIENCE, serves};
use server::proto::etcdserverpb::{
    MemberListRequest, PutRequest, RangeRequest, cluster_client::ClusterClient, kv_client::KvClient,
};
use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_assay-server");

fn snapshot(args: &[&str]) -> Output {
    Command::new(PROGRAM).env_clear().arg("snapshot").args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_one_member_makes_a_cluster_of_three() {
    let mut fleet = Fleet::of(4);
    fleet.spawn(0, &[0], &[]);
    serves(fleet.channel(0)).await;
    let mut kv = KvClient::new(fleet.channel(0));
    for n in 0..100 {
        let put = PutRequest { key: format!("k{n}").into(), value: "v".into(), ..PutRequest::default() };
        kv.put(put).await.unwrap();
    }
    let file = fleet.dir().join("backup.db").display().to_string();
    let saved = snapshot(&["save", &file, "--endpoints", fleet.client_url(0)]);
    assert!(saved.status.success(), "{}", said(&saved));
    let again = snapshot(&["save", &file, "--endpoints", fleet.client_url(0)]);
    assert_eq!(again.status.code(), Some(1), "a backup is not overwritten: {}", said(&again));
    let status = said(&snapshot(&["status", &file, "-w", "json"]));
    assert!(status.contains("\"revision\":101") && status.contains("\"totalKey\":100"), "{status}");
    fleet.kill(0);

    let members = [1, 2, 3];
    let cluster: Vec<String> = members.iter().map(|at| format!("n{at}={}", fleet.peer_url(*at))).collect();
    for at in members {
        let restored = snapshot(&[
            "restore",
            &file,
            &format!("--name=n{at}"),
            &format!("--data-dir={}", fleet.data_dir(at).display()),
            &format!("--initial-cluster={}", cluster.join(",")),
            "--initial-cluster-token=restored",
        ]);
        assert!(restored.status.success(), "{}", said(&restored));
    }
    let twice = snapshot(&["restore", &file, &format!("--data-dir={}", fleet.data_dir(1).display())]);
    assert_eq!(twice.status.code(), Some(1), "data is not overwritten: {}", said(&twice));
    for at in members {
        fleet.spawn(at, &members, &["--initial-cluster-token=restored"]);
    }
    for at in members {
        serves(fleet.channel(at)).await;
        let all = RangeRequest { key: "k".into(), range_end: "l".into(), ..RangeRequest::default() };
        let found = KvClient::new(fleet.channel(at)).range(all).await.unwrap().into_inner();
        assert_eq!((found.count, found.header.unwrap().revision), (100, 101), "n{at}");
        let request = MemberListRequest { linearizable: true };
        let list = ClusterClient::new(fleet.channel(at)).member_list(request).await.unwrap().into_inner();
        assert_eq!(list.members.len(), 3);
    }
    let put = PutRequest { key: "new".into(), ..PutRequest::default() };
    let put = KvClient::new(fleet.channel(2)).put(put).await.unwrap().into_inner();
    assert_eq!(put.header.unwrap().revision, 102, "revisions go on");

    let mut damaged = std::fs::read(&file).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let status = snapshot(&["status", &file]);
    assert_eq!(status.status.code(), Some(1));
    assert!(said(&status).contains("backup.db"), "{}", said(&status));
}

/// A program of another name that is this server.
fn under_another_name(dir: &Path) -> std::path::PathBuf {
    let program = dir.join("etcd");
    std::os::unix::fs::symlink(PROGRAM, &program).unwrap();
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_the_name_of_etcd_it_starts_from_etcds_command() {
    let mut fleet = Fleet::of(3);
    let program = under_another_name(fleet.dir());
    let version = Command::new(&program).arg("--version").output().unwrap();
    assert!(said(&version).starts_with("etcd Version: 3.5."), "{}", said(&version));
    let cluster: Vec<String> = (0..3).map(|at| format!("n{at}={}", fleet.peer_url(at))).collect();
    let cluster = cluster.join(",");
    for at in 0..3 {
        let advertised = fleet.peer_url(at).to_string();
        let flags = [
            "--initial-advertise-peer-urls",
            &advertised,
            "--initial-cluster-token",
            "etcd-cluster-1",
            "--initial-cluster",
            &cluster,
            "--initial-cluster-state",
            "new",
            "--snapshot-count=10000",
            "--max-wals=5",
            "--strict-reconfig-check=true",
            "--enable-v2=false",
            "--logger=zap",
            "--auto-compaction-retention=1",
            "--quota-backend-bytes=8589934592",
        ];
        fleet.spawn_as(&program, at, &flags);
    }
    for at in 0..3 {
        serves(fleet.channel(at)).await;
        let begun = Instant::now();
        while !fleet.log(at).contains("ready to serve client requests") {
            assert!(begun.elapsed() < PATIENCE, "it never says that it is ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    fleet.terminate(0);
    assert!(fleet.ends(0).await.success(), "a graceful stop");
    let refused = Command::new(&program).env_clear().arg("--enable-v2").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("the v2 API is gone"), "{}", said(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_file_says_it_all() {
    let mut fleet = Fleet::of(1);
    let file = fleet.dir().join("etcd.yaml");
    let text = format!(
        "name: n0\ndata-dir: {}\nlisten-client-urls: {}\nadvertise-client-urls: {}\nlisten-peer-urls: {}\n\
         initial-advertise-peer-urls: {}\ninitial-cluster: n0={}\nlog-outputs: [stderr]\n",
        fleet.data_dir(0).display(),
        fleet.client_url(0),
        fleet.client_url(0),
        fleet.peer_url(0),
        fleet.peer_url(0),
        fleet.peer_url(0)
    );
    std::fs::write(&file, text).unwrap();
    let flag = format!("--config-file={}", file.display());
    fleet.spawn_as(Path::new(PROGRAM), 0, &[&flag]);
    serves(fleet.channel(0)).await;
    let list = ClusterClient::new(fleet.channel(0)).member_list(MemberListRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().members[0].name, "n0");
    std::fs::write(&file, "name: [").unwrap();
    let refused = Command::new(PROGRAM).env_clear().arg(&flag).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("etcd.yaml"), "{}", said(&refused));
}

/// One member that loses a deletion differs from the others, and is found, also if nothing is written any more.
#[cfg(feature = "plant")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_other_data_raises_the_alarm() {
    use server::proto::etcdserverpb::{
        AlarmRequest, AlarmType, DeleteRangeRequest, maintenance_client::MaintenanceClient,
    };
    let mut fleet = Fleet::of(3);
    for at in 0..3 {
        let plant = if at == 2 { vec!["--plant=lost-delete"] } else { vec![] };
        fleet.spawn(at, &[0, 1, 2], &[&["--corrupt-check-time=500ms"], &plant[..]].concat());
    }
    for at in 0..3 {
        serves(fleet.channel(at)).await;
    }
    let mut kv = KvClient::new(fleet.channel(0));
    // The second write is a deletion, which the member loses; nothing is written later, so it stays a revision behind.
    kv.put(PutRequest { key: "k".into(), ..PutRequest::default() }).await.unwrap();
    let delete = DeleteRangeRequest { key: "k".into(), ..DeleteRangeRequest::default() };
    assert_eq!(kv.delete_range(delete).await.unwrap().into_inner().header.unwrap().revision, 3);
    let begun = Instant::now();
    loop {
        let get = AlarmRequest { alarm: AlarmType::Corrupt.into(), ..AlarmRequest::default() };
        let alarms = MaintenanceClient::new(fleet.channel(0)).alarm(get).await.unwrap().into_inner().alarms;
        if !alarms.is_empty() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody notices");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // As by etcd, readers are served what this member has.
    kv.range(RangeRequest { key: "k".into(), ..RangeRequest::default() }).await.unwrap();
    let put = PutRequest { key: "k".into(), ..PutRequest::default() };
    assert_eq!(kv.put(put).await.unwrap_err().message(), "etcdserver: corrupt cluster");
}
