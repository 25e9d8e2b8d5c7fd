//! Compiles the protocol definitions in `proto/`, without a protoc on the machine.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(
        [
            "proto/etcd/rpc.proto",
            "proto/etcd/auth.proto",
            "proto/etcd/v3lock.proto",
            "proto/etcd/v3election.proto",
            "proto/internal.proto",
            "proto/health.proto",
        ],
        ["proto/etcd", "proto"],
    )?;
    let encoded = descriptors.encode_to_vec();
    fs::write(out.join("descriptors.bin"), &encoded)?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .build(&[".etcdserverpb", ".mvccpb", ".v3lockpb", ".v3electionpb"])?;
    Ok(())
}
