//! Compiles the protocol definitions in `proto/`, without a protoc on the machine.

use prost::Message as _;
use prost_build::Config;
use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind};
use std::{
    env,
    error::Error,
    fmt::{self, Write as _},
    fs,
    path::PathBuf,
};

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
    fs::write(out.join("messages.rs"), messages(&DescriptorPool::decode(&*encoded)?)?)?;
    let mut config = Config::new();
    config.enable_type_names();
    tonic_prost_build::configure().bytes(".").compile_fds_with_config(descriptors, config)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .build(&[".etcdserverpb", ".mvccpb", ".v3lockpb", ".v3electionpb"])?;
    Ok(())
}

/// All messages of the API by name, as the table of `gateway::json::read`.
fn messages(pool: &DescriptorPool) -> Result<String, fmt::Error> {
    let mut all: Vec<_> =
        pool.all_messages().filter(|message| message.package_name() != "internal").collect();
    all.sort_by_key(|message| message.full_name().to_string());
    let mut table = "&[\n".to_string();
    for message in all {
        writeln!(table, "    ({:?}, &[", message.full_name())?;
        for field in message.fields() {
            assert!(!field.is_map(), "{}: the reader knows no maps", field.full_name());
            let (number, name, json) = (field.number(), field.name(), field.json_name());
            let (is_list, kind) = (field.is_list(), kind(&field));
            let one_of = field.containing_oneof().map(|one_of| one_of.full_name().to_string());
            writeln!(
                table,
                "        Field {{ number: {number}, name: {name:?}, json: {json:?}, kind: {kind}, \
                 is_list: {is_list}, one_of: {one_of:?} }},"
            )?;
        }
        writeln!(table, "    ]),")?;
    }
    Ok(table + "]\n")
}

fn kind(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Bool => "Kind::Bool".to_string(),
        Kind::Int64 => "Kind::Int64".to_string(),
        Kind::Uint32 => "Kind::Uint32".to_string(),
        Kind::Uint64 => "Kind::Uint64".to_string(),
        Kind::String => "Kind::String".to_string(),
        Kind::Bytes => "Kind::Bytes".to_string(),
        Kind::Message(message) => format!("Kind::Message({:?})", message.full_name()),
        Kind::Enum(values) => {
            let values: Vec<_> =
                values.values().map(|value| (value.name().to_string(), value.number())).collect();
            format!("Kind::Enum(&{values:?})")
        }
        kind => panic!("{}: the reader knows no {kind:?}", field.full_name()),
    }
}
