//! The members of the store under test, as the runner reaches them.

use crate::driver::{Client, DriverError};
use server::proto::etcdserverpb::StatusResponse;
use std::time::Duration;

/// A member: its name in the history, and where clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: `n1`, `n2`, ...
    pub name: String,
    /// `http://host:port`.
    pub url: String,
}

impl Member {
    /// Members at these endpoints, named in their order.
    ///
    /// # Errors
    /// A text for the user, when there is none, or one is not of the form `http://host:port`.
    pub fn at(endpoints: &[String]) -> Result<Vec<Member>, String> {
        if endpoints.is_empty() {
            return Err("no endpoints are given".into());
        }
        let name = |(index, url): (usize, &String)| {
            Client::new(url, Duration::from_secs(1))?;
            Ok(Member { name: format!("n{}", index + 1), url: url.clone() })
        };
        endpoints.iter().enumerate().map(name).collect()
    }

    /// A client of this member.
    ///
    /// # Panics
    /// When the URL is not one: members are made of URLs that were looked at.
    pub fn client(&self, deadline: Duration) -> Client {
        Client::new(&self.url, deadline).expect("a member's URL is valid")
    }
}

/// Asks every member for its status at once; the answers stand in the order of the members.
///
/// # Errors
/// The first member that does not answer, and why.
pub async fn statuses(
    members: &[Member],
    clients: &mut [Client],
) -> Result<Vec<StatusResponse>, (String, DriverError)> {
    let mut answers = Vec::with_capacity(members.len());
    // One after the other: a status takes well under a millisecond, and a member that is gone fails fast.
    for (member, client) in members.iter().zip(clients) {
        answers.push(client.status().await.map_err(|error| (member.name.clone(), error))?);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_looked_at_before_use() {
        let members = Member::at(&["http://127.0.0.1:2379".into(), "10.0.0.2:22379".into()]).unwrap();
        assert_eq!(members[1], Member { name: "n2".into(), url: "10.0.0.2:22379".into() });
        for (endpoint, say) in
            [("https://a:1", "http://"), ("http://a", "a host or a port"), ("http:// a:1", "not a URL")]
        {
            let error = Member::at(&[endpoint.to_string()]).unwrap_err();
            assert!(error.contains(say), "{endpoint}: {error}");
        }
        assert!(Member::at(&[]).is_err());
    }
}
