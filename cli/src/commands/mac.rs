//! `chancery mac`: message authentication codes.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_client::private_file;
use chancery_client::proto::kms::v1::{GenerateMacRequest, VerifyMacRequest};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use types::limits;

use super::encrypt::open;
use super::sign::{hinted, read_given, write};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Show, note};
use crate::values::{called, short};

/// The verbs of `mac`.
#[derive(Subcommand, Debug)]
pub(crate) enum MacCommand {
    /// Make the MAC of a file or stdin
    Generate(GenerateArgs),
    /// Check the MAC of a file or stdin
    Verify(VerifyArgs),
}

/// Arguments of `mac generate`.
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
    /// Make it with this version instead of the primary one
    #[arg(id = "only", long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// Read this file, of at most 64 KiB, instead of stdin
    #[arg(id = "in", long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Write the MAC to this file as it is; without it it is printed in base64
    #[arg(id = "out", long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Arguments of `mac verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
    /// The version that made it: `mac generate` tells it
    #[arg(id = "only", long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    /// Read this file, of at most 64 KiB, instead of stdin
    #[arg(id = "in", long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    mac: Given,
}

/// A MAC that is checked.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Given {
    /// The file that holds it as it is
    #[arg(long = "mac", value_name = "FILE")]
    file: Option<PathBuf>,
    /// It in base64
    #[arg(long = "mac-base64", value_name = "BASE64")]
    base64: Option<String>,
}

#[derive(Serialize)]
struct Done {
    key: String,
    version: u32,
    /// Base64; none when it was checked, or written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip)]
    words: String,
}

impl Show for Done {
    fn text(&self) -> String {
        self.words.clone()
    }
}

/// Runs a verb.
pub(crate) async fn run(command: MacCommand, context: &Context) -> Result<(), Failure> {
    let (done, key) = match command {
        MacCommand::Generate(args) => (generate(&args, context).await, args.key),
        MacCommand::Verify(args) => (verify(&args, context).await, args.key),
    };
    done.map_err(|failure| hinted(failure, &key))
}

async fn generate(args: &GenerateArgs, context: &Context) -> Result<(), Failure> {
    let name = context.key_or_alias(&args.key)?;
    if let Some(path) = &args.output {
        private_file::check_replaceable(path)?;
    }
    let message = read(args.input.as_ref()).await?;
    let request = GenerateMacRequest { name, version: args.version.unwrap_or(0), message };
    let answer = context.client().await?.crypto().generate_mac(request).await?;
    let encoded = STANDARD.encode(&answer.mac);
    // The version is one of this key's, whatever it was called.
    let key = answer.key;
    let (mac, words) = match &args.output {
        Some(path) => {
            write(path, &answer.mac)?;
            (None, format!("MAC by {} v{}", short(&key), answer.version))
        }
        None => {
            // Whoever verifies has to say it.
            note(&format!("MAC by {} v{}", short(&key), answer.version));
            (Some(encoded.clone()), encoded)
        }
    };
    context.print(&Done { key, version: answer.version, mac, words })
}

async fn verify(args: &VerifyArgs, context: &Context) -> Result<(), Failure> {
    let (key, version) = (context.key_or_alias(&args.key)?, args.version);
    let mac = read_given(args.mac.file.as_deref(), args.mac.base64.as_deref(), "--mac-base64")?;
    let message = read(args.input.as_ref()).await?;
    let request = VerifyMacRequest { name: key.clone(), version, message, mac };
    context.client().await?.crypto().verify_mac(request).await?;
    let words = format!("good MAC by {} v{version}", called(&key));
    context.print(&Done { key, version, mac: None, words })
}

/// A message that one call carries. A longer one is refused here: nobody waits for it to be sent.
async fn read(path: Option<&PathBuf>) -> Result<Vec<u8>, Failure> {
    let most = limits::UNARY_PLAINTEXT_BYTES_MAX;
    let mut message = Vec::new();
    let read = match path {
        Some(path) => open(path).await?.0.take(most as u64 + 1).read_to_end(&mut message).await,
        None => tokio::io::stdin().take(most as u64 + 1).read_to_end(&mut message).await,
    };
    read.map_err(|error| Failure::new(Exit::Failed, format!("the message could not be read: {error}")))?;
    if message.len() > most {
        let text = format!("the message is longer than {most} bytes: make the MAC of its digest");
        return Err(Failure::new(Exit::Invalid, text));
    }
    Ok(message)
}
