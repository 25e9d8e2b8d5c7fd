//! Cuts, flips and foreign bytes: never a panic, never a lost acknowledged record, never silence.

use super::{super::OpenError, *};

#[test]
fn a_cut_anywhere_keeps_every_record_before_it() {
    let (files, left) = small_log();
    let (born, _) = left[0];
    for cut in 0..files.len(&segment(1)) {
        let files = files.fork();
        files.edit(&segment(1), |bytes| bytes.truncate(cut));
        let result = reopen(&files);
        if cut < born {
            assert!(matches!(result, Err(OpenError::Damaged { .. })), "cut at {cut}: {result:?}");
            continue;
        }
        let want = &left.iter().rev().find(|(len, _)| *len <= cut).unwrap().1;
        assert_eq!(&result.unwrap(), want, "cut at {cut}");
        assert_eq!(&reopen(&files).unwrap(), want, "opened twice after a cut at {cut}");
    }
}

#[test]
fn a_flip_anywhere_is_noticed() {
    let (files, left) = small_log();
    let last_record = left[left.len() - 2].0;
    for at in 0..files.len(&segment(1)) {
        for mask in [0x01, 0x80, 0xff] {
            let files = files.fork();
            files.edit(&segment(1), |bytes| bytes[at] ^= mask);
            match reopen(&files) {
                Ok(recovered) => {
                    assert!(at >= last_record, "a flip at {at} passed");
                    assert_eq!(recovered, left[left.len() - 2].1, "flip at {at}");
                }
                Err(OpenError::Damaged { .. }) => {}
                Err(OpenError::Version { .. }) => assert!((8..12).contains(&at), "flip at {at}"),
                Err(other) => panic!("flip at {at}: {other}"),
            }
        }
    }
}

#[test]
fn damage_in_a_segment_that_has_a_successor_is_refused_wherever_it_is() {
    let (files, _) = small_log();
    let (mut wal, _) = Wal::open(files.clone(), Path::new(LOG), OWNER).unwrap();
    wal.set_segment_bytes(1);
    wal.save(&turn(vec![entry(5, 2, "in segment 2")], 2, 4)).unwrap();
    for at in 0..files.len(&segment(1)) {
        for cut in [false, true] {
            let files = files.fork();
            files.edit(&segment(1), |bytes| if cut { bytes.truncate(at) } else { bytes[at] ^= 4 });
            let error = reopen(&files).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("0000000000000001.log"), "{text}");
        }
    }
}

#[test]
fn damage_names_file_offset_and_remedy() {
    let (files, left) = small_log();
    let second = left[1].0;
    files.edit(&segment(1), |bytes| bytes[second + 30] ^= 1);
    let text = reopen(&files).unwrap_err().to_string();
    for part in [segment(1).to_str().unwrap(), &format!("offset {second}:"), "add it again"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn a_torn_record_before_an_intact_one_that_was_not_flushed_either_is_cut_off() {
    let (files, left) = small_log();
    let (mut wal, before) = Wal::open(files.clone(), Path::new(LOG), OWNER).unwrap();
    let whole = left.last().unwrap().0;
    for commit in [3, 4] {
        let write = Write { must_sync: false, ..turn(Vec::new(), 2, commit) };
        wal.save(&write).unwrap();
    }
    files.edit(&segment(1), |bytes| bytes[whole + 3] ^= 0x55);
    assert_eq!(reopen(&files).unwrap(), before);
    assert_eq!(files.len(&segment(1)), whole);
}

#[test]
fn a_record_of_another_place_or_member_is_not_taken() {
    let (files, left) = small_log();
    let range = left[1].0..left[2].0;
    let own = files.read(&segment(1)).unwrap()[range.clone()].to_vec();

    let again = files.fork();
    again.edit(&segment(1), |bytes| bytes.extend_from_slice(&own));
    assert_eq!(reopen(&again).unwrap(), left.last().unwrap().1, "an old record after the end is a torn tail");

    let other = MemoryFiles::default();
    let stranger = Identity { node: NodeId(8), ..OWNER };
    let mut wal = Wal::create(other.clone(), Path::new(LOG), stranger).unwrap();
    wal.save(&turn(vec![entry(1, 1, "a"), entry(2, 1, "bb")], 1, 0)).unwrap();
    wal.save(&turn(vec![entry(3, 1, "ccc")], 1, 2)).unwrap();
    let foreign = other.read(&segment(1)).unwrap()[range.clone()].to_vec();
    files.edit(&segment(1), |bytes| bytes[range.clone()].copy_from_slice(&foreign));
    assert!(matches!(reopen(&files), Err(OpenError::Damaged { offset, .. }) if offset == range.start as u64));
}

#[test]
fn a_missing_segment_is_refused_by_name() {
    let (files, _) = small_log();
    let (mut wal, _) = Wal::open(files.clone(), Path::new(LOG), OWNER).unwrap();
    wal.set_segment_bytes(1);
    for index in 5..8 {
        wal.save(&turn(vec![entry(index, 2, "n")], 2, 4)).unwrap();
    }
    files.remove(&segment(3)).unwrap();
    let text = reopen(&files).unwrap_err().to_string();
    assert!(text.contains("0000000000000003.log"), "{text}");
}

#[test]
fn an_image_cut_or_flipped_anywhere_is_refused() {
    let files = MemoryFiles::default();
    let images = super::super::Images::new(files.clone(), Path::new("/images"), OWNER);
    let mut writer = images.write(meta(9, 2), "test").unwrap();
    writer.chunk(b"first chunk").unwrap();
    writer.chunk(b"second").unwrap();
    writer.finish().unwrap();
    let (_, path) = images.list().unwrap().remove(0);
    assert_eq!(images.newest().unwrap(), meta(9, 2));
    for at in 0..files.len(&path) {
        for cut in [false, true] {
            let files = files.fork();
            files.edit(&path, |bytes| if cut { bytes.truncate(at) } else { bytes[at] ^= 0x10 });
            let images = super::super::Images::new(files, Path::new("/images"), OWNER);
            let result = images.newest();
            assert!(result.is_err(), "cut {cut} at {at}: {result:?}");
        }
    }
}
