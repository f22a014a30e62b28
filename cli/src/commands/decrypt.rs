//! `chancery decrypt`.

use chancery_client::envelope::{Bound, Opened, ServiceKeys, open_to_file, open_verified_first};
use clap::Args;
use types::Reason;

use super::context_pairs::BoundArgs;
use super::encrypt::{Files, Moved, open};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::values::{short, size};

/// Arguments of `decrypt`.
#[derive(Args, Debug)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    bound: BoundArgs,
    #[command(flatten)]
    files: Files,
}

/// Decrypts a file or stdin. Nothing is written before all of it has verified.
pub(crate) async fn run(args: DecryptArgs, context: &Context) -> Result<(), Failure> {
    let bound = args.bound.bound(context.namespace().clone())?;
    let keys = ServiceKeys::to_decrypt(context.client().await?);
    let opened = decrypt(&args.files, &keys, &bound).await.map_err(|failure| {
        failure
            .add_for(Reason::InvalidCiphertext, "nothing was written")
            .hint_for(Reason::InvalidCiphertext, "the same `--context` that was given to encrypt")
    })?;
    let Opened { key, version, bytes } = opened;
    let words = format!("{} decrypted under {} v{version}", size(bytes), short(&key));
    args.files.say(context, Moved { key, version, plaintext_bytes: bytes, words })
}

async fn decrypt(files: &Files, keys: &ServiceKeys, bound: &Bound) -> Result<Opened, Failure> {
    if let Some(path) = &files.output {
        let (input, total) = files.open().await?;
        let progress = Progress::new(total);
        return Ok(open_to_file(keys, bound, input, path, |bytes| progress.set(bytes)).await?);
    }
    let input = match &files.input {
        Some(path) => open(path).await?.0,
        None => spool_stdin().await?,
    };
    Ok(open_verified_first(keys, bound, input, tokio::io::stdout(), |_| {}).await?)
}

/// Keeps the ciphertext, never plaintext, in a file without a name, so that it can be read twice.
async fn spool_stdin() -> Result<tokio::fs::File, Failure> {
    use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("stdin could not be kept aside: {error}"));
    let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(failed)?);
    tokio::io::copy(&mut tokio::io::stdin(), &mut file).await.map_err(failed)?;
    file.flush().await.map_err(failed)?;
    file.rewind().await.map_err(failed)?;
    Ok(file)
}
