//! The options that say what a ciphertext is bound to.

use std::collections::HashMap;
use std::path::PathBuf;

use chancery_client::envelope::Bound;
use clap::Args;
use types::NamespaceName;
use types::limits::AAD_BYTES_MAX;

use crate::exit::Exit;
use crate::failure::Failure;

/// What to try when something does not decrypt.
pub(crate) const AS_ENCRYPTED: &str =
    "the `--namespace` of its key, and the same `--context` that was given to encrypt";

/// `--context` and `--aad-file`.
#[derive(Args, Debug, Clone)]
pub(crate) struct BoundArgs {
    /// Pair that must be given again to decrypt; may be repeated
    #[arg(long = "context", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) context: Vec<(String, String)>,
    /// File with additional data that must be given again to decrypt, at most 16 KiB
    #[arg(long, value_name = "FILE")]
    pub(crate) aad_file: Option<PathBuf>,
}

impl BoundArgs {
    /// What the ciphertext is bound to, in that namespace.
    pub(crate) fn bound(&self, namespace: NamespaceName) -> Result<Bound, Failure> {
        let pairs = self.context.iter().cloned();
        let context = chancery_client::envelope::EncryptionContext::new(pairs)
            .map_err(|refusal| Failure::new(Exit::Invalid, refusal.to_string()))?;
        let aad = match &self.aad_file {
            Some(path) => read_bounded(path)?,
            None => Vec::new(),
        };
        Ok(Bound { namespace, context, aad })
    }

    /// The pairs as the wire has them.
    pub(crate) fn wire_context(bound: &Bound) -> HashMap<String, String> {
        bound.context.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

fn read_bounded(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let aad = std::fs::read(path)
        .map_err(|error| Failure::new(Exit::Failed, format!("`{}` could not be read: {error}", path.display())))?;
    if aad.len() > AAD_BYTES_MAX {
        let message = format!("`{}` is longer than the {AAD_BYTES_MAX} bytes of additional data", path.display());
        return Err(Failure::new(Exit::Invalid, message));
    }
    Ok(aad)
}

/// `KEY=VALUE`; the value may hold further `=`.
/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        assert_eq!(pair("tenant=a=b"), Ok(("tenant".to_owned(), "a=b".to_owned())));
        assert_eq!(pair("tenant="), Ok(("tenant".to_owned(), String::new())));
        assert!(pair("tenant").is_err() && pair("=a").is_err());
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        let args = BoundArgs { context: twice, aad_file: None };
        assert_eq!(args.bound(NamespaceName::default_namespace()).expect_err("twice").exit(), Exit::Invalid);
    }
}
