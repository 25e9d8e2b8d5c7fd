//! What a backup looks like as it comes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use server::proto::etcdserverpb::{SnapshotRequest, maintenance_client::MaintenanceClient};
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;

/// Fetches one.
pub async fn over_grpc(channel: &Channel) -> String {
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut parts = maintenance.snapshot(SnapshotRequest::default()).await.expect("a stream").into_inner();
    let (mut blobs, mut left) = (Vec::new(), Vec::new());
    while let Some(part) = parts.message().await.expect("a part") {
        left.push(part.remaining_bytes);
        blobs.push(part.blob.to_vec());
    }
    let falls = left.windows(2).all(|pair| pair[0] >= pair[1]) && left.last() == Some(&0);
    format!("{}\nwhat is left is told: {falls}", described(&blobs))
}

/// The lines of one that came through the gateway.
pub fn in_json(text: &str) -> String {
    let blob = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        BASE64_STANDARD.decode(line["result"]["blob"].as_str().expect("a blob")).expect("base64")
    };
    described(&text.lines().map(blob).collect::<Vec<_>>())
}

fn described(blobs: &[Vec<u8>]) -> String {
    let (sum, rest) = blobs.split_last().expect("parts");
    let rest = rest.concat();
    let largest = blobs.iter().map(Vec::len).max().expect("parts");
    [
        format!("ends with the SHA-256 of what was before: {}", sum[..] == Sha256::digest(&rest)[..]),
        format!("whole blocks of 512 bytes: {}", rest.len().is_multiple_of(512)),
        format!("at most 32768 bytes a part: {}", largest <= 32768),
    ]
    .join("\n")
}
