//! Random requests to real etcd and to our server, one after the other: both must say the same.
//!
//! An ordinary test asks a few; `ASSAY_RANDOM_REQUESTS=100000 ASSAY_RANDOM_SEED=7` asks as many as one likes.
//! Where the stores differ on purpose, `exceptions.txt` says so and why; a difference that it does not name fails.
pub mod call;
mod draw;
mod exceptions;
mod store;
mod wire;

use crate::pair::Pair;
use call::{Call, Said};
use draw::{Draw, Known, Step, Who};
use exceptions::Exceptions;
use rand::SeedableRng as _;
use serde_json::Value;
use server::proto::etcdserverpb::{
    AlarmRequest, AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest, AuthenticateRequest,
};
use std::{collections::BTreeSet, env, str::FromStr};
use store::Store;
use tokio::runtime::Runtime;

/// Requests of an ordinary test.
const REQUESTS: u64 = 1500;
/// Steps between two times at which users are switched on, and for how many steps they then are.
const AUTH_EVERY: u64 = 400;
const AUTH_FOR: u64 = 120;
/// Steps between two times at which it is told how far the test is.
const PROGRESS_EVERY: u64 = 1000;
/// Of how many compactions etcd keeps the hashes.
const COMPACTIONS: usize = 10;
/// How many differences are shown before the test gives up.
const DIFFERENCES_MAX: usize = 20;
/// Steps that are shown before a difference.
const SHOWN: usize = 6;

fn number<T: FromStr>(variable: &str, default: T) -> T {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: no number")),
        Err(_) => default,
    }
}

/// Both stores, and where they differ.
struct Run {
    stores: [Store; 2],
    exceptions: Exceptions,
    known: Known,
    /// The alarms that stand: member and kind.
    alarms: BTreeSet<(u64, i32)>,
    /// The revisions of the last compactions.
    compactions: Vec<i64>,
    asked: u64,
    last: Vec<String>,
    differences: Vec<String>,
    diverged: bool,
}

impl Run {
    async fn take(&mut self, step: &Step, who: Who) -> Said {
        // Old tokens etcd 3.4 also refuses while users are off, and to whoever wants a new one.
        let is_login =
            matches!(step, Step::Call(Call::Authenticate(_)) | Step::Gateway(Call::Authenticate(_)));
        let needs_none = self.known.is_3_4 && (is_login || !self.known.auth);
        let who = if needs_none { Who::Nobody } else { who };
        let [etcd, ours] = &mut self.stores;
        let (theirs, ours) = tokio::join!(etcd.take(step, who), ours.take(step, who));
        self.asked += 1;
        let shown = format!("{who:?}: {step:?}");
        if theirs != ours && !self.exceptions.allow(&shown, &theirs, &ours, &self.compactions) {
            let before = self.last.join("\n  ");
            let (shown, theirs, ours) = (short(&shown, 1500), cut(&theirs), cut(&ours));
            let difference = format!("{before}\n* {shown}\n  etcd: {theirs}\n  ours: {ours}");
            eprintln!("{difference}\n");
            self.differences.push(difference);
        }
        self.last.push(short(&format!("{shown} -> {theirs:?}"), 300));
        if self.last.len() > SHOWN {
            self.last.remove(0);
        }
        self.learn(step, &theirs);
        // Whatever is asked of stores at different revisions differs.
        let at = revision(&theirs).zip(revision(&ours));
        self.diverged |= at.is_some_and(|(theirs, ours)| theirs != ours);
        theirs
    }

    fn learn(&mut self, step: &Step, said: &Said) {
        self.known.revision = self.known.revision.max(revision(said).unwrap_or_default());
        let (Step::Call(call) | Step::Gateway(call), Said::Yes(_)) = (step, said) else { return };
        match call {
            Call::Compact(request) => {
                self.known.compacted = request.revision;
                self.known.torn.retain(|&revision| revision > request.revision);
                self.compactions.push(request.revision);
                let forgotten = self.compactions.len().saturating_sub(COMPACTIONS);
                self.compactions.drain(..forgotten);
            }
            Call::Txn(txn) if draw::deletes_unseen(txn) => self.known.torn.extend(revision(said)),
            Call::AuthEnable(_) => self.known.auth = true,
            Call::AuthDisable(_) => self.known.auth = false,
            Call::Alarm(AlarmRequest { action, member_id, alarm }) => {
                match action {
                    1 if *alarm != 0 => drop(self.alarms.insert((*member_id, *alarm))),
                    2 => drop(self.alarms.remove(&(*member_id, *alarm))),
                    _ => {}
                }
                self.known.alarm = self.alarms.last().copied();
            }
            _ => {}
        }
    }

