//! A crash between any two operations of the disk.

use super::{
    super::{Birth, DataDir, Images, OpenError},
    *,
};

fn birth() -> Birth {
    Birth { membership: meta(0, 0).membership, roster: Bytes::from_static(b"who is who") }
}

#[test]
fn whatever_was_saved_survives_a_loss_of_power_at_any_moment() {
    for budget in 0.. {
        let files = MemoryFiles::default();
        files.fail_after(budget);
        let mut saved = 0;
        let run = || -> Result<(), ()> {
            let mut wal = Wal::create(files.clone(), Path::new(LOG), OWNER).map_err(drop)?;
            wal.set_segment_bytes(200);
            for index in 1..=12 {
                wal.save(&turn(vec![entry(index, 1, "value")], 1, index - 1)).map_err(drop)?;
                saved = index;
            }
            Ok(())
        };
        let done = { run }().is_ok();
        let after = files.after_power_loss();
        match reopen(&after) {
            Ok(recovered) => {
                let found = recovered.entries.len() as u64;
                assert!(found >= saved, "{found} of {saved} entries after {budget} operations");
            }
            Err(error) => assert_eq!(saved, 0, "after {budget} operations: {error}"),
        }
        if done {
            return;
        }
    }
}

#[test]
fn a_directory_whose_making_was_cut_short_is_made_again() {
    for budget in 0.. {
        let files = MemoryFiles::default();
        files.fail_after(budget);
        let done = DataDir::new(files.clone(), Path::new("/data")).open(OWNER, birth()).is_ok();
        for files in [files.after_power_loss(), {
            files.fail_after(u64::MAX);
            files
        }] {
            let opened = DataDir::new(files, Path::new("/data")).open(OWNER, birth());
            let opened = opened.unwrap_or_else(|error| panic!("after {budget} operations: {error}"));
            assert_eq!(opened.image, meta(0, 0));
            assert_eq!(opened.roster, birth().roster);
        }
        if done {
            return;
        }
    }
}

#[test]
fn after_a_failed_flush_nothing_is_ever_saved_again() {
    let files = MemoryFiles::default();
    let mut wal = Wal::create(files.clone(), Path::new(LOG), OWNER).unwrap();
    files.fail_sync(true);
    wal.save(&turn(vec![entry(1, 1, "a")], 1, 0)).unwrap_err();
    files.fail_sync(false);
    let error = wal.save(&turn(vec![entry(2, 1, "b")], 1, 0)).unwrap_err();
    assert!(error.to_string().contains("earlier"), "{error}");
}

#[test]
fn an_image_that_is_ahead_of_the_log_replaces_it() {
    let dir = DataDir::new(MemoryFiles::default(), Path::new("/data"));
    let mut opened = dir.open(OWNER, birth()).unwrap();
    opened.wal.save(&turn(vec![entry(1, 1, "a"), entry(2, 1, "b")], 1, 1)).unwrap();
    opened.images.write(meta(40, 3), "peer").unwrap().finish().unwrap();
    drop(opened);
    for _ in 0..2 {
        let mut opened = dir.open(OWNER, birth()).unwrap();
        assert_eq!(opened.image, meta(40, 3));
        assert_eq!(opened.entries, []);
        assert_eq!(opened.hard_state, HardState { term: Term(3), vote: None, commit: LogIndex(40) });
        let commit_41 = HardState { term: Term(3), vote: None, commit: LogIndex(40) };
        opened.wal.save(&Write { hard_state: Some(commit_41), must_sync: true, ..Write::default() }).unwrap();
    }
    let mut opened = dir.open(OWNER, birth()).unwrap();
    opened.wal.save(&turn(vec![entry(41, 3, "next")], 3, 40)).unwrap();
    drop(opened);
    assert_eq!(dir.open(OWNER, birth()).unwrap().entries, [entry(41, 3, "next")]);
}

#[test]
fn a_damaged_image_falls_back_to_the_older_one_if_the_log_reaches_back_to_it() {
    let files = MemoryFiles::default();
    let dir = DataDir::new(files.clone(), Path::new("/data"));
    let mut opened = dir.open(OWNER, birth()).unwrap();
    for index in 1..=4 {
        opened.wal.save(&turn(vec![entry(index, 1, "v")], 1, index)).unwrap();
    }
    for index in [2, 3] {
        opened.images.write(meta(index, 1), "own").unwrap().finish().unwrap();
    }
    assert_eq!(opened.images.remove_older().unwrap(), LogIndex(2));
    drop(opened);
    assert_eq!(dir.open(OWNER, birth()).unwrap().image, meta(3, 1));
    let newest = files.names().into_iter().rfind(|path| path.to_str().unwrap().ends_with(".img")).unwrap();
    files.edit(&newest, |bytes| bytes[20] ^= 1);
    let opened = dir.open(OWNER, birth()).unwrap();
    assert_eq!((opened.image, opened.entries.len()), (meta(2, 1), 4));
    // The damaged one is none of those that are kept, however new it is.
    opened.images.write(meta(4, 1), "own").unwrap().finish().unwrap();
    assert_eq!(opened.images.remove_older().unwrap(), LogIndex(2));
    let names = files.names();
    let aside = names.iter().filter(|path| path.to_str().unwrap().ends_with(".img.damaged"));
    assert_eq!(aside.count(), 1);
}

#[test]
fn an_installed_image_that_is_gone_is_refused() {
    let files = MemoryFiles::default();
    let dir = DataDir::new(files.clone(), Path::new("/data"));
    let mut opened = dir.open(OWNER, birth()).unwrap();
    opened.images.write(meta(9, 2), "peer").unwrap().finish().unwrap();
    opened.wal.save(&Write { install: Some(meta(9, 2)), ..turn(Vec::new(), 2, 9) }).unwrap();
    drop(opened);
    let images = Images::new(files.clone(), Path::new("/data/images"), OWNER);
    files.remove(&images.list().unwrap()[0].1).unwrap();
    let error = dir.open(OWNER, birth()).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("entry 9 or later"), "{error}");
}

#[test]
fn a_directory_of_another_member_cluster_or_without_identity_is_refused() {
    let files = MemoryFiles::default();
    let dir = DataDir::new(files.clone(), Path::new("/data"));
    let mut opened = dir.open(OWNER, birth()).unwrap();
    opened.wal.save(&turn(vec![entry(1, 1, "v")], 1, 0)).unwrap();
    drop(opened);
    for (other, want) in [
        (Identity { cluster: 0xdead, ..OWNER }, "cluster c1"),
        (Identity { node: NodeId(0xbeef), ..OWNER }, "member 7"),
    ] {
        let text = dir.open(other, birth()).unwrap_err().to_string();
        assert!(text.contains(want) && text.contains("--data-dir"), "{text}");
    }
    files.remove(Path::new("/data/identity")).unwrap();
    let text = dir.open(OWNER, birth()).unwrap_err().to_string();
    assert!(text.contains("the file identity"), "{text}");
}
