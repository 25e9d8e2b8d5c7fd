//! The header of every answer: who answers, and how far its store and its term have come.

use super::Api;
use crate::{backend::Backend, proto::etcdserverpb::ResponseHeader};

impl<B: Backend> Api<B> {
    /// A header with the given revision; 0 where etcd gives none.
    pub(super) fn header(&self, revision: i64) -> Option<ResponseHeader> {
        let status = self.backend.status();
        Some(ResponseHeader {
            cluster_id: status.cluster_id,
            member_id: status.id.0,
            revision,
            raft_term: status.term.0,
        })
    }

    /// Fills in what the state machine does not know, and keeps its revision.
    pub(super) fn complete(&self, header: &mut Option<ResponseHeader>) {
        *header = self.header(header.as_ref().map_or(0, |header| header.revision));
    }

    /// A header with the newest revision applied here.
    pub(super) fn current_header(&self) -> Option<ResponseHeader> {
        let revision = self.backend.state().kv().revision();
        self.header(revision)
    }
}
