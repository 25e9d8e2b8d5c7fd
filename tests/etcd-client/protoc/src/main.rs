//! As much of protoc as prost-build asks for, by a compiler in Rust: so no protoc has to be installed to build a
//! crate that wants one.

use protox::Compiler;
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    match compile(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compile(mut args: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let (mut includes, mut files, mut out) = (Vec::new(), Vec::new(), None);
    let (mut imports, mut source_info) = (false, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--include_imports" => imports = true,
            "--include_source_info" => source_info = true,
            "-o" => out = args.next().map(PathBuf::from),
            "-I" => includes.extend(args.next()),
            // Optional fields of proto3 are no experiment any more.
            "--experimental_allow_proto3_optional" => {}
            other if other.starts_with('-') => {
                return Err(format!("this stand-in does not know {other}").into());
            }
            file => files.push(file.to_owned()),
        }
    }
    let out = out.ok_or("-o FILE says where the descriptors go")?;
    let mut compiler = Compiler::new(includes)?;
    compiler.include_imports(imports).include_source_info(source_info).open_files(files)?;
    Ok(fs::write(out, compiler.encode_file_descriptor_set())?)
}