    fn is_over(&self, requests: u64) -> bool {
        self.asked >= requests || self.diverged || self.differences.len() >= DIFFERENCES_MAX
    }

    /// Switches users on, or, whoever switched them on, off.
    async fn auth(&mut self, on: bool) {
        let (root, secret) = ("root".to_string(), "secret".to_string());
        let add = |name: &str, password: &str| {
            let (name, password) = (name.to_string(), password.to_string());
            Call::UserAdd(AuthUserAddRequest { name, password, ..AuthUserAddRequest::default() })
        };
        let log_in = |name: &str, password: &str| {
            let (name, password) = (name.to_string(), password.to_string());
            Call::Authenticate(AuthenticateRequest { name, password })
        };
        let role = "root".to_string();
        // Full or corrupt stores let nobody in, or everybody.
        for (member_id, alarm) in [(0, 1), (0, 2), (5, 1), (5, 2)] {
            let disarm = Call::Alarm(AlarmRequest { action: 2, member_id, alarm });
            self.take(&Step::Call(disarm), Who::Root).await;
        }
        let calls = if on {
            vec![
                add("root", "secret"),
                Call::RoleAdd(AuthRoleAddRequest { name: role.clone() }),
                Call::UserGrant(AuthUserGrantRoleRequest { user: root, role }),
                Call::AuthEnable(AuthEnableRequest {}),
                log_in("root", &secret),
                log_in("u", "one"),
                log_in("v", "two"),
            ]
        } else {
            vec![log_in("root", &secret), Call::AuthDisable(AuthDisableRequest {})]
        };
        for call in calls {
            self.take(&Step::Call(call), Who::Root).await;
        }
    }
}

fn revision(said: &Said) -> Option<i64> {
    let Said::Yes(answer) = said else { return None };
    answer.get("header")?.get("revision").and_then(Value::as_str)?.parse().ok()
}

fn cut(said: &Said) -> String {
    short(&format!("{said:?}"), 1500)
}

fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[test]
fn random_requests() {
    let test = "random_requests";
    let Some(pair) = Pair::start_with(test, &["--bcrypt-cost=4"]) else { return };
    let (requests, seed) = (number("ASSAY_RANDOM_REQUESTS", REQUESTS), number("ASSAY_RANDOM_SEED", 1_u64));
    let exceptions = Exceptions::of(&pair.etcd_version());
    let known = Known { revision: 1, is_3_4: Pair::is_3_4(), ..Known::default() };
    let run = Runtime::new().expect("a runtime").block_on(async {
        let stores = [Store::at(&pair.etcd.endpoint).await, Store::at(&pair.ours.endpoint).await];
        let mut run = Run {
            stores,
            exceptions,
            known,
            alarms: BTreeSet::new(),
            compactions: Vec::new(),
            asked: 0,
            last: Vec::new(),
            differences: Vec::new(),
            diverged: false,
        };
        let mut draw = Draw::new(rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        for turn in 0.. {
            if run.is_over(requests) {
                break;
            }
            match turn % AUTH_EVERY {
                0 if turn > 0 => run.auth(true).await,
                AUTH_FOR => run.auth(false).await,
                _ => {}
            }
            if turn % PROGRESS_EVERY == 0 {
                eprintln!("{test}: {} requests, {} differences", run.asked, run.differences.len());
            }
            draw.note(run.known.clone());
            let (who, step) = draw.next();
            run.take(&step, who).await;
        }
        run
    });
    eprintln!("{test}: {} requests, seed {seed}, excepted: {}", run.asked, run.exceptions.used());
    assert!(
        run.differences.is_empty() && !run.diverged,
        "seed {seed}: {} differences in {} requests\n{}",
        run.differences.len(),
        run.asked,
        run.differences.join("\n\n")
    );
    assert!(run.asked >= requests);
}
