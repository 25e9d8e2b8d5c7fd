//! Which ranges hold a key: a tree of ranges by their start, in which every node knows how far those below it
//! reach. Finding the ranges of a key takes time in proportion to their number and the tree's depth.
//!
//! The tree is a treap: its depth is logarithmic by the priorities that its nodes draw. They come from a fixed
//! sequence, which whoever chooses the ranges cannot influence in a useful way: it is hashed with a number
//! that nobody sees.

use bytes::Bytes;
use std::cmp::Ordering;

/// The exclusive end of a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edge {
    /// A key.
    Key(Bytes),
    /// Behind all keys.
    End,
}

impl Edge {
    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            Edge::Key(end) => &end[..] > key,
            Edge::End => true,
        }
    }
}

/// Ranges, each with the slots of its watchers.
#[derive(Debug)]
pub(super) struct Intervals {
    root: Link,
    random: u64,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: Edge,
    /// The furthest end of this node and those below it.
    reach: Edge,
    priority: u64,
    group: Vec<u32>,
    left: Link,
    right: Link,
}

impl Node {
    fn compare(&self, start: &[u8], end: &Edge) -> Ordering {
        start.cmp(&self.start).then_with(|| end.cmp(&self.end))
    }

    fn update(&mut self) {
        let below = [&self.left, &self.right].into_iter().flatten().map(|node| &node.reach);
        self.reach = below.chain([&self.end]).max().expect("there is one").clone();
    }
}

impl Default for Intervals {
    fn default() -> Intervals {
        use std::hash::{BuildHasher, RandomState};
        Intervals { root: None, random: RandomState::new().hash_one(0) }
    }
}

impl Intervals {
    /// The group of a range, which is made if there is none.
    pub(super) fn group(&mut self, start: &Bytes, end: &Edge) -> &mut Vec<u32> {
        // Twice: a node that may be made cannot be borrowed while its ancestors are brought up to date.
        if find(&mut self.root, start, end).is_none() {
            let node = Node {
                start: start.clone(),
                end: end.clone(),
                reach: end.clone(),
                priority: self.draw(),
                group: Vec::new(),
                left: None,
                right: None,
            };
            self.root = Some(insert(self.root.take(), Box::new(node)));
        }
        &mut find(&mut self.root, start, end).expect("it was made").group
    }

    /// Removes a range with its group.
    pub(super) fn remove(&mut self, start: &Bytes, end: &Edge) {
        self.root = remove(self.root.take(), start, end);
    }

    /// Visits the groups of all ranges that hold a key.
    pub(super) fn stab(&self, key: &[u8], visit: &mut impl FnMut(&Vec<u32>)) {
        stab(&self.root, key, visit);
    }

    /// The next of a sequence of numbers (splitmix64).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn find<'a>(link: &'a mut Link, start: &[u8], end: &Edge) -> Option<&'a mut Node> {
    let mut at = link.as_deref_mut();
    while let Some(node) = at {
        at = match node.compare(start, end) {
            Ordering::Less => node.left.as_deref_mut(),
            Ordering::Greater => node.right.as_deref_mut(),
            Ordering::Equal => return Some(node),
        };
    }
    None
}

fn insert(link: Link, new: Box<Node>) -> Box<Node> {
    let Some(mut node) = link else { return new };
    if new.priority > node.priority {
        let mut new = new;
        (new.left, new.right) = split(Some(node), &new.start, &new.end);
        new.update();
        return new;
    }
    let below = if node.compare(&new.start, &new.end).is_lt() { &mut node.left } else { &mut node.right };
    *below = Some(insert(below.take(), new));
    node.update();
    node
}

/// Parts a tree at a range that is not in it.
fn split(link: Link, start: &[u8], end: &Edge) -> (Link, Link) {
    let Some(mut node) = link else { return (None, None) };
    if node.compare(start, end).is_lt() {
        let (left, right) = split(node.left.take(), start, end);
        node.left = right;
        node.update();
        (left, Some(node))
    } else {
        let (left, right) = split(node.right.take(), start, end);
        node.right = left;
        node.update();
        (Some(node), right)
    }
}

fn remove(link: Link, start: &[u8], end: &Edge) -> Link {
    let mut node = link?;
    match node.compare(start, end) {
        Ordering::Less => node.left = remove(node.left.take(), start, end),
        Ordering::Greater => node.right = remove(node.right.take(), start, end),
        Ordering::Equal => return merge(node.left.take(), node.right.take()),
    }
    node.update();
    Some(node)
}

/// Joins two trees, all of whose ranges are in order.
fn merge(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, one) | (one, None) => one,
        (Some(mut left), Some(mut right)) => {
            if left.priority > right.priority {
                left.right = merge(left.right.take(), Some(right));
                left.update();
                Some(left)
            } else {
                right.left = merge(Some(left), right.left.take());
                right.update();
                Some(right)
            }
        }
    }
}

fn stab(link: &Link, key: &[u8], visit: &mut impl FnMut(&Vec<u32>)) {
    let Some(node) = link.as_deref().filter(|node| node.reach.is_behind(key)) else { return };
    stab(&node.left, key, visit);
    if &node.start[..] <= key {
        if node.end.is_behind(key) {
            visit(&node.group);
        }
        stab(&node.right, key, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge(end: Option<u8>) -> Edge {
        end.map_or(Edge::End, |end| Edge::Key(Bytes::copy_from_slice(&[end])))
    }

    proptest! {
        /// Against a plain list.
        #[test]
        fn a_key_is_in_the_ranges_that_hold_it(
            steps in prop::collection::vec((0_u8..20, prop::option::of(0_u8..20), any::<bool>()), 0..200),
        ) {
            let mut tree = Intervals::default();
            let mut list: Vec<(u8, Option<u8>, u32)> = Vec::new();
            for (number, (start, end, add)) in (0_u32..).zip(steps) {
                let first = Bytes::copy_from_slice(&[start]);
                if add {
                    tree.group(&first, &edge(end)).push(number);
                    list.push((start, end, number));
                } else if list.iter().any(|(s, e, _)| (*s, *e) == (start, end)) {
                    tree.remove(&first, &edge(end));
                    list.retain(|(s, e, _)| (*s, *e) != (start, end));
                }
                for key in 0..21 {
                    let mut found: Vec<u32> = Vec::new();
                    tree.stab(&[key], &mut |group| found.extend(group));
                    found.sort_unstable();
                    let holds = |(s, e, _): &&(u8, Option<u8>, u32)| *s <= key && e.is_none_or(|e| key < e);
                    let want: Vec<u32> = list.iter().filter(holds).map(|(_, _, n)| *n).collect();
                    prop_assert_eq!(found, want);
                }
            }
        }
    }
}
