//! `chancery rewrap`: a unary ciphertext under a newer version or another key. Envelope files are not taken.

use chancery_client::proto::kms::v1::{ListKeysRequest, ReEncryptRequest};
use chancery_client::{Client, private_file};
use clap::Args;
use tokio::io::AsyncReadExt as _;
use types::Reason;
use types::limits::UNARY_PLAINTEXT_BYTES_MAX;

use super::context_pairs::{AS_ENCRYPTED, BoundArgs};
use super::encrypt::{Files, Moved};
use super::pages::{PAGE_SIZE, all};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::values::short;

/// More than any unary ciphertext has.
const CIPHERTEXT_BYTES_MAX: usize = UNARY_PLAINTEXT_BYTES_MAX + 1_024;

/// Arguments of `rewrap`.
#[derive(Args, Debug)]
pub(crate) struct RewrapArgs {
    /// Under this key, or alias/NAME, instead of the one that the ciphertext names
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    #[command(flatten)]
    bound: BoundArgs,
    #[command(flatten)]
    files: Files,
}

/// Has a node encrypt again what it decrypts; the plaintext stays there.
pub(crate) async fn run(args: RewrapArgs, context: &Context) -> Result<(), Failure> {
    let bound = args.bound.bound(context.namespace().clone())?;
    let destination_name = args.to.as_deref().map(|key| context.key_or_alias(key)).transpose()?.unwrap_or_default();
    let mut ciphertext = Vec::new();
    let (input, _) = args.files.open().await?;
    let read = input.take(CIPHERTEXT_BYTES_MAX as u64 + 1).read_to_end(&mut ciphertext).await;
    read.map_err(|error| Failure::new(Exit::Failed, format!("the input could not be read: {error}")))?;
    if ciphertext.len() > CIPHERTEXT_BYTES_MAX {
        let message = "an encrypted file of more than 64 KiB is bound to its data key and cannot be rewrapped";
        return Err(Failure::new(Exit::Invalid, message).hint("chancery decrypt | chancery encrypt"));
    }
    let wire = BoundArgs::wire_context(&bound);
    let request = ReEncryptRequest {
        parent: context.parent(),
        ciphertext,
        source_context: wire.clone(),
        source_additional_authenticated_data: bound.aad.clone(),
        destination_name,
        destination_context: wire,
        destination_additional_authenticated_data: bound.aad.clone(),
    };
    let (client, source_id) = (context.client().await?, key_id(&request.ciphertext));
    let answer = client.crypto().re_encrypt(request).await.map_err(|error| {
        Failure::from(error)
            .add_for(Reason::InvalidCiphertext, "nothing was written")
            .hint_for(Reason::InvalidCiphertext, AS_ENCRYPTED)
            .hint_for(Reason::NotFound, "chancery key list")
    })?;
    write(&args.files, &answer.ciphertext).await?;
    let (from, to) = (answer.source_version, answer.version);
    // The answer names the destination only, and the version before it may be one of another key.
    let key = short(&answer.key);
    let source = match args.to {
        Some(_) => name_of(&client, context, source_id).await,
        None => Some(key.to_owned()),
    };
    let step = match source {
        Some(source) if source == key => format!("{key} v{from} → v{to}"),
        Some(source) => format!("{source} v{from} → {key} v{to}"),
        None => format!("v{from} → {key} v{to}"),
    };
    let words = format!("{step}; the plaintext stayed in the node");
    let plaintext_bytes = answer.ciphertext.len().saturating_sub(kms_overhead()) as u64;
    args.files.say(context, Moved { key: answer.key, version: to, plaintext_bytes, words })
}

/// The key id in a ciphertext's header (docs/spec/ciphertext.md), as keys show theirs.
fn key_id(ciphertext: &[u8]) -> Option<String> {
    ciphertext.get(6..22).map(hex::encode)
}

/// The name of the key of that id. For words only: who may not list the keys reads no name, which is no failure.
async fn name_of(client: &Client, context: &Context, id: Option<String>) -> Option<String> {
    let (id, keys) = (id?, client.keys());
    let fetch = async |page_token| {
        let request = ListKeysRequest { parent: context.parent(), page_size: PAGE_SIZE, page_token };
        keys.list(request).await.map(|page| (page.keys, page.next_page_token))
    };
    let keys = all(fetch).await.ok()?;
    keys.iter().find(|key| key.key_id == id).map(|key| short(&key.name).to_owned())
}

async fn write(files: &Files, ciphertext: &[u8]) -> Result<(), Failure> {
    use tokio::io::AsyncWriteExt as _;
    let Some(path) = &files.output else {
        let mut stdout = tokio::io::stdout();
        let written = async {
            stdout.write_all(ciphertext).await?;
            stdout.flush().await
        };
        return written.await.map_err(|error| Failure::output(&error));
    };
    Ok(private_file::write(path, ciphertext)?)
}

/// Header and tag of a unary ciphertext (docs/spec/ciphertext.md).
const fn kms_overhead() -> usize {
    90 + 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_id_is_the_sixteen_bytes_after_the_flags() {
        let ciphertext = [&b"CHCY\x01\x00"[..], &[0xab; 16], &[0, 0, 0, 1]].concat();
        assert_eq!(key_id(&ciphertext), Some("ab".repeat(16)));
        assert_eq!(key_id(b"CHCY"), None);
    }
}
