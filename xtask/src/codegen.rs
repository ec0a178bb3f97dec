//! Generates `wire/src/pulsar.rs` from `wire/proto/pulsar.proto`, without protoc.
//!
//! **What**  protox compiles the proto file, prost-build writes Rust. The result is committed; `--check` compares instead
//! of writing, so that proto file and Rust code never drift apart.

use anyhow::{Context, Result, bail};
use prost_build::Module;
use protox::prost_reflect::prost_types::FileDescriptorSet;
use std::path::{Path, PathBuf};

/// The protocol's definition, relative to the workspace root.
const PROTO: &str = "wire/proto/pulsar.proto";
/// The generated module, relative to the workspace root.
const OUTPUT: &str = "wire/src/pulsar.rs";
/// What stands before the generated lines.
const HEADER: &str = "\
//! The messages of Pulsar's binary protocol.
//!
//! **What**  Generated from `wire/proto/pulsar.proto` by `cargo xtask codegen`. Do not edit: change the proto file and
//! generate again.

";

/// Commands of more than 200 bytes live in a box, so that moving a `BaseCommand` stays cheap. They are also the rare ones.
const BOXED: [&str; 4] = ["connect", "subscribe", "producer", "consumerStatsResponse"];

/// What to do with the generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write the output file.
    Write,
    /// Compare with the committed output file.
    Check,
}

/// Generates the protocol module and writes or compares it.
///
/// # Errors
/// When the proto file does not compile, a file cannot be read or written, or (in [`Mode::Check`]) the committed output
/// differs from the generated one.
pub(crate) fn run(root: &Path, mode: Mode) -> Result<()> {
    let generated = generate(root)?;
    let output = root.join(OUTPUT);
    match mode {
        Mode::Write => std::fs::write(&output, generated).with_context(|| format!("cannot write {OUTPUT}")),
        Mode::Check => {
            let committed = std::fs::read_to_string(&output).with_context(|| format!("cannot read {OUTPUT}"))?;
            if committed != generated {
                bail!("{OUTPUT} does not match {PROTO}: run `cargo xtask codegen` and commit the result");
            }
            Ok(())
        }
    }
}

/// The text of the output file.
fn generate(root: &Path) -> Result<String> {
    let proto = root.join(PROTO);
    let include: PathBuf = proto.parent().context("the proto file has no folder")?.to_path_buf();
    let descriptors = protox::compile([&proto], [&include]).with_context(|| format!("{PROTO} does not compile"))?;
    let envelope = envelope_conversions(&descriptors)?;

    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    config.format(true);
    for command in BOXED {
        config.boxed(format!(".pulsar.proto.BaseCommand.command.{command}"));
    }
    let module = Module::from_protobuf_package_name("pulsar.proto");
    let requests = descriptors.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut modules = config.generate(requests).context("prost cannot generate Rust")?;
    let code = modules.remove(&module).context("prost generated no module for pulsar.proto")?;
    Ok(format!("{HEADER}{code}{envelope}"))
}

/// For each command: its conversion into the envelope, which sets the type that belongs to it.
fn envelope_conversions(descriptors: &FileDescriptorSet) -> Result<String> {
    let messages = || descriptors.file.iter().flat_map(|file| &file.message_type);
    let envelope = messages().find(|message| message.name() == "BaseCommand").context("no message BaseCommand")?;
    let types = envelope.enum_type.first().context("BaseCommand has no enum Type")?;
    let mut code = String::new();
    for field in envelope.field.iter().filter(|field| field.oneof_index.is_some()) {
        let kind = types.value.iter().find(|value| value.number() == field.number());
        let kind = camel(kind.with_context(|| format!("no type for the command {}", field.name()))?.name());
        let command = camel(field.name());
        let message = field.type_name().rsplit('.').next().unwrap_or_default();
        let value = if BOXED.contains(&field.name()) { "::prost::alloc::boxed::Box::new(command)" } else { "command" };
        code.push_str(&format!(
            "impl From<{message}> for BaseCommand {{
    fn from(command: {message}) -> Self {{
        Self {{
            r#type: base_command::Type::{kind} as i32,
            command: Some(base_command::Command::{command}({value})),
        }}
    }}
}}
"
        ));
    }
    Ok(code)
}

/// `SEND_RECEIPT`, `send_receipt` and `sendReceipt` as prost names them in Rust: `SendReceipt`.
fn camel(name: &str) -> String {
    let shouting = name.chars().all(|c| !c.is_lowercase());
    let word = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        let rest = if shouting { rest.to_lowercase() } else { rest.to_owned() };
        first.to_uppercase() + &rest
    };
    name.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mode, camel, run};
    use std::path::Path;

    #[test]
    fn the_committed_protocol_module_is_what_its_proto_file_gives() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        run(root, Mode::Check).unwrap();
    }

    #[test]
    fn names_become_those_that_prost_gives() {
        for name in ["SEND_RECEIPT", "send_receipt", "sendReceipt"] {
            assert_eq!(camel(name), "SendReceipt");
        }
        assert_eq!(camel("PING"), "Ping");
    }
}
