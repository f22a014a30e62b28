//! A PKCS#11 token (OASIS PKCS #11 v2.40): one AES key in it, which it does not let out, wraps what it is given.
//!
//! The module is loaded, used and let go again under one lock: a process may initialise a module once only, and between two
//! openings of the node nothing of it stays, no session and no login.

use std::sync::{Mutex, PoisonError};

use crypto::SecretBytes;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::config::{TokenConfig, TokenPlace};
use crate::formation;

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 12;
const TAG_BITS: u64 = 128;
const KEY_BYTES: u64 = 32;

static IN_USE: Mutex<()> = Mutex::new(());

/// What went wrong with a token, in words for whoever runs the node.
#[derive(Debug, thiserror::Error)]
#[error("the token of the pkcs11 seal: {0}")]
pub(crate) struct TokenError(String);

/// Wraps a secret under the token's key, which is made when the token has none of that name; returns the nonce and the
/// ciphertext with its tag.
///
/// # Errors
/// When the token cannot be used, or its key could be taken out of it.
pub(super) fn wrap(
    config: &TokenConfig,
    aad: &[u8],
    secret: &[u8],
) -> Result<([u8; NONCE_BYTES], Vec<u8>), TokenError> {
    within(config, Access::Write, |session| {
        let key = match find_key(session, config)? {
            Some(key) => key,
            None => make_key(session, config)?,
        };
        check_key(session, key, config)?;
        // Drawn here; a module that draws its own writes it over this one. A key wraps one secret for each seal that is made
        // with it, so nonces do not meet (NIST SP 800-38D §8.3).
        let mut nonce = crypto::entropy::array::<NONCE_BYTES>();
        let parameters = GcmParams::new(&mut nonce, aad, TAG_BITS.into()).map_err(|error| failed(&error))?;
        let wrapped = session.encrypt(&Mechanism::AesGcm(parameters), key, secret);
        let wrapped = wrapped.map_err(|error| TokenError(format!("it does not encrypt with AES-GCM: {error}")))?;
        Ok((nonce, wrapped))
    })
}

/// Opens what [`wrap`] made.
///
/// # Errors
/// When the token cannot be used, has another key, or what was stored was changed.
pub(super) fn unwrap(
    config: &TokenConfig,
    aad: &[u8],
    mut nonce: [u8; NONCE_BYTES],
    wrapped: &[u8],
) -> Result<SecretBytes, TokenError> {
    within(config, Access::Read, |session| {
        let key = find_key(session, config)?;
        let key = key.ok_or_else(|| TokenError(format!("it has no AES key `{}`", config.key)))?;
        let parameters = GcmParams::new(&mut nonce, aad, TAG_BITS.into()).map_err(|error| failed(&error))?;
        let opened = session.decrypt(&Mechanism::AesGcm(parameters), key, wrapped);
        opened.map(SecretBytes::from_vec).map_err(|error| {
            let key = &config.key;
            TokenError(format!("its key `{key}` does not open this node's seal ({error}): is it the right token?"))
        })
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Logs in, works, and leaves nothing behind.
fn within<T>(
    config: &TokenConfig,
    access: Access,
    work: impl FnOnce(&Session) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let _alone = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let module = config.module.display();
    let context = Pkcs11::new(&config.module)
        .map_err(|error| TokenError(format!("`{module}` is no PKCS#11 module that can be loaded: {error}")))?;
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(|error| failed(&error))?;
    let done = logged_in(&context, config, access).and_then(|session| work(&session));
    if let Err(error) = context.finalize() {
        tracing::warn!(%error, "the PKCS#11 module was not let go");
    }
    done
}

fn logged_in(context: &Pkcs11, config: &TokenConfig, access: Access) -> Result<Session, TokenError> {
    let slot = find_slot(context, config)?;
    let session = match access {
        Access::Read => context.open_ro_session(slot),
        Access::Write => context.open_rw_session(slot),
    };
    let session = session.map_err(|error| failed(&error))?;
    let pin = formation::read_passphrase(&config.pin_file).map_err(|refusal| TokenError(refusal.message))?;
    let pin = std::str::from_utf8(pin.expose()).map_err(|_| TokenError("its PIN is not text".to_owned()))?;
    session
        .login(UserType::User, Some(&AuthPin::from(pin.to_owned())))
        .map_err(|error| TokenError(format!("it refuses the PIN in `{}`: {error}", config.pin_file.display())))?;
    Ok(session)
}

fn find_slot(context: &Pkcs11, config: &TokenConfig) -> Result<Slot, TokenError> {
    let slots = context.get_slots_with_token().map_err(|error| failed(&error))?;
    match &config.place {
        TokenPlace::Slot(number) => slots
            .into_iter()
            .find(|slot| slot.id() == *number)
            .ok_or_else(|| TokenError(format!("there is none in slot {number}"))),
        TokenPlace::Label(label) => {
            let named = |slot: &Slot| context.get_token_info(*slot).is_ok_and(|info| info.label() == label);
            let mut named = slots.into_iter().filter(named);
            match (named.next(), named.next()) {
                (Some(slot), None) => Ok(slot),
                (None, _) => Err(TokenError(format!("there is none with the label `{label}`"))),
                (Some(_), Some(_)) => Err(TokenError(format!("several have the label `{label}`: name the slot"))),
            }
        }
    }
}

fn find_key(session: &Session, config: &TokenConfig) -> Result<Option<ObjectHandle>, TokenError> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(config.key.clone().into_bytes()),
    ];
    let found = session.find_objects(&template).map_err(|error| failed(&error))?;
    match found.as_slice() {
        [] => Ok(None),
        [key] => Ok(Some(*key)),
        _ => Err(TokenError(format!("it has several AES keys `{}`", config.key))),
    }
}

fn make_key(session: &Session, config: &TokenConfig) -> Result<ObjectHandle, TokenError> {
    let template = [
        Attribute::Label(config.key.clone().into_bytes()),
        Attribute::ValueLen(KEY_BYTES.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    let made = session.generate_key(&Mechanism::AesKeyGen, &template);
    let made = made.map_err(|error| TokenError(format!("it makes no AES key: {error}")))?;
    tracing::info!(key = config.key, "the token has made the key of the seal");
    Ok(made)
}

/// A key that can be taken out of the token would make the seal no better than a file.
fn check_key(session: &Session, key: ObjectHandle, config: &TokenConfig) -> Result<(), TokenError> {
    let wanted = [AttributeType::Sensitive, AttributeType::Extractable];
    let held = session.get_attributes(key, &wanted).map_err(|error| failed(&error))?;
    if held.contains(&Attribute::Sensitive(true)) && held.contains(&Attribute::Extractable(false)) {
        return Ok(());
    }
    let key = &config.key;
    Err(TokenError(format!(
        "its key `{key}` can be taken out of it: name another, and the token makes one that cannot"
    )))
}

fn failed(error: &cryptoki::error::Error) -> TokenError {
    TokenError(error.to_string())
}
