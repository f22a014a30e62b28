//! Step 7: a node re-encrypts under the primary version, and only ciphertext leaves it.

use chancery_client::envelope::{KeyUse as _, ServiceKeys};
use chancery_client::proto::kms::v1::ReEncryptRequest;

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::sample::{bound, is_start};
use super::super::stage::Stage;
use super::{KEY, PARENT};

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let (sample, bound) = (stage.sample()?, bound()?);
    let context = bound.context.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let context: std::collections::HashMap<_, _> = context.collect();
    let request = ReEncryptRequest {
        parent: PARENT.to_owned(),
        ciphertext: sample.unary.clone(),
        source_context: context.clone(),
        destination_context: context,
        ..ReEncryptRequest::default()
    };
    let rewrapped = stage.client()?.crypto().re_encrypt(request).await?;
    let (from, to) = (rewrapped.source_version, rewrapped.version);
    Fault::check(rewrapped.key == KEY && from == sample.version && to > from, || {
        format!("v{from} became v{to} of {}", rewrapped.key)
    })?;
    let opened = ServiceKeys::to_decrypt(stage.client()?.clone()).decrypt(&rewrapped.ciphertext, &bound).await?;
    Fault::check(opened.version == to && is_start(sample, opened.plaintext.expose()), || {
        format!("what opens under v{} is not {}", opened.version, sample.name)
    })?;
    let what = if sample.bytes > sample.start.len() as u64 { " (its first 64 KiB)" } else { "" };
    Ok(Found::Held(format!("v{from} → v{to}{what}, plaintext stayed in the node")))
}
