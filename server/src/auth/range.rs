//! Ranges of keys, and whether permissions cover them.

use crate::proto::etcdserverpb::{Permission, permission::Type};

/// The keys from `start` on, before `end`; to the last one where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span<'a> {
    start: &'a [u8],
    end: Option<&'a [u8]>,
}

/// The span that a key and a range end of a request or permission stand for. A single key ends right behind
/// itself, which is said with `buffer`.
fn span<'a>(key: &'a [u8], range_end: &'a [u8], buffer: &'a mut Vec<u8>) -> Span<'a> {
    match range_end {
        [] => {
            buffer.extend_from_slice(key);
            buffer.push(0);
            Span { start: key, end: Some(buffer) }
        }
        [0] => Span { start: key, end: None },
        end => Span { start: key, end: Some(end) },
    }
}

/// Whether a permission's range makes sense: it has a key, and its end is behind it.
pub(super) fn is_valid(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == [0] || key < range_end)
}

/// Whether the permissions of a kind (reading or writing), taken together, cover a range.
pub(super) fn covers<'a>(
    permissions: impl Iterator<Item = &'a Permission>,
    write: bool,
    key: &[u8],
    range_end: &[u8],
) -> bool {
    let mut buffer = Vec::new();
    let wanted = span(key, range_end, &mut buffer);
    // A range that is empty needs the right to its first key, lest it tell what is not to be told.
    let mut buffer = Vec::new();
    let wanted = match wanted.end {
        Some(end) if end <= wanted.start => span(key, &[], &mut buffer),
        _ => wanted,
    };
    let kind = if write { Type::Write } else { Type::Read };
    let permits = |permission: &&Permission| {
        permission.perm_type == i32::from(kind) || permission.perm_type == i32::from(Type::Readwrite)
    };
    let permissions: Vec<&Permission> = permissions.filter(permits).collect();
    let mut buffers = vec![Vec::new(); permissions.len()];
    let mut spans: Vec<Span<'_>> = permissions
        .iter()
        .zip(&mut buffers)
        .map(|(permission, buffer)| span(&permission.key, &permission.range_end, buffer))
        .collect();
    spans.sort_by_key(|span| span.start);
    // Everything before `covered` is permitted.
    let mut covered = wanted.start;
    for span in spans {
        if span.start > covered {
            return false;
        }
        match (span.end, wanted.end) {
            (None, _) => return true,
            (Some(end), Some(wanted)) if end >= wanted => return true,
            (Some(end), _) if end > covered => covered = end,
            (Some(_), _) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_permissions_cover_what_they_cover_together() {
        let permission = |kind: Type, key: &str, end: &str| Permission {
            perm_type: kind.into(),
            key: key.to_string().into(),
            range_end: end.to_string().into(),
        };
        let permissions = [
            permission(Type::Read, "m", "p"),
            permission(Type::Readwrite, "c", "f"),
            permission(Type::Read, "f", "h"),
            permission(Type::Read, "x", ""),
            permission(Type::Write, "z", "\0"),
        ];
        for (write, key, end, want) in [
            (false, "c", "", true),
            (true, "c", "", true),
            (true, "f", "", false),
            (false, "c", "h", true),
            (true, "c", "f", true),
            (true, "c", "g", false),
            (false, "c", "i", false),
            (false, "b", "d", false),
            (false, "g", "n", false),
            (false, "x", "", true),
            (false, "x", "x\0", true),
            (false, "x", "x\0\0", false),
            (false, "x", "\0", false),
            (true, "z", "\0", true),
            (true, "zz", "", true),
            (false, "z", "", false),
            (false, "d", "a", true),
            (false, "i", "a", false),
        ] {
            assert_eq!(
                covers(permissions.iter(), write, key.as_bytes(), end.as_bytes()),
                want,
                "write {write}, {key:?} to {end:?}"
            );
        }
        assert!(!covers([].iter(), false, b"a", b""));
    }

    #[test]
    fn a_range_ends_behind_its_key() {
        for (key, end, want) in [
            ("", "", false),
            ("", "a", false),
            ("a", "", true),
            ("a", "b", true),
            ("b", "a", false),
            ("b", "\0", true),
        ] {
            assert_eq!(is_valid(key.as_bytes(), end.as_bytes()), want, "{key:?} to {end:?}");
        }
    }
}
