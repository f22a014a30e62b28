//! Step 4: a file of any size becomes a ciphertext that names its key and version.

use std::path::Path;

use chancery_client::envelope::{KeyUse as _, ServiceKeys, seal_to_file};
use types::limits::UNARY_PLAINTEXT_BYTES_MAX;

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::sample::{Plain, Sample, bound};
use super::super::stage::Stage;
use super::KEY;
use crate::values;

pub(crate) async fn run(stage: &mut Stage, file: Option<&Path>) -> Result<Found, Fault> {
    let work = stage.layout.path("work");
    let Plain { name, path, bytes, sha256, start } = Plain::find(file, &work)?;
    let (keys, bound) = (ServiceKeys::of_key(stage.client()?.clone(), KEY.to_owned()), bound()?);
    let sealed = work.join("sample.chy");
    let input = tokio::fs::File::open(&path).await?;
    let made = seal_to_file(&keys, &bound, input, &sealed, |_| {}).await?;
    Fault::check(made.bytes == bytes, || format!("{} of {bytes} bytes were encrypted", made.bytes))?;
    // A node re-encrypts what fits in one call; a larger file's segments are under a data key and stay as they are.
    let unary = match bytes <= UNARY_PLAINTEXT_BYTES_MAX as u64 {
        true => std::fs::read(&sealed)?,
        false => keys.encrypt(&start, &bound).await?.0,
    };
    let version = made.version;
    let found = format!("{name} {} under v{version}", values::size(bytes));
    stage.sample = Some(Sample { name, plain: path, bytes, sha256, sealed, version, start, unary });
    Ok(Found::Held(found))
}
