//! The isolation engine where histories are large or odd: what small random ones do not come to.

use std::sync::Arc;

use checker::Options;
use checker::budget::Budget;
use checker::history::OpId;
use checker::isolation::cycles::{Order, Shape, cycles};
use checker::isolation::graph::{Builder, RW, WW};
use checker::isolation::registers::{OnRegister, Registers, Versions};
use checker::isolation::serial::{Serial, TXNS_MAX, serial};
use checker::isolation::txns::{Lists, NEVER, Span};
use checker::isolation::weak::{Sessions, Weak};
use checker::isolation::{Wrong, lists};

fn span(at: u32, process: u64, invoked: u64, returned: u64) -> Span {
    Span { id: OpId(at), process, invoked, returned }
}

/// A cycle that breaks snapshot isolation, behind edges in the same component that are on no cycle without adjacent
/// anti-dependencies; to follow them takes all the steps that there are.
#[test]
fn a_cycle_that_breaks_snapshots_is_found_however_much_is_tried_before() {
    let (last, first, chain) = (0, 1, 2..300_002);
    let mut builder = Builder::new(chain.end as usize);
    builder.edge(last, first, WW);
    builder.edge(first, chain.start, RW);
    for node in chain.start..chain.end - 1 {
        builder.edge(node, node + 1, WW);
    }
    builder.edge(chain.end - 1, last, RW);
    for dead in 1..20 {
        builder.edge(last, chain.start + dead, RW);
    }
    let graph = builder.build(&Budget::endless()).expect("no end");
    let found = cycles(&graph, &Budget::endless()).expect("no end");
    let kinds: Vec<(Shape, Order)> = found.cycles.iter().map(|cycle| (cycle.shape, cycle.order)).collect();
    assert_eq!(kinds, [(Shape::GNonadjacent, Order::Data)]);
}

#[test]
fn an_order_of_writes_that_nobody_read_is_found_without_a_search() {
    let mut registers = Registers::default();
    for at in 0..TXNS_MAX as u32 {
        registers.begin(span(at, u64::from(at), u64::from(at), NEVER - 1), 0);
        let key = registers.txns.key(&Arc::from("x"));
        registers.txns.step(OnRegister::Write { key, value: i64::from(at) });
    }
    let versions = Versions::new(&registers, &Budget::endless()).expect("no end");
    let budget = Budget::new(&Options { memory_max: Some(1 << 30), ..Options::default() });
    assert_eq!(serial(&registers, &versions, &[], &budget), Serial::Yes);
}

/// A process that acts before its last answer: nothing says that the first took effect before the second began.
#[test]
fn what_a_process_does_before_its_last_answer_is_in_no_order() {
    let mut registers = Registers::default();
    let key = registers.txns.key(&Arc::from("x"));
    let read = |found| OnRegister::Read { key, found, rev: 0 };
    registers.begin(span(0, 7, 0, NEVER), 0);
    registers.txns.step(OnRegister::Write { key, value: 1 });
    registers.begin(span(1, 7, 1, 2), 0);
    registers.txns.step(read(None));
    registers.begin(span(2, 8, 3, 4), 0);
    registers.txns.step(read(Some(1)));
    let versions = Versions::new(&registers, &Budget::endless()).expect("no end");
    for level in [Weak::ReadAtomic, Weak::Causal] {
        let judged = Sessions::of(&registers, &versions).judge(level, &Budget::endless()).expect("no end");
        assert!(judged.cycle.is_empty(), "{level:?}: {:?}", judged.cycle);
    }
}

#[test]
fn what_a_transaction_appends_stands_in_its_order_and_from_its_first_on() {
    let wrong = |found: &[i64]| {
        let mut lists = Lists::default();
        let key = lists.txns.key(&Arc::from("x"));
        lists.txns.begin(span(0, 0, 0, NEVER));
        [1, 2, 3].into_iter().for_each(|element| lists.append(key, element));
        lists.txns.begin(span(1, 1, 1, 2));
        lists.read(key, found);
        lists::Versions::new(&lists, &Budget::endless()).expect("no end").wrong
    };
    assert!(wrong(&[1, 2, 3]).is_empty());
    let (writer, reader) = (OpId(0), OpId(1));
    let own_order = |before, element| Wrong::OwnOrder { writer, key: 0, before, element, reader };
    assert_eq!(wrong(&[2, 1, 3]), [own_order(1, 2)]);
    assert_eq!(wrong(&[1, 3, 2])[0], own_order(2, 3));
    assert_eq!(wrong(&[3]), [own_order(1, 3)]);
    assert!(matches!(wrong(&[1, 2])[..], [Wrong::Intermediate { value: 2, .. }]));
}

#[test]
fn a_value_is_read_as_of_the_revision_of_its_write() {
    let wrong = |rev: i64| {
        let mut registers = Registers::default();
        let key = registers.txns.key(&Arc::from("x"));
        registers.begin(span(0, 0, 0, 1), 5);
        registers.txns.step(OnRegister::Write { key, value: 1 });
        registers.begin(span(1, 1, 2, 3), 5);
        registers.txns.step(OnRegister::Read { key, found: Some(1), rev });
        Versions::new(&registers, &Budget::endless()).expect("no end").wrong
    };
    assert!(wrong(5).is_empty() && wrong(0).is_empty());
    let (writer, reader) = (OpId(0), OpId(1));
    assert_eq!(wrong(7), [Wrong::OtherRevision { reader, key: 0, value: 1, rev: 7, writer, known: 5 }]);
}
