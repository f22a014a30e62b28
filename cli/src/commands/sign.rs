//! `chancery sign` and `chancery verify`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_client::proto::kms::v1::{SignRequest, SignResponse, VerifyRequest, VerifyResponse};
use chancery_client::signing::SigningError;
use chancery_client::{private_file, signing};
use clap::Args;
use serde::Serialize;
use tokio::io::AsyncRead;
use types::Reason;

use super::encrypt::open;
use crate::algorithms::algorithm_name;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Show, note};
use crate::values::{called, is_alias, short};

/// What is signed.
#[derive(Args, Debug)]
pub(crate) struct Signed {
    /// Read this file instead of stdin
    #[arg(id = "in", long = "in", value_name = "FILE", conflicts_with = "digest")]
    input: Option<PathBuf>,
    /// Of this digest, in hexadecimal, under the hash that the algorithm names
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
}

/// Arguments of `sign`.
#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
    /// Sign with this version instead of the primary one
    #[arg(id = "only", long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    #[command(flatten)]
    signed: Signed,
    /// Write the signature to this file as it is; without it it is printed in base64
    #[arg(id = "out", long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Short name, alias/NAME, or namespaces/NAMESPACE/keys/NAME
    key: String,
    /// The version that signed: `sign` tells it
    #[arg(id = "only", long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    signature: Given,
}

/// A signature that is checked.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Given {
    /// The file that holds it as it is
    #[arg(long = "signature", value_name = "FILE")]
    file: Option<PathBuf>,
    /// It in base64
    #[arg(long = "signature-base64", value_name = "BASE64")]
    base64: Option<String>,
}

/// What was signed or verified, for programs.
#[derive(Serialize)]
struct Done {
    key: String,
    version: u32,
    algorithm: String,
    /// Base64; none when it was checked, or written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip)]
    words: String,
}

impl Show for Done {
    fn text(&self) -> String {
        self.words.clone()
    }
}

/// Signs a file, stdin or a digest.
pub(crate) async fn run(args: SignArgs, context: &Context) -> Result<(), Failure> {
    let named = context.key_or_alias(&args.key)?;
    if let Some(path) = &args.output {
        private_file::check_replaceable(path)?;
    }
    let (client, version) = (context.client().await?, args.version.unwrap_or(0));
    let answer: Result<SignResponse, SigningError> = match args.signed.read().await? {
        Read::Digest(digest) => {
            let request = SignRequest { name: named.clone(), version, digest: Some(digest), ..SignRequest::default() };
            client.crypto().sign(request).await.map_err(SigningError::from)
        }
        Read::Message(message) => signing::sign(&client, &named, version, message).await,
    };
    let answer = answer.map_err(|error| told(error, &args.key))?;
    let (version, algorithm) = (answer.version, algorithm_name(answer.algorithm()));
    let encoded = STANDARD.encode(&answer.signature);
    // The version is one of this key's, whatever it was called.
    let key = answer.key;
    let (signature, words) = match &args.output {
        Some(path) => {
            write(path, &answer.signature)?;
            (None, format!("signed by {} v{version}, {algorithm}", short(&key)))
        }
        None => {
            // Whoever verifies has to say it.
            note(&format!("signed by {} v{version}, {algorithm}", short(&key)));
            (Some(encoded.clone()), encoded)
        }
    };
    context.print(&Done { key, version, algorithm, signature, words })
}

/// Checks a signature of a file, stdin or a digest.
pub(crate) async fn run_verify(args: VerifyArgs, context: &Context) -> Result<(), Failure> {
    let (key, version) = (context.key_or_alias(&args.key)?, args.version);
    let signature = args.signature.read()?;
    let client = context.client().await?;
    let answer: Result<VerifyResponse, SigningError> = match args.signed.read().await? {
        Read::Digest(digest) => {
            let request = VerifyRequest {
                name: key.clone(),
                version,
                signature,
                digest: Some(digest),
                ..VerifyRequest::default()
            };
            client.crypto().verify(request).await.map_err(SigningError::from)
        }
        Read::Message(message) => signing::verify(&client, &key, version, message, signature).await,
    };
    let algorithm = algorithm_name(answer.map_err(|error| told(error, &args.key))?.algorithm());
    let words = format!("good signature by {} v{version}, {algorithm}", called(&key));
    context.print(&Done { key, version, algorithm, signature: None, words })
}

enum Read {
    Message(Box<dyn AsyncRead + Unpin + Send>),
    Digest(Vec<u8>),
}

impl Signed {
    async fn read(&self) -> Result<Read, Failure> {
        if let Some(digest) = &self.digest {
            return match hex::decode(digest.trim()) {
                Ok(bytes) if !bytes.is_empty() => Ok(Read::Digest(bytes)),
                Ok(_) => Err(Failure::new(Exit::Invalid, "`--digest` is empty")),
                Err(_) => Err(Failure::new(Exit::Invalid, "`--digest` is not hexadecimal")),
            };
        }
        Ok(match &self.input {
            Some(path) => Read::Message(Box::new(open(path).await?.0)),
            None => Read::Message(Box::new(tokio::io::stdin())),
        })
    }
}

impl Given {
    /// The bytes; a file holds few.
    fn read(&self) -> Result<Vec<u8>, Failure> {
        read_given(self.file.as_deref(), self.base64.as_deref(), "--signature-base64")
    }
}

/// The bytes of a file, or else of a text in base64 that stands behind `option`.
pub(crate) fn read_given(file: Option<&Path>, base64: Option<&str>, option: &str) -> Result<Vec<u8>, Failure> {
    match (file, base64) {
        (Some(path), _) => std::fs::read(path)
            .map_err(|error| Failure::new(Exit::Failed, format!("`{}` could not be read: {error}", path.display()))),
        (None, text) => STANDARD
            .decode(text.unwrap_or_default().trim())
            .map_err(|_| Failure::new(Exit::Invalid, format!("`{option}` is not base64"))),
    }
}

/// Writes a signature or MAC, all of it or nothing.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    private_file::write(path, bytes).map_err(Failure::from)
}

fn told(error: SigningError, key: &str) -> Failure {
    let failure = match error {
        SigningError::Service(error) => Failure::from(error),
        SigningError::Read(_) => Failure::new(Exit::Failed, error.to_string()),
        SigningError::Refused(refusal) => Failure::new(Exit::of_reason(refusal.reason), refusal.to_string()),
    };
    hinted(failure, key)
}

/// What to look at when a verb does not do with that key.
pub(crate) fn hinted(failure: Failure, key: &str) -> Failure {
    failure
        .hint_about(Reason::NotFound, "key version", "the version that was told when it was made")
        .or_hint_for(Reason::NotFound, if is_alias(key) { "chancery alias list" } else { "chancery key list" })
        .hint_for(Reason::WrongPurpose, format!("chancery key describe {key}"))
}
