//! Larger histories of simulated stores, as the harness would record them: clients that overlap, requests
//! whose outcome is never known, and answers with revisions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use checker::History;
use checker::history::event::{Event, Header, OpError, VERSION, What};
use checker::spec::kv::Store;
use checker::spec::kv_types::Request;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::made;

pub fn header(scenario: &str) -> Header {
    Header {
        v: VERSION,
        seed: 0,
        scenario: scenario.to_owned(),
        faults: Vec::new(),
        system: "simulated".to_owned(),
        nodes: 3,
        clock: "monotonic_ns".to_owned(),
    }
}

pub fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Range(_) => "range",
        Request::Put(_) => "put",
        Request::Delete(_) => "delete",
        Request::Txn(_) => "txn",
        Request::Compact { .. } => "compact",
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Invoke,
    Apply,
    Return,
}

struct Client {
    process: u64,
    request: Request,
    answer: Option<(Value, i64)>,
    refused: bool,
    info: bool,
}

/// A history of a simulated store: `info_percent` of the writes are never answered, and half of those take
/// effect, some of them long after.
pub fn kv(
    operations: usize,
    clients: usize,
    info_percent: u32,
    seed: u64,
    mut ask: impl FnMut(&mut ChaCha8Rng, i64) -> Request,
) -> Vec<Event> {
    let mut rng = made::rng(seed);
    let mut store = Store::new();
    let mut events: Vec<Event> = Vec::new();
    let mut queue: BinaryHeap<Reverse<(u64, usize, Turn)>> = BinaryHeap::new();
    let mut late: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut late_requests: Vec<Request> = Vec::new();
    let mut next_process = clients as u64;
    let mut states: Vec<Client> = Vec::new();
    for client in 0..clients {
        let request = Request::Compact { revision: 0 };
        states.push(Client { process: client as u64, request, answer: None, refused: false, info: false });
        queue.push(Reverse((rng.random_range(0..1000), client, Turn::Invoke)));
    }
    let mut invoked = 0;
    while let Some(Reverse((t, client, turn))) = queue.pop() {
        while late.peek().is_some_and(|Reverse((due, _))| *due <= t) {
            let Some(Reverse((_, index))) = late.pop() else { break };
            let _ = store.apply(&late_requests[index]);
        }
        let state = &mut states[client];
        let mut push = |what: What| events.push(Event { i: events.len() as u64, t, what });
        match turn {
            Turn::Invoke => {
                if invoked == operations {
                    continue;
                }
                invoked += 1;
                state.request = ask(&mut rng, store.rev());
                state.info =
                    !matches!(state.request, Request::Range(_)) && rng.random_ratio(info_percent, 100);
                push(What::Invoke {
                    p: state.process,
                    node: Some(format!("n{}", client % 3 + 1)),
                    f: request_name(&state.request).to_owned(),
                    key: None,
                    value: serde_json::to_value(&state.request).expect("a request is JSON"),
                });
                queue.push(Reverse((t + rng.random_range(1..2000), client, Turn::Apply)));
            }
            Turn::Apply => {
                if state.info {
                    if rng.random_bool(0.5) {
                        late.push(Reverse((t + rng.random_range(0..20_000), late_requests.len())));
                        late_requests.push(state.request.clone());
                    }
                } else {
                    let reply = store.apply(&state.request);
                    state.refused = reply.is_err();
                    state.answer = reply.ok().map(|reply| {
                        (serde_json::to_value(&reply.response).expect("a response is JSON"), reply.rev)
                    });
                }
                queue.push(Reverse((t + rng.random_range(1..2000), client, Turn::Return)));
            }
            Turn::Return => {
                let (p, f) = (state.process, request_name(&state.request).to_owned());
                let error = OpError { kind: "deadline".to_owned(), text: String::new() };
                match state.answer.take() {
                    Some((value, rev)) => push(What::Ok { p, f, key: None, value, rev: Some(rev) }),
                    None if state.info => {
                        push(What::Info { p, f, key: None, error });
                        state.process = next_process;
                        next_process += 1;
                    }
                    None => push(What::Fail { p, f, key: None, error }),
                }
                queue.push(Reverse((t + rng.random_range(1..500), client, Turn::Invoke)));
            }
        }
    }
    events
}

/// Events as a history of the `kv` workload.
pub fn kv_history(events: Vec<Event>) -> History {
    History::new(header("kv"), events)
}
