//! Keys and their use.

use proto::kms::v1::crypto_service_client::CryptoServiceClient;
use proto::kms::v1::key_service_client::KeyServiceClient;
use proto::kms::v1::{
    ActivateKeyVersionRequest, Alias, AsymmetricDecryptRequest, AsymmetricDecryptResponse, CreateAliasRequest,
    CreateKeyRequest, DecryptRequest, DecryptResponse, DeleteAliasRequest, DeleteAliasResponse, DestroyKeyRequest,
    DisableKeyRequest, EnableKeyRequest, EncryptRequest, EncryptResponse, GenerateDataKeyRequest,
    GenerateDataKeyResponse, GenerateMacRequest, GenerateMacResponse, GetAliasRequest, GetKeyRequest,
    GetPublicKeyRequest, Key, ListAliasesRequest, ListAliasesResponse, ListKeyVersionsRequest, ListKeyVersionsResponse,
    ListKeysRequest, ListKeysResponse, PublicKey, ReEncryptRequest, ReEncryptResponse, RestoreKeyRequest,
    RotateKeyRequest, SignRequest, SignResponse, UpdateAliasRequest, UpdateKeyRequest, VerifyMacRequest,
    VerifyMacResponse, VerifyRequest, VerifyResponse,
};

use super::service;

service! {
    /// The life of keys.
    Keys over KeyServiceClient, from keys;
    /// Creates a key with its first version.
    mutate create(CreateKeyRequest) -> Key = create_key;
    /// One page of the keys of a namespace, by name.
    read list(ListKeysRequest) -> ListKeysResponse = list_keys;
    /// Describes one key.
    read get(GetKeyRequest) -> Key = get_key;
    /// One page of the versions of a key, newest first.
    read versions(ListKeyVersionsRequest) -> ListKeyVersionsResponse = list_key_versions;
    /// Changes what its mask names.
    mutate update(UpdateKeyRequest) -> Key = update_key;
    /// Adds a version and makes it primary.
    mutate rotate(RotateKeyRequest) -> Key = rotate_key;
    /// Lets a key, or one version of it, be used again.
    mutate enable(EnableKeyRequest) -> Key = enable_key;
    /// Stops a key, or one version of it, from being used.
    mutate disable(DisableKeyRequest) -> Key = disable_key;
    /// Destroys a disabled version, or a key of which none is enabled, when its waiting period is over.
    mutate destroy(DestroyKeyRequest) -> Key = destroy_key;
    /// Takes that back before it is over.
    mutate restore(RestoreKeyRequest) -> Key = restore_key;
    /// Makes a pre-active version the primary one.
    mutate activate(ActivateKeyVersionRequest) -> Key = activate_key_version;
    /// The public half of a version.
    read public_key(GetPublicKeyRequest) -> PublicKey = get_public_key;
    /// Gives a key another name.
    mutate create_alias(CreateAliasRequest) -> Alias = create_alias;
    /// Gives such a name to another key, atomically.
    mutate update_alias(UpdateAliasRequest) -> Alias = update_alias;
    /// Takes such a name away.
    mutate delete_alias(DeleteAliasRequest) -> DeleteAliasResponse = delete_alias;
    /// Says which key an alias stands for.
    read get_alias(GetAliasRequest) -> Alias = get_alias;
    /// One page of the aliases of a namespace, by name.
    read list_aliases(ListAliasesRequest) -> ListAliasesResponse = list_aliases;
}

service! {
    /// The use of keys. Plaintext in messages is not wiped from memory: keep it short-lived.
    Crypto over CryptoServiceClient, from crypto;
    /// Encrypts at most 64 KiB under the primary version.
    read encrypt(EncryptRequest) -> EncryptResponse = encrypt;
    /// Decrypts what `encrypt` made.
    read decrypt(DecryptRequest) -> DecryptResponse = decrypt;
    /// Draws a data key.
    read generate_data_key(GenerateDataKeyRequest) -> GenerateDataKeyResponse = generate_data_key;
    /// Encrypts again under a newer version; the plaintext stays in the node.
    read re_encrypt(ReEncryptRequest) -> ReEncryptResponse = re_encrypt;
    /// Signs a message of at most 64 KiB, or a digest; [`crate::signing`] signs longer ones.
    read sign(SignRequest) -> SignResponse = sign;
    /// Checks a signature: an answer means that it is good.
    read verify(VerifyRequest) -> VerifyResponse = verify;
    /// Makes the MAC of a message of at most 64 KiB.
    read generate_mac(GenerateMacRequest) -> GenerateMacResponse = generate_mac;
    /// Checks a MAC: an answer means that it is good.
    read verify_mac(VerifyMacRequest) -> VerifyMacResponse = verify_mac;
    /// Decrypts what was encrypted to the public half of a version.
    read asymmetric_decrypt(AsymmetricDecryptRequest) -> AsymmetricDecryptResponse = asymmetric_decrypt;
}
