//! Where the token of the pkcs11 seal is.

use std::path::PathBuf;

use serde::Deserialize;

/// What a file or the environment say; what is absent is left to the next source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSettings {
    /// The PKCS#11 module, a shared library of the token's vendor. It becomes part of the node's process.
    pub module: Option<PathBuf>,
    /// The token's label.
    pub token: Option<String>,
    /// The slot that the token is in, for tokens whose labels do not tell them apart.
    pub slot: Option<u64>,
    /// The label of the AES key in it; `chancery-seal` when absent.
    pub key: Option<String>,
    /// File of mode 0600 with the PIN.
    pub pin_file: Option<PathBuf>,
}

/// The token, with nothing missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// Which of the module's tokens.
    pub place: TokenPlace,
    /// The label of the AES key in it.
    pub key: String,
    /// File of mode 0600 with the PIN.
    pub pin_file: PathBuf,
}

/// How a token is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// By its label.
    Label(String),
    /// By its slot.
    Slot(u64),
}

const KEY_LABEL_DEFAULT: &str = "chancery-seal";

impl TokenSettings {
    /// Reads the `CHANCERY_SEAL_PKCS11_*` variables.
    pub(super) fn from_variables(lookup: &impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let number = |text: String| text.parse().map_err(|_| "a whole number was expected".to_owned());
        Ok(Self {
            module: lookup("CHANCERY_SEAL_PKCS11_MODULE").map(PathBuf::from),
            token: lookup("CHANCERY_SEAL_PKCS11_TOKEN"),
            slot: lookup(SLOT_VARIABLE).map(number).transpose()?,
            key: lookup("CHANCERY_SEAL_PKCS11_KEY"),
            pin_file: lookup("CHANCERY_SEAL_PKCS11_PIN_FILE").map(PathBuf::from),
        })
    }

    pub(super) fn overridden_by(self, over: Self) -> Self {
        Self {
            module: over.module.or(self.module),
            token: over.token.or(self.token),
            slot: over.slot.or(self.slot),
            key: over.key.or(self.key),
            pin_file: over.pin_file.or(self.pin_file),
        }
    }

    /// None when nothing is said of a token.
    pub(super) fn resolve(self) -> Result<Option<TokenConfig>, String> {
        if self == Self::default() {
            return Ok(None);
        }
        let place = match (self.token, self.slot) {
            (Some(label), None) => TokenPlace::Label(label),
            (None, Some(slot)) => TokenPlace::Slot(slot),
            (None, None) => return Err("`token` is missing: name the token by its label, or by `slot`".to_owned()),
            (Some(_), Some(_)) => return Err("`token` and `slot` both name the token: leave one out".to_owned()),
        };
        Ok(Some(TokenConfig {
            module: self.module.ok_or("`module` is missing: name the PKCS#11 library of the token's vendor")?,
            place,
            key: self.key.unwrap_or_else(|| KEY_LABEL_DEFAULT.to_owned()),
            pin_file: self.pin_file.ok_or("`pin_file` is missing: name a file of mode 0600 with the PIN")?,
        }))
    }
}

/// The one variable of these that is not a text.
pub(super) const SLOT_VARIABLE: &str = "CHANCERY_SEAL_PKCS11_SLOT";

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> TokenSettings {
        TokenSettings {
            module: Some("/lib/token.so".into()),
            token: Some("kms".to_owned()),
            pin_file: Some("/run/pin".into()),
            ..TokenSettings::default()
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let config = whole().resolve().expect("resolves").expect("a token");
        assert_eq!((config.place, config.key.as_str()), (TokenPlace::Label("kms".to_owned()), "chancery-seal"));
        assert_eq!(TokenSettings::default().resolve(), Ok(None));
        for (settings, missing) in [
            (TokenSettings { module: None, ..whole() }, "`module`"),
            (TokenSettings { token: None, ..whole() }, "`token` is missing"),
            (TokenSettings { slot: Some(3), ..whole() }, "both"),
            (TokenSettings { pin_file: None, ..whole() }, "`pin_file`"),
        ] {
            let why = settings.resolve().expect_err("is not whole");
            assert!(why.contains(missing), "{why}");
        }
    }

    #[test]
    fn variables_beat_the_file() {
        let said = |name: &str| match name {
            SLOT_VARIABLE => Some("7".to_owned()),
            "CHANCERY_SEAL_PKCS11_KEY" => Some("other".to_owned()),
            _ => None,
        };
        let variables = TokenSettings::from_variables(&said).expect("reads");
        let both = TokenSettings { token: None, ..whole() }.overridden_by(variables);
        let config = both.resolve().expect("resolves").expect("a token");
        assert_eq!((config.place, config.key.as_str()), (TokenPlace::Slot(7), "other"));
        assert!(TokenSettings::from_variables(&|name| (name == SLOT_VARIABLE).then(|| "x".to_owned())).is_err());
    }
}
