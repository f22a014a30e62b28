//! `chancery encrypt`.

use std::path::{Path, PathBuf};

use chancery_client::envelope::{Sealed, ServiceKeys, seal, seal_to_file};
use chancery_client::private_file;
use clap::Args;
use serde::Serialize;
use tokio::io::AsyncRead;

use super::context_pairs::BoundArgs;
use super::sign::hinted;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, Show, note};
use crate::progress::Progress;
use crate::values::{namespace_of, size};

/// Arguments of `encrypt`.
#[derive(Args, Debug)]
pub(crate) struct EncryptArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
    #[command(flatten)]
    bound: BoundArgs,
    #[command(flatten)]
    files: Files,
}

/// Where bytes come from and go to.
#[derive(Args, Debug, Clone)]
pub(crate) struct Files {
    /// Read this file instead of stdin
    #[arg(id = "in", long = "in", value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Write this file, all of it or nothing, instead of stdout
    #[arg(id = "out", long = "out", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What was encrypted or decrypted, for programs.
#[derive(Serialize)]
pub(crate) struct Moved {
    /// `namespaces/{ns}/keys/{key}`, or the alias that was given
    pub(crate) key: String,
    pub(crate) version: u32,
    pub(crate) plaintext_bytes: u64,
    #[serde(skip)]
    pub(crate) words: String,
}

impl Show for Moved {
    fn text(&self) -> String {
        self.words.clone()
    }
}

/// Encrypts a file or stdin.
pub(crate) async fn run(args: EncryptArgs, context: &Context) -> Result<(), Failure> {
    let key = context.key_or_alias(&args.key)?;
    let bound = args.bound.bound(namespace_of(&key).unwrap_or_else(|| context.namespace().clone()))?;
    let (input, total) = args.files.open().await?;
    let keys = ServiceKeys::of_key(context.client().await?, key.clone());
    let progress = Progress::new(total);
    let sealed = match &args.files.output {
        Some(path) => seal_to_file(&keys, &bound, input, path, |bytes| progress.set(bytes)).await,
        None => seal(&keys, &bound, input, tokio::io::stdout(), |bytes| progress.set(bytes)).await,
    };
    progress.clear();
    let Sealed { version, bytes } = sealed.map_err(|error| hinted(Failure::from(error), &args.key))?;
    let words = format!("{} encrypted under v{version}", size(bytes));
    args.files.say(context, Moved { key, version, plaintext_bytes: bytes, words })
}

impl Files {
    /// The input, and its size where it is known. An output that must not be replaced is refused before anything is done.
    pub(crate) async fn open(&self) -> Result<(Box<dyn AsyncRead + Unpin + Send>, Option<u64>), Failure> {
        if let Some(output) = &self.output {
            private_file::check_replaceable(output)?;
        }
        let Some(path) = &self.input else { return Ok((Box::new(tokio::io::stdin()), None)) };
        let (file, size) = open(path).await?;
        Ok((Box::new(file), Some(size)))
    }

    /// Says what was done: on stdout if the bytes went elsewhere, else only to a person on stderr.
    pub(crate) fn say(&self, context: &Context, moved: Moved) -> Result<(), Failure> {
        match (&self.output, context.format()) {
            (Some(_), _) => context.print(&moved),
            (None, Format::Table) => {
                note(&moved.words);
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }
}

/// Opens a file to be read in large pieces.
pub(crate) async fn open(path: &Path) -> Result<(tokio::fs::File, u64), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("`{}` could not be read: {error}", path.display()));
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    file.set_max_buf_size(1_024 * 1_024);
    let metadata = file.metadata().await.map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::new(Exit::Failed, format!("`{}` is a folder", path.display())));
    }
    Ok((file, metadata.len()))
}
