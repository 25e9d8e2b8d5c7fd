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

/// Found by simulation: a member whose log had been overwritten just where a segment began refused to start once
/// the segments before were gone.
#[test]
fn entries_that_replace_some_of_a_released_segment_are_read_back() {
    for first_replaced in [3, 2] {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = Wal::create(real(), dir.path(), OWNER).unwrap();
        for index in 1..=3 {
            wal.save(&turn(vec![entry(index, 1, "old")], 1, 0)).unwrap();
        }
        wal.set_segment_bytes(1);
        let new: Vec<_> = (first_replaced..=5).map(|index| entry(index, 2, "new")).collect();
        wal.save(&turn(new.clone(), 2, 5)).unwrap();
        assert_eq!(wal.release(LogIndex(3)).remove().unwrap(), 1);
        let (mut wal, recovered) = Wal::open(real(), dir.path(), OWNER).unwrap();
        assert_eq!(recovered.entries, new);
        wal.save(&turn(vec![entry(6, 2, "after")], 2, 5)).unwrap();
        let (_, recovered) = Wal::open(real(), dir.path(), OWNER).unwrap();
        assert_eq!(recovered.entries.last(), Some(&entry(6, 2, "after")));
    }
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
