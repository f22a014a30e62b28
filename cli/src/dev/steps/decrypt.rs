//! Step 6: the old version still decrypts, to exactly the original.

use chancery_client::envelope::{ServiceKeys, open_to_file};

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::sample::{bound, sha256_of};
use super::super::stage::Stage;
use super::KEY;

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let sample = stage.sample()?;
    let keys = ServiceKeys::to_decrypt(stage.client()?.clone());
    let output = stage.layout.path("work").join("sample.opened");
    let input = tokio::fs::File::open(&sample.sealed).await?;
    let opened = open_to_file(&keys, &bound()?, input, &output, |_| {}).await?;
    Fault::check(opened.key == KEY && opened.version == sample.version && opened.bytes == sample.bytes, || {
        format!("{} bytes opened under v{} of {}", opened.bytes, opened.version, opened.key)
    })?;
    Fault::check(sha256_of(&output)? == sample.sha256, || format!("what opened is not {}", sample.plain.display()))?;
    std::fs::remove_file(&output)?;
    let primary = super::key(stage).await?.primary_version;
    Fault::check(primary > sample.version, || format!("v{primary} is still the primary"))?;
    Ok(Found::Held(format!("v{} ciphertext, sha256 equals the original", sample.version)))
}
