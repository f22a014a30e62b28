//! Step 3: a key that rotates by itself, made the first time and found afterwards with all it encrypted.

use std::path::PathBuf;

use chancery_client::private_file;
use chancery_client::proto::cluster::v1::{GetNamespaceRequest, Namespace, UpdateNamespaceRequest};
use chancery_client::proto::kms::v1::{
    Algorithm, CreateKeyRequest, DecryptRequest, EncryptRequest, GetKeyRequest, Key, UpdateKeyRequest,
};
use prost_types::Duration;
use types::Reason;

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::stage::Stage;
use super::{KEY, PARENT, PERIOD_S};

/// Encrypted in the first run, opened in every later one.
const KEEPSAKE: &[u8] = b"kept from the first run";

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    lower_floor(stage).await?;
    let is_first_run = stage.memory.key_id.is_none();
    match stage.client()?.keys().get(GetKeyRequest { name: KEY.to_owned() }).await {
        Ok(key) if is_first_run => keep(stage, key).await, // the first run was cut off here
        Ok(key) => found(stage, key).await,
        Err(error) if is_first_run && error.reason() == Some(Reason::NotFound) => make(stage).await,
        Err(error) => Err(error.into()),
    }
}

fn period() -> Option<Duration> {
    Some(Duration { seconds: PERIOD_S, nanos: 0 })
}

/// A namespace lets no key rotate more often than hourly unless it is told otherwise.
async fn lower_floor(stage: &Stage) -> Result<(), Fault> {
    let namespaces = stage.client()?.namespaces();
    let floor = Some(Duration { seconds: 1, nanos: 0 });
    let namespace = namespaces.get(GetNamespaceRequest { name: PARENT.to_owned() }).await?;
    if namespace.rotation_floor == floor {
        return Ok(());
    }
    let namespace = Some(Namespace { rotation_floor: floor, ..namespace });
    namespaces.update(UpdateNamespaceRequest { namespace, ..UpdateNamespaceRequest::default() }).await?;
    Ok(())
}

async fn make(stage: &mut Stage) -> Result<Found, Fault> {
    let request = CreateKeyRequest {
        parent: PARENT.to_owned(),
        key_id: "orders".to_owned(),
        algorithm: Algorithm::Aes256Gcm.into(),
        rotation_period: period(),
        ..CreateKeyRequest::default()
    };
    let key = stage.client()?.keys().create(request).await?;
    Fault::check(key.primary_version == 1, || format!("a new key begins with v{}", key.primary_version))?;
    keep(stage, key).await
}

/// Remembers the key, and encrypts something under it for later runs.
async fn keep(stage: &mut Stage, key: Key) -> Result<Found, Fault> {
    check(&key)?;
    let request = EncryptRequest { name: KEY.to_owned(), plaintext: KEEPSAKE.to_vec(), ..EncryptRequest::default() };
    let sealed = stage.client()?.crypto().encrypt(request).await?;
    private_file::write(&keepsake(stage), &sealed.ciphertext)?;
    stage.memory.key_id = Some(key.key_id);
    stage.layout.remember(&stage.memory).map_err(|failure| Fault::new(failure.to_string()))?;
    let primary = key.primary_version;
    Ok(Found::Held(format!("keys/orders v{primary}, AES-256-GCM, rotates every {PERIOD_S} s")))
}

/// It must be the very key: a new one of that name would not open what the old one encrypted.
async fn found(stage: &Stage, key: Key) -> Result<Found, Fault> {
    let remembered = stage.memory.key_id.as_deref();
    Fault::check(remembered == Some(&key.key_id), || {
        format!("keys/orders is key {}, not the {} of the last run", key.key_id, remembered.unwrap_or("none"))
    })?;
    let key = if key.rotation_period == period() {
        key
    } else {
        let request = UpdateKeyRequest {
            name: KEY.to_owned(),
            rotation_period: period(),
            update_mask: Some(prost_types::FieldMask { paths: vec!["rotation_period".to_owned()] }),
            ..UpdateKeyRequest::default()
        };
        stage.client()?.keys().update(request).await?
    };
    check(&key)?;
    let ciphertext = private_file::read(&keepsake(stage))?;
    let request = DecryptRequest { parent: PARENT.to_owned(), ciphertext, ..DecryptRequest::default() };
    let opened = stage.client()?.crypto().decrypt(request).await?;
    Fault::check(opened.plaintext == KEEPSAKE, || "what the first run encrypted opens to something else".to_owned())?;
    let primary = key.primary_version;
    Ok(Found::Held(format!(
        "keys/orders found at v{primary}; the first run's ciphertext opens under v{}",
        opened.version
    )))
}

fn check(key: &Key) -> Result<(), Fault> {
    Fault::check(key.enabled && key.rotation_period == period(), || {
        format!("keys/orders is not enabled or does not rotate every {PERIOD_S} s")
    })
}

fn keepsake(stage: &Stage) -> PathBuf {
    stage.layout.path("work").join("keepsake.chy")
}
