//! The ordinary course, on the real file system.

use super::{
    super::{Lock, OpenError, RealFiles},
    *,
};

fn real() -> RealFiles {
    RealFiles { fsync: true, metrics: Default::default() }
}

#[test]
fn segments_follow_each_other_and_are_let_go_of_once_an_image_covers_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::create(real(), dir.path(), OWNER).unwrap();
    wal.set_segment_bytes(300);
    for index in 1..=30 {
        wal.save(&turn(vec![entry(index, 1, "some value")], 1, index - 1)).unwrap();
    }
    let (_, whole) = Wal::open(real(), dir.path(), OWNER).unwrap();
    assert_eq!(whole.entries.len(), 30);
    let before = real().list(dir.path()).unwrap().len();
    let removed = wal.release(LogIndex(20)).remove().unwrap();
    assert!(removed > 3, "{removed} of {before} segments");
    let (mut wal, rest) = Wal::open(real(), dir.path(), OWNER).unwrap();
    assert_eq!(rest.hard_state, whole.hard_state);
    assert!(rest.entries[0].index <= LogIndex(21), "{:?}", rest.entries[0]);
    assert_eq!(rest.entries.last(), whole.entries.last());
    wal.save(&turn(vec![entry(31, 1, "after")], 1, 30)).unwrap();
    let (_, rest) = Wal::open(real(), dir.path(), OWNER).unwrap();
    assert_eq!(rest.entries.last().unwrap().index, LogIndex(31));
}

#[test]
fn an_installed_image_replaces_the_log_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::create(real(), dir.path(), OWNER).unwrap();
    wal.set_segment_bytes(200);
    for index in 1..=5 {
        wal.save(&turn(vec![entry(index, 1, "old")], 1, 0)).unwrap();
    }
    wal.save(&Write { install: Some(meta(50, 4)), ..turn(Vec::new(), 4, 50) }).unwrap();
    for index in 51..=55 {
        wal.save(&turn(vec![entry(index, 4, "new")], 4, 50)).unwrap();
    }
    let (_, recovered) = Wal::open(real(), dir.path(), OWNER).unwrap();
    assert_eq!(recovered.installed, LogIndex(50));
    let indexes: Vec<u64> = recovered.entries.iter().map(|entry| entry.index.0).collect();
    assert_eq!(indexes, [51, 52, 53, 54, 55]);
}

#[test]
fn a_second_server_on_one_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let held = Lock::acquire(dir.path()).unwrap();
    assert!(matches!(Lock::acquire(dir.path()), Err(OpenError::Locked { .. })));
    drop(held);
    Lock::acquire(dir.path()).unwrap();
}
