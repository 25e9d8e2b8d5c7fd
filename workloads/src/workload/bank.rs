//! `bank`: transfers between accounts, each a guarded transaction, and reads of all accounts at once.
//!
//! Every account begins with the same balance, which an absent key stands for. A transfer reads two accounts and
//! writes both if neither has changed; one that would overdraw is not done.

use super::{
    Completion, Generator, Invocation, Space, Workload,
    list::{self},
};
use crate::{
    driver::{Client, DriverError, revision},
    generator::{Purpose, rng},
};
use checker::history::event::OpError;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use server::proto::{
    etcdserverpb::{
        PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request, response_op::Response,
    },
    mvccpb::KeyValue,
};

const ACCOUNTS: usize = 8;
const BALANCE: i64 = 100;
const AMOUNT_MAX: i64 = 60;

/// The workload.
#[derive(Clone, Debug)]
pub struct Bank {
    space: Space,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BankOp {
    /// Reads all accounts: by one range, or by a transaction of one range each.
    Read {
        /// Whether by one range.
        whole: bool,
    },
    /// Moves an amount.
    Transfer {
        /// From which account.
        from: usize,
        /// To which other one.
        to: usize,
        /// How much.
        amount: i64,
    },
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct BankGenerator {
    rng: ChaCha8Rng,
}

impl Bank {
    /// The workload, with its keys in `space`.
    pub fn new(space: Space) -> Bank {
        Bank { space }
    }
}

impl Generator for BankGenerator {
    type Op = BankOp;

    fn next(&mut self) -> BankOp {
        if self.rng.random_bool(0.4) {
            return BankOp::Read { whole: self.rng.random() };
        }
        let from = self.rng.random_range(0..ACCOUNTS);
        let to = (from + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        BankOp::Transfer { from, to, amount: self.rng.random_range(1..=AMOUNT_MAX) }
    }

    fn final_reads(&self) -> Vec<BankOp> {
        vec![BankOp::Read { whole: true }, BankOp::Read { whole: false }]
    }
}

impl Workload for Bank {
    type Op = BankOp;
    type Generator = BankGenerator;

    fn generator(&self, seed: u64) -> BankGenerator {
        BankGenerator { rng: rng(seed, Purpose::Bank) }
    }

    fn invocation(&self, op: &BankOp) -> Invocation {
        match op {
            BankOp::Read { .. } => Invocation { f: "read", key: None, value: Value::Null },
            BankOp::Transfer { from, to, amount } => {
                let value = json!({"from": account(*from), "to": account(*to), "amount": amount});
                Invocation { f: "transfer", key: None, value }
            }
        }
    }

    async fn execute(&self, op: &BankOp, client: &mut Client) -> Completion {
        match *op {
            BankOp::Read { whole } => match self.read(whole, client).await {
                Ok((value, rev)) => Completion::Ok { value, rev: Some(rev) },
                Err(error) => Completion::of_read_error(&error),
            },
            BankOp::Transfer { from, to, amount } => self.transfer((from, to), amount, client).await,
        }
    }
}

fn account(number: usize) -> String {
    format!("a{number}")
}

/// A balance, and the revision that guards it.
fn balance(kvs: &[KeyValue]) -> Result<(i64, i64), DriverError> {
    match kvs {
        [] => Ok((BALANCE, 0)),
        [kv] => Ok((super::number(&kv.value)?, kv.mod_revision)),
        more => Err(DriverError::Malformed { text: format!("{} pairs for one key", more.len()) }),
    }
}

impl Bank {
    /// The balances of some accounts, as of one revision.
    async fn balances(
        &self,
        accounts: &[usize],
        client: &mut Client,
    ) -> Result<(Vec<(i64, i64)>, i64), DriverError> {
        let range = |number: &usize| {
            let key = self.space.key(&account(*number)).into();
            RequestOp { request: Some(Request::RequestRange(RangeRequest { key, ..Default::default() })) }
        };
        let request = TxnRequest { success: accounts.iter().map(range).collect(), ..TxnRequest::default() };
        let answer = client.txn(request).await?;
        let malformed = || DriverError::Malformed { text: "ranges were answered as something else".into() };
        if answer.responses.len() != accounts.len() {
            return Err(malformed());
        }
        let mut balances = Vec::new();
        for response in &answer.responses {
            let Some(Response::ResponseRange(range)) = &response.response else { return Err(malformed()) };
            balances.push(balance(&range.kvs)?);
        }
        Ok((balances, revision(answer.header.as_ref())?))
    }

    async fn read(&self, whole: bool, client: &mut Client) -> Result<(Value, i64), DriverError> {
        let mut found: Map<String, Value> =
            (0..ACCOUNTS).map(|number| (account(number), json!(BALANCE))).collect();
        if !whole {
            let accounts: Vec<usize> = (0..ACCOUNTS).collect();
            let (balances, rev) = self.balances(&accounts, client).await?;
            found.extend(
                accounts
                    .iter()
                    .zip(balances)
                    .map(|(number, (balance, _))| (account(*number), json!(balance))),
            );
            return Ok((found.into(), rev));
        }
        let range = RangeRequest {
            key: self.space.prefix().to_owned().into(),
            range_end: self.space.end().into(),
            ..RangeRequest::default()
        };
        let answer = client.range(range).await?;
        for kv in &answer.kvs {
            let name = self.space.strip(&kv.key)?;
            found.insert(name, json!(super::number(&kv.value)?));
        }
        Ok((found.into(), revision(answer.header.as_ref())?))
    }

    async fn transfer(&self, (from, to): (usize, usize), amount: i64, client: &mut Client) -> Completion {
        let read = match self.balances(&[from, to], client).await {
            Ok((balances, _)) => balances,
            Err(error) => return Completion::of_read_error(&error),
        };
        let fail =
            |kind: &str, text: &str| Completion::Fail(OpError { kind: kind.into(), text: text.into() });
        let [(source, source_mod), (target, target_mod)] = read[..] else {
            return fail("malformed", "two accounts were asked for");
        };
        if source < amount {
            return fail("funds", "the account holds less");
        }
        let put = |number: usize, balance: i64| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: self.space.key(&account(number)).into(),
                value: balance.to_string().into(),
                ..PutRequest::default()
            })),
        };
        let request = TxnRequest {
            compare: vec![
                list::unchanged(&self.space, &account(from), source_mod),
                list::unchanged(&self.space, &account(to), target_mod),
            ],
            success: vec![put(from, source - amount), put(to, target + amount)],
            failure: Vec::new(),
        };
        match client
            .txn(request)
            .await
            .and_then(|answer| Ok((answer.succeeded, revision(answer.header.as_ref())?)))
        {
            Ok((true, rev)) => Completion::Ok { value: Value::Null, rev: Some(rev) },
            Ok((false, _)) => fail("guard", "an account changed after it was read"),
            Err(error) => Completion::of_write_error(&error),
        }
    }
}
