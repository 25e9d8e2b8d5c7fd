//! What is under way.
//!
//! Either every message ever sent, in an order that says nothing; or, within a window, the newest few of each
//! link, in the order in which they were sent. Whatever is there may arrive at any time and again; what
//! leaves a window is lost.

/// Puts a message among those under way, in which those of a link are neighbours. `key` orders links, and
/// without a window also their messages. Returns whether anything changed: a message that is under way
/// already is not there twice.
pub(super) fn post<T: PartialEq, K: Ord>(
    mail: &mut Vec<T>,
    message: T,
    window: u8,
    key: impl Fn(&T) -> K,
) -> bool {
    if mail.contains(&message) {
        return false;
    }
    let this = key(&message);
    let end = mail.partition_point(|other| key(other) <= this);
    if window > 0 {
        let begin = mail.partition_point(|other| key(other) < this);
        if end - begin >= usize::from(window) {
            mail[begin..end].rotate_left(1);
            mail[end - 1] = message;
            return true;
        }
    }
    mail.insert(end, message);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_the_newest_of_each_link() {
        let mut mail = Vec::new();
        let link = |message: &u32| message / 10;
        for message in [21, 11, 12, 13, 22, 12, 11] {
            post(&mut mail, message, 2, link);
        }
        assert_eq!(mail, [13, 11, 21, 22], "12 was sent again while it was there, and left before 13");
        let mut all = Vec::new();
        for message in [21, 13, 12, 13] {
            post(&mut all, message, 0, |message| *message);
        }
        assert_eq!(all, [12, 13, 21]);
    }
}
