//! The use of a key, asked of a cluster.

use std::collections::HashMap;

use crypto::{Secret, SecretBytes};
use kms::envelope::DATA_KEY_BYTES;
use proto::kms::v1::{DecryptRequest, EncryptRequest, GenerateDataKeyRequest};

use super::{Bound, DataKey, EnvelopeError, KeyUse, Unwrapped};
use crate::{Client, Error};

/// One key of a cluster.
#[derive(Clone, Debug)]
pub struct ServiceKeys {
    client: Client,
    /// `namespaces/{ns}/keys/{key}`, or an alias; not needed to decrypt.
    key: String,
}

impl ServiceKeys {
    /// To encrypt under that key, `namespaces/{ns}/keys/{key}` or an alias, `namespaces/{ns}/aliases/{alias}`, and to decrypt.
    #[must_use]
    pub fn of_key(client: Client, key: String) -> Self {
        Self { client, key }
    }

    /// To decrypt only: ciphertexts name their key themselves.
    #[must_use]
    pub fn to_decrypt(client: Client) -> Self {
        Self { client, key: String::new() }
    }
}

impl KeyUse for ServiceKeys {
    async fn encrypt(&self, plaintext: &[u8], bound: &Bound) -> Result<(Vec<u8>, u32), EnvelopeError> {
        let request = EncryptRequest {
            name: self.key.clone(),
            plaintext: plaintext.to_vec(),
            context: pairs(bound),
            additional_authenticated_data: bound.aad.clone(),
        };
        let answer = self.client.crypto().encrypt(request).await?;
        Ok((answer.ciphertext, answer.version))
    }

    async fn data_key(&self, bound: &Bound) -> Result<DataKey, EnvelopeError> {
        let request = GenerateDataKeyRequest {
            name: self.key.clone(),
            context: pairs(bound),
            additional_authenticated_data: bound.aad.clone(),
            length_bytes: u32::try_from(DATA_KEY_BYTES).unwrap_or_default(),
            without_plaintext: false,
        };
        let answer = self.client.crypto().generate_data_key(request).await?;
        let plaintext = SecretBytes::from_vec(answer.plaintext);
        let plaintext = Secret::from_slice(plaintext.expose())
            .ok_or_else(|| Error::Setup("the service returned a data key of another length".to_owned()))?;
        Ok(DataKey { plaintext, wrapped: answer.wrapped, version: answer.version })
    }

    async fn decrypt(&self, ciphertext: &[u8], bound: &Bound) -> Result<Unwrapped, EnvelopeError> {
        let request = DecryptRequest {
            parent: format!("namespaces/{}", bound.namespace),
            ciphertext: ciphertext.to_vec(),
            context: pairs(bound),
            additional_authenticated_data: bound.aad.clone(),
        };
        let answer = self.client.crypto().decrypt(request).await?;
        let plaintext = SecretBytes::from_vec(answer.plaintext);
        Ok(Unwrapped { plaintext, key: answer.key, version: answer.version })
    }
}

fn pairs(bound: &Bound) -> HashMap<String, String> {
    bound.context.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
