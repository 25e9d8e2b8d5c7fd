//! A watch, from its request to its end.

use super::{Watch, generator::lock};
use crate::{
    driver::{Client, DriverError, revision},
    workload::number,
};
use checker::watch::{Asked, Event, EventKind, Past, Response, Seen, Stopped};
use server::proto::{
    etcdserverpb::{RangeRequest, WatchCreateRequest, WatchResponse, watch_create_request::FilterType},
    mvccpb::{self, event::EventType},
};
use std::time::Duration;

/// How often a watch that asks for it is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How long a final watch may take to see everything.
const FINAL_LIMIT: Duration = Duration::from_secs(20);

/// When a watch has seen enough.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Time(Duration),
    /// When everything up to a revision came.
    Revision(i64),
}

impl Watch {
    /// Whoever comes next may go on where a watch ended.
    pub(super) fn ended(&self, asked: &Asked, seen: &Seen) {
        let last = seen.responses.iter().rev().find_map(|response| response.events.last());
        let Some(last) = last.filter(|_| !matches!(seen.stopped, Stopped::Compacted(_))) else { return };
        lock(&self.known).resume(Asked { from: last.mod_revision + 1, ..asked.clone() });
    }
    /// Watches until all has come that was there at the beginning.
    pub(super) async fn last(&self, asked: &Asked, client: &mut Client) -> Result<Seen, DriverError> {
        let range = RangeRequest { key: self.space.key("w").into(), ..RangeRequest::default() };
        let newest = revision(client.range(range).await?.header.as_ref())?;
        self.watch(asked, Until::Revision(newest), true, client).await
    }

    pub(super) async fn watch(
        &self,
        asked: &Asked,
        until: Until,
        progress: bool,
        client: &mut Client,
    ) -> Result<Seen, DriverError> {
        let clock = client.clock();
        let end = clock.now()
            + match until {
                Until::Time(window) => window,
                Until::Revision(_) => FINAL_LIMIT,
            };
        let mut stream = client.watch(self.create(asked)).await?;
        let mut ending = self.ending.subscribe();
        let mut seen = Seen::default();
        let mut ask_at = clock.now() + PROGRESS_EVERY;
        loop {
            let response = tokio::select! {
                biased;
                response = stream.next() => response,
                () = clock.sleep_until(ask_at), if progress => {
                    stream.ask_progress();
                    ask_at = clock.now() + PROGRESS_EVERY;
                    continue;
                }
                () = clock.sleep_until(end) => break,
                // The sender is this workload's own, so there is no other end to waiting.
                _ = ending.wait_for(|&ending| ending), if matches!(until, Until::Time(_)) => break,
            };
            match response {
                Ok(Some(response)) => {
                    if !self.note(response, &mut seen)? {
                        break;
                    }
                }
                Ok(None) => {
                    seen.stopped = Stopped::Broke("the server ended the stream".into());
                    break;
                }
                // A stream that breaks has shown what it has shown.
                Err(error) if seen.created > 0 => {
                    seen.stopped = Stopped::Broke(error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            }
            if let Until::Revision(goal) = until
                && seen.responses.last().is_some_and(|response| told(response) >= goal)
            {
                return Ok(seen);
            }
        }
        match until {
            Until::Revision(goal) => Err(not_reached(goal, seen.stopped)),
            Until::Time(_) if seen.created == 0 && seen.stopped == Stopped::Enough => {
                Err(DriverError::Deadline { after_ms: 0 })
            }
            Until::Time(_) => Ok(seen),
        }
    }

    fn create(&self, asked: &Asked) -> WatchCreateRequest {
        let mut filters = Vec::new();
        if asked.no_put {
            filters.push(FilterType::Noput.into());
        }
        if asked.no_delete {
            filters.push(FilterType::Nodelete.into());
        }
        let range_end = if asked.end.is_empty() { String::new() } else { self.space.key(&asked.end) };
        WatchCreateRequest {
            key: self.space.key(&asked.key).into(),
            range_end: range_end.into(),
            start_revision: asked.from,
            progress_notify: false,
            filters,
            prev_kv: asked.prev_kv,
            watch_id: 0,
            fragment: asked.fragment,
        }
    }

    /// Notes a response; false where it is the last one.
    fn note(&self, response: WatchResponse, seen: &mut Seen) -> Result<bool, DriverError> {
        let rev = revision(response.header.as_ref())?;
        if response.canceled {
            seen.stopped = match response.compact_revision {
                0 => Stopped::Broke(response.cancel_reason),
                compacted => Stopped::Compacted(compacted),
            };
            return Ok(false);
        }
        if response.created {
            seen.created = rev;
            return Ok(true);
        }
        let events: Result<Vec<Event>, DriverError> =
            response.events.iter().map(|event| self.event(event)).collect();
        seen.responses.push(Response { rev, events: events?, fragment: response.fragment });
        Ok(true)
    }

    fn event(&self, event: &mvccpb::Event) -> Result<Event, DriverError> {
        let malformed = |text: &str| DriverError::Malformed { text: text.into() };
        let kv = event.kv.as_ref().ok_or_else(|| malformed("an event without a pair"))?;
        let kind = match EventType::try_from(event.r#type) {
            Ok(EventType::Put) => EventKind::Put,
            Ok(EventType::Delete) => EventKind::Delete,
            Err(_) => return Err(malformed("an event of an unknown type")),
        };
        let prev = event.prev_kv.as_ref().map(|prev| {
            Ok(Past {
                value: number(&prev.value)?,
                create_revision: prev.create_revision,
                mod_revision: prev.mod_revision,
                version: prev.version,
            })
        });
        Ok(Event {
            kind,
            key: self.space.strip(&kv.key)?,
            value: (kind == EventKind::Put).then(|| number(&kv.value)).transpose()?,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            prev: prev.transpose()?,
        })
    }
}
/// Why a watch that was to see everything up to a revision did not.
fn not_reached(goal: i64, stopped: Stopped) -> DriverError {
    match stopped {
        // The member was slow: nothing is wrong with what it said.
        Stopped::Enough => DriverError::Deadline { after_ms: FINAL_LIMIT.as_millis() as u64 },
        Stopped::Broke(text) => DriverError::Lost { text },
        Stopped::Compacted(revision) => DriverError::Malformed {
            text: format!(
                "a watch up to revision {goal} ended for a compaction at {revision} that nobody asked for"
            ),
        },
    }
}

/// Up to which revision everything has come with a response.
fn told(response: &Response) -> i64 {
    response.events.last().map_or(response.rev, |event| event.mod_revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{
        Space,
        watch::{Pace, everything},
    };

    #[test]
    fn a_watch_that_ended_is_resumed_after_its_last_event() {
        let workload = Watch::new(Space::new("", "watch"), 1, Pace { per_s: 300, processes: 9 });
        let event = Event {
            kind: EventKind::Delete,
            key: "w1".into(),
            value: None,
            create_revision: 0,
            mod_revision: 41,
            version: 0,
            prev: None,
        };
        let response = Response { rev: 44, events: vec![event], fragment: false };
        let seen = Seen { created: 40, responses: vec![response], stopped: Stopped::Broke("gone".into()) };
        workload.ended(&Asked { from: 7, ..everything() }, &seen);
        assert_eq!(lock(&workload.known).ended, [Asked { from: 42, ..everything() }]);
    }
}
