//! `chancery decrypt`.

use chancery_client::envelope::{Bound, Opened, ServiceKeys, open_to_file, open_verified_first};
use chancery_client::private_file;
use chancery_client::proto::kms::v1::AsymmetricDecryptRequest;
use clap::Args;
use crypto::SecretBytes;
use types::Reason;

use super::context_pairs::{AS_ENCRYPTED, BoundArgs};
use super::encrypt::{Files, Moved, open};
use super::sign::hinted;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::values::{called, short, size};

/// Arguments of `decrypt`.
#[derive(Args, Debug)]
pub(crate) struct DecryptArgs {
    /// The RSA key that it was encrypted to, or alias/NAME; every other ciphertext names its key itself
    #[arg(long, value_name = "KEY", requires = "only", conflicts_with_all = ["context", "aad_file"])]
    key: Option<String>,
    /// The version of that key
    #[arg(id = "only", long = "version", value_name = "N", requires = "key",
          value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    #[command(flatten)]
    bound: BoundArgs,
    #[command(flatten)]
    files: Files,
}

/// Decrypts a file or stdin. Nothing is written before all of it has verified.
pub(crate) async fn run(args: DecryptArgs, context: &Context) -> Result<(), Failure> {
    if let (Some(key), Some(version)) = (&args.key, args.version) {
        return asymmetric(key, version, &args.files, context).await;
    }
    let bound = args.bound.bound(context.namespace().clone())?;
    let keys = ServiceKeys::to_decrypt(context.client().await?);
    let opened = decrypt(&args.files, &keys, &bound).await.map_err(|failure| {
        failure
            .add_for(Reason::InvalidCiphertext, "nothing was written")
            .hint_for(Reason::InvalidCiphertext, AS_ENCRYPTED)
    })?;
    let Opened { key, version, bytes } = opened;
    let words = format!("{} decrypted under {} v{version}", size(bytes), short(&key));
    args.files.say(context, Moved { key, version, plaintext_bytes: bytes, words })
}

/// Longest ciphertext of RSA: a modulus of 4,096 bits.
const RSA_BYTES_MAX: u64 = 512;

/// What was encrypted to the public half of a version, of at most 512 bytes.
async fn asymmetric(key: &str, version: u32, files: &Files, context: &Context) -> Result<(), Failure> {
    use tokio::io::AsyncReadExt as _;
    let name = context.key_or_alias(key)?;
    let mut ciphertext = Vec::new();
    let read = files.open().await?.0.take(RSA_BYTES_MAX + 1).read_to_end(&mut ciphertext).await;
    read.map_err(|error| Failure::new(Exit::Failed, format!("the ciphertext could not be read: {error}")))?;
    let request = AsymmetricDecryptRequest { name: name.clone(), version, ciphertext };
    let answer = context.client().await?.crypto().asymmetric_decrypt(request).await.map_err(|error| {
        hinted(Failure::from(error), key).hint_for(
            Reason::InvalidCiphertext,
            "RSA-OAEP with SHA-256, MGF1-SHA-256 and no label, by that version's public key",
        )
    })?;
    let plaintext = SecretBytes::from_vec(answer.plaintext);
    match &files.output {
        Some(path) => private_file::write(path, plaintext.expose())?,
        None => output::bytes(plaintext.expose())?,
    }
    let plaintext_bytes = plaintext.len() as u64;
    let words = format!("{} decrypted by {} v{version}", size(plaintext_bytes), called(&name));
    files.say(context, Moved { key: name, version, plaintext_bytes, words })
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
