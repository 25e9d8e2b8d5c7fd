//! etcd's configuration file: YAML with the flags' names, of which two groups are nested.

use serde_yaml_ng::{Mapping, Value};
use std::{ffi::OsString, fs, path::Path};

/// The groups, and what the flags' names have before them.
const GROUPS: [(&str, &str); 2] = [("client-transport-security", ""), ("peer-transport-security", "peer-")];

/// Reads a file as a command line.
///
/// # Errors
/// What is wrong with the file, and where.
pub(super) fn read(path: &Path) -> Result<Vec<OsString>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    to_args(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn to_args(text: &str) -> Result<Vec<OsString>, String> {
    let mut args = vec![OsString::from("assay-server")];
    let fields: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    match &fields {
        Value::Null => {}
        Value::Mapping(fields) => put_fields(fields, "", &mut args)?,
        _ => return Err("it has no list of NAME: VALUE".into()),
    }
    Ok(args)
}

fn put_fields(fields: &Mapping, prefix: &str, args: &mut Vec<OsString>) -> Result<(), String> {
    for (name, value) in fields {
        let name = name.as_str().ok_or_else(|| format!("{name:?} is no name of a flag"))?;
        match (GROUPS.iter().find(|(group, _)| *group == name), value) {
            (Some((_, prefix)), Value::Mapping(fields)) => put_fields(fields, prefix, args)?,
            (_, Value::Null) => {}
            (_, value) => {
                let text = to_text(value).ok_or_else(|| format!("{name}: a text or a number is needed"))?;
                args.push(format!("--{prefix}{name}={text}").into());
            }
        }
    }
    Ok(())
}

fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Sequence(values) => {
            values.iter().map(to_text).collect::<Option<Vec<_>>>().map(|all| all.join(","))
        }
        Value::Null | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_command_line() {
        let text = "name: n1\nheartbeat-interval: 50\n# a comment\nstrict-reconfig-check: false\n\
                    log-outputs: [stderr]\ninitial-cluster: 'n1=http://a:1,n2=http://b:1'\nwal-dir:\n\
                    client-transport-security:\n  cert-file: c.pem\npeer-transport-security:\n  cert-file: p.pem\n";
        let args = to_args(text).expect("a good file");
        let want = [
            "assay-server",
            "--name=n1",
            "--heartbeat-interval=50",
            "--strict-reconfig-check=false",
            "--log-outputs=stderr",
            "--initial-cluster=n1=http://a:1,n2=http://b:1",
            "--cert-file=c.pem",
            "--peer-cert-file=p.pem",
        ];
        assert_eq!(args, want);
        assert_eq!(to_args("").expect("nothing"), ["assay-server"]);
        for bad in ["- a", "name: {a: b}", "a: b: c", "7: x"] {
            assert!(to_args(bad).is_err(), "{bad}");
        }
    }
}
