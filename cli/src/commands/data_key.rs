//! `chancery data-key`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_client::private_file;
use chancery_client::proto::kms::v1::GenerateDataKeyRequest;
use clap::Args;
use crypto::SecretBytes;
use serde::Serialize;

use super::context_pairs::BoundArgs;
use super::sign::hinted;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Show;
use crate::values::namespace_of;

/// Arguments of `data-key`.
#[derive(Args, Debug)]
pub(crate) struct DataKeyArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
    #[command(flatten)]
    bound: BoundArgs,
    /// Length of the data key in bytes
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=64))]
    bytes: u32,
    /// Write the data key in clear to this new file of mode 0600; without it only the wrapped key is made
    #[arg(long, value_name = "FILE")]
    plaintext_out: Option<PathBuf>,
    /// Write the wrapped data key to this file; without it it is printed in base64
    #[arg(long, value_name = "FILE")]
    wrapped_out: Option<PathBuf>,
}

#[derive(Serialize)]
struct DataKey {
    key: String,
    version: u32,
    /// Base64.
    wrapped: String,
    #[serde(skip)]
    words: String,
}

impl Show for DataKey {
    fn text(&self) -> String {
        self.words.clone()
    }
}

/// Draws a data key.
pub(crate) async fn run(args: DataKeyArgs, context: &Context) -> Result<(), Failure> {
    let key = context.key_or_alias(&args.key)?;
    let bound = args.bound.bound(namespace_of(&key).unwrap_or_else(|| context.namespace().clone()))?;
    let request = GenerateDataKeyRequest {
        name: key.clone(),
        context: BoundArgs::wire_context(&bound),
        additional_authenticated_data: bound.aad,
        length_bytes: args.bytes,
        without_plaintext: args.plaintext_out.is_none(),
    };
    if let Some(path) = &args.wrapped_out {
        private_file::check_replaceable(path)?;
    }
    let client = context.client().await?;
    let answer = client.crypto().generate_data_key(request).await;
    let answer = answer.map_err(|error| hinted(Failure::from(error), &args.key))?;
    let plaintext = SecretBytes::from_vec(answer.plaintext);
    if let Some(path) = &args.plaintext_out {
        private_file::write_new(path, plaintext.expose())?;
    }
    let wrapped = STANDARD.encode(&answer.wrapped);
    let words = match &args.wrapped_out {
        Some(path) => {
            private_file::write(path, &answer.wrapped)?;
            format!("data key of {} bytes under {} v{}", args.bytes, args.key, answer.version)
        }
        None => wrapped.clone(),
    };
    context.print(&DataKey { key, version: answer.version, wrapped, words })
}
