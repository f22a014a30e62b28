//! A node's settings: a TOML file, then `CHANCERY_*` variables, then flags, each overriding the one before.
//!
//! Every setting is a row of [`Settings`]: the file, the environment and the flags all fill the same shape, and
//! [`Config`] is that shape with nothing missing. A typo is an error that names the line and what was expected.

mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crypto::recipients::{RECIPIENTS_MAX, Recipient};
use serde::Deserialize;

pub use token::{TokenConfig, TokenPlace, TokenSettings};

/// Our own words at `info`; the libraries under us only when something is wrong.
const LOG_LEVEL_DEFAULT: &str = "info,openraft=error,chunked_wal=warn,raft_log=warn,sled=warn";

/// Backups that a folder keeps unless it is said.
const BACKUPS_KEPT: usize = 7;

/// What a file, the environment or the flags say; what is absent is left to the next source or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the node keeps everything. One folder, one node.
    pub data_dir: Option<PathBuf>,
    /// The gRPC API for workloads, admins and apps.
    pub api: Listener,
    /// The port that only members use.
    pub peer: Listener,
    /// Health and metrics, plain HTTP.
    pub health: Listener,
    /// What wraps the root key on this node's disk.
    pub seal: SealSettings,
    /// The audit log.
    pub audit: AuditSettings,
    /// Backups.
    pub backup: BackupSettings,
    /// What a restore must not bring back.
    pub ledger: LedgerSettings,
    /// What the node says about itself.
    pub log: LogSettings,
}

/// Where a port listens and how others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// Address and port to bind; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// `host:port` under which others reach it; the bound address when absent.
    pub advertise: Option<String>,
}

/// Which seal, and where it finds what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SealSettings {
    /// `file` (development only: the key lies beside the data), `passphrase`, `shamir` or `pkcs11`.
    #[serde(rename = "type")]
    pub kind: Option<SealKind>,
    /// The passphrase seal reads its passphrase here at start; without it the node waits for `chancery seal unseal`.
    pub passphrase_file: Option<PathBuf>,
    /// The token of the pkcs11 seal.
    pub pkcs11: TokenSettings,
}

/// The seals there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealKind {
    /// A key file in the data folder: for development only.
    #[default]
    File,
    /// A passphrase through argon2id.
    Passphrase,
    /// A key in shares, some of which have to meet.
    Shamir,
    /// A key in a token.
    Pkcs11,
}

/// The audit log's room on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// Bytes kept free for records when the disk is full.
    pub reserve_bytes: Option<u64>,
}

/// To whom backups are sealed, and the folder that the node writes them to by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupSettings {
    /// Recipients, `age1…`, as `chancery backup keygen` prints them: only whoever runs the machine names them.
    pub recipients: Option<Vec<String>>,
    /// Where the node writes backups by itself; none without it.
    pub folder: Option<PathBuf>,
    /// How old the newest may get there: a number with m, h or d.
    pub every: Option<String>,
    /// How many are kept there.
    pub keep: Option<usize>,
}

/// How long a start waits for the file system of the ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);

/// Where the ledger is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// A file outside the data folder and the backups; none: no ledger is kept, and every restore is a quarantine.
    pub file: Option<PathBuf>,
}

impl LedgerSettings {
    /// A ledger that is lost, or set back, with the data folder says nothing of what came after a backup.
    fn resolve(self, data_dir: &Path) -> Result<Option<PathBuf>, ConfigError> {
        let Some(file) = self.file else { return Ok(None) };
        let (path, data_dir) = (file.clone(), data_dir.to_owned());
        // Aside, for it may lie on another machine that does not answer: a node starts without it.
        let (found, finding) = std::sync::mpsc::channel();
        std::thread::spawn(move || found.send(misplaced(&path, &data_dir)));
        match finding.recv_timeout(LEDGER_PATIENCE) {
            Ok(Some(why)) => Err(ConfigError::Ledger { path: file, why: why.to_owned() }),
            Ok(None) | Err(_) => Ok(Some(file)),
        }
    }
}

/// Why a ledger cannot be kept there. May hang as long as the file system does.
fn misplaced(file: &Path, data_dir: &Path) -> Option<&'static str> {
    if file.file_name().is_none() || file.is_dir() {
        return Some("is a folder: name the file in it, for example `chancery.ledger`");
    }
    actual(file)
        .starts_with(actual(data_dir))
        .then_some("lies in the data folder: keep it where it is not lost together with that, best on another machine")
}

/// Where a path leads, as far as it exists, links followed.
fn actual(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let exists = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    exists.map_or_else(
        || path.clone(),
        |(part, real)| path.strip_prefix(part).map_or_else(|_| path.clone(), |rest| real.join(rest)),
    )
}

/// Verbosity and shape of the log on stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// A `tracing` filter such as `info` or `warn,raft=debug`.
    pub level: Option<String>,
    /// `text` or `json`.
    pub format: Option<LogFormat>,
}

/// Shapes of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A node's settings with nothing missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the node keeps everything.
    pub data_dir: PathBuf,
    /// The gRPC API.
    pub api: Port,
    /// The port that only members use.
    pub peer: Port,
    /// Health and metrics.
    pub health: Port,
    /// Which seal.
    pub seal: SealKind,
    /// Where the passphrase seal reads its passphrase at start.
    pub passphrase_file: Option<PathBuf>,
    /// The token of the pkcs11 seal, whichever seal the node was made with.
    pub token: Option<TokenConfig>,
    /// Bytes kept free for audit records when the disk is full.
    pub audit_reserve_bytes: u64,
    /// Backups.
    pub backup: BackupConfig,
    /// Where the ledger is kept, if one is.
    pub ledger: Option<PathBuf>,
    /// A `tracing` filter.
    pub log_level: String,
    /// Shape of the log.
    pub log_format: LogFormat,
    /// A node that joins asks for no vote. A flag and no setting: it counts once, when the token is redeemed.
    pub join_as_learner: bool,
    /// The newest state-machine version that this node says it knows: the build's. Tests pretend to be another build.
    pub state_version: u32,
}

/// Backups, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupConfig {
    /// To whom they are sealed; without any, none is made.
    pub recipients: Vec<Recipient>,
    /// Where the node writes them by itself.
    pub folder: Option<PathBuf>,
    /// How old the newest may get there.
    pub every: Option<Duration>,
    /// How many are kept there.
    pub keep: usize,
}

/// A port, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Address and port to bind.
    pub listen: SocketAddr,
    /// How others reach it, when that is not the bound address.
    pub advertise: Option<String>,
}

/// Settings that cannot be used; the text says where and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that is not a setting.
    #[error("the configuration `{}` is not valid: {reason}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line, column, what was found and what was expected.
        reason: String,
    },
    /// A variable's value does not fit.
    #[error("the variable `{name}` is not valid: {reason}")]
    Variable {
        /// Which variable.
        name: &'static str,
        /// What was expected.
        reason: String,
    },
    /// A passphrase for a seal that takes none.
    #[error(
        "a passphrase file was given, but the seal is `file`: set `seal.type` to \"passphrase\" (--seal passphrase)"
    )]
    PassphraseWithoutSeal,
    /// The token is not said whole.
    #[error("the token of the pkcs11 seal (`[seal.pkcs11]`): {0}")]
    Token(String),
    /// Backups cannot be made as it is said.
    #[error("backups: {0}")]
    Backup(String),
    /// The ledger cannot be kept there.
    #[error("the ledger `{}` {why}", path.display())]
    Ledger {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// No data folder was named.
    #[error("no data folder: set `data_dir` in the configuration, CHANCERY_DATA_DIR, or --data-dir")]
    NoDataDir,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// With line, column and what was expected, when it is not valid.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::from_toml(&text).map_err(|reason| ConfigError::Invalid { path: path.to_owned(), reason })
    }

    fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// Reads the `CHANCERY_*` variables through `lookup`.
    ///
    /// # Errors
    /// When a value does not fit its setting.
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        fn typed<T: serde::de::DeserializeOwned>(
            name: &'static str,
            value: Option<String>,
        ) -> Result<Option<T>, ConfigError> {
            value
                .map(|text| {
                    toml::Value::String(text)
                        .try_into()
                        .map_err(|e: toml::de::Error| ConfigError::Variable { name, reason: e.message().to_owned() })
                })
                .transpose()
        }
        Ok(Self {
            data_dir: lookup("CHANCERY_DATA_DIR").map(PathBuf::from),
            api: Listener {
                listen: typed("CHANCERY_API_LISTEN", lookup("CHANCERY_API_LISTEN"))?,
                advertise: lookup("CHANCERY_API_ADVERTISE"),
            },
            peer: Listener {
                listen: typed("CHANCERY_PEER_LISTEN", lookup("CHANCERY_PEER_LISTEN"))?,
                advertise: lookup("CHANCERY_PEER_ADVERTISE"),
            },
            health: Listener {
                listen: typed("CHANCERY_HEALTH_LISTEN", lookup("CHANCERY_HEALTH_LISTEN"))?,
                advertise: None,
            },
            seal: SealSettings {
                kind: typed("CHANCERY_SEAL_TYPE", lookup("CHANCERY_SEAL_TYPE"))?,
                passphrase_file: lookup("CHANCERY_SEAL_PASSPHRASE_FILE").map(PathBuf::from),
                pkcs11: TokenSettings::from_variables(&lookup)
                    .map_err(|reason| ConfigError::Variable { name: token::SLOT_VARIABLE, reason })?,
            },
            audit: AuditSettings {
                reserve_bytes: lookup("CHANCERY_AUDIT_RESERVE_BYTES").map(|text| whole_number(&text)).transpose()?,
            },
            backup: BackupSettings {
                recipients: lookup("CHANCERY_BACKUP_RECIPIENTS")
                    .map(|text| text.split(',').map(|one| one.trim().to_owned()).collect()),
                folder: lookup("CHANCERY_BACKUP_FOLDER").map(PathBuf::from),
                every: lookup("CHANCERY_BACKUP_EVERY"),
                keep: lookup("CHANCERY_BACKUP_KEEP").map(|text| count(&text)).transpose()?,
            },
            ledger: LedgerSettings { file: lookup("CHANCERY_LEDGER_FILE").map(PathBuf::from) },
            log: LogSettings {
                level: lookup("CHANCERY_LOG_LEVEL"),
                format: typed("CHANCERY_LOG_FORMAT", lookup("CHANCERY_LOG_FORMAT"))?,
            },
        })
    }

    /// What `over` says, and where it says nothing, what this says.
    #[must_use]
    pub fn overridden_by(self, over: Self) -> Self {
        let Self { data_dir, api, peer, health, seal, audit, backup, ledger, log } = self;
        Self {
            data_dir: over.data_dir.or(data_dir),
            api: api.overridden_by(over.api),
            peer: peer.overridden_by(over.peer),
            health: health.overridden_by(over.health),
            seal: SealSettings {
                kind: over.seal.kind.or(seal.kind),
                passphrase_file: over.seal.passphrase_file.or(seal.passphrase_file),
                pkcs11: seal.pkcs11.overridden_by(over.seal.pkcs11),
            },
            audit: AuditSettings { reserve_bytes: over.audit.reserve_bytes.or(audit.reserve_bytes) },
            backup: BackupSettings {
                recipients: over.backup.recipients.or(backup.recipients),
                folder: over.backup.folder.or(backup.folder),
                every: over.backup.every.or(backup.every),
                keep: over.backup.keep.or(backup.keep),
            },
            ledger: LedgerSettings { file: over.ledger.file.or(ledger.file) },
            log: LogSettings { level: over.log.level.or(log.level), format: over.log.format.or(log.format) },
        }
    }
}

fn whole_number(text: &str) -> Result<u64, ConfigError> {
    let reason = |_| "a whole number of bytes was expected".to_owned();
    text.parse()
        .map_err(reason)
        .map_err(|reason| ConfigError::Variable { name: "CHANCERY_AUDIT_RESERVE_BYTES", reason })
}

fn count(text: &str) -> Result<usize, ConfigError> {
    let wrong = |_| "a whole number was expected".to_owned();
    text.parse().map_err(wrong).map_err(|reason| ConfigError::Variable { name: "CHANCERY_BACKUP_KEEP", reason })
}

impl BackupSettings {
    fn resolve(self) -> Result<BackupConfig, ConfigError> {
        let parse = |text: &String| Recipient::parse(text).map_err(|why| format!("`recipients`: `{text}` is {why}"));
        let recipients = self.recipients.unwrap_or_default();
        if recipients.len() > RECIPIENTS_MAX {
            return Err(ConfigError::Backup(format!("`recipients` are {RECIPIENTS_MAX} at most")));
        }
        let recipients: Result<Vec<_>, _> = recipients.iter().map(parse).collect();
        let recipients = recipients.map_err(ConfigError::Backup)?;
        let every = self.every.as_deref().map(interval).transpose().map_err(ConfigError::Backup)?;
        if every.is_some() && (recipients.is_empty() || self.folder.is_none()) {
            let text = "`every` needs `folder` and `recipients`: `chancery backup keygen` makes one";
            return Err(ConfigError::Backup(text.to_owned()));
        }
        let keep = self.keep.unwrap_or(BACKUPS_KEPT);
        if keep == 0 {
            return Err(ConfigError::Backup("`keep` is 1 at least".to_owned()));
        }
        Ok(BackupConfig { recipients, folder: self.folder, every, keep })
    }
}

/// A number with `m`, `h` or `d`.
fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`every`: `{text}` is not an interval: use a number with m, h or d, for example 6h");
    let unit = text.char_indices().last().map_or(0, |(at, _)| at);
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

impl Listener {
    fn overridden_by(self, over: Self) -> Self {
        Self { listen: over.listen.or(self.listen), advertise: over.advertise.or(self.advertise) }
    }

    fn resolve(self, default: ([u8; 4], u16)) -> Port {
        Port { listen: self.listen.unwrap_or_else(|| SocketAddr::from(default)), advertise: self.advertise }
    }
}

impl Config {
    /// The settings of a node: file, then variables, then flags.
    ///
    /// # Errors
    /// When a source is not valid or no data folder is named.
    pub fn load(file: Option<&Path>, flags: Settings) -> Result<Self, ConfigError> {
        let from_file = file.map(Settings::from_file).transpose()?.unwrap_or_default();
        let from_variables = Settings::from_variables(|name| std::env::var(name).ok())?;
        Self::resolve(from_file.overridden_by(from_variables).overridden_by(flags))
    }

    /// Fills in the defaults.
    ///
    /// # Errors
    /// When no data folder is named.
    pub fn resolve(settings: Settings) -> Result<Self, ConfigError> {
        let Settings { data_dir, api, peer, health, seal, audit, backup, ledger, log } = settings;
        let kind = seal.kind.unwrap_or_default();
        if kind != SealKind::Passphrase && seal.passphrase_file.is_some() {
            return Err(ConfigError::PassphraseWithoutSeal);
        }
        let token = seal.pkcs11.resolve().map_err(ConfigError::Token)?;
        if kind == SealKind::Pkcs11 && token.is_none() {
            return Err(ConfigError::Token("nothing is said of it, and the seal is `pkcs11`".to_owned()));
        }
        let data_dir = data_dir.ok_or(ConfigError::NoDataDir)?;
        Ok(Self {
            ledger: ledger.resolve(&data_dir)?,
            data_dir,
            api: api.resolve(([0, 0, 0, 0], 7443)),
            peer: peer.resolve(([0, 0, 0, 0], 7444)),
            health: health.resolve(([127, 0, 0, 1], 7445)),
            seal: kind,
            passphrase_file: seal.passphrase_file,
            token,
            audit_reserve_bytes: audit.reserve_bytes.unwrap_or(types::limits::AUDIT_RESERVE_BYTES),
            backup: backup.resolve()?,
            log_level: log.level.unwrap_or_else(|| LOG_LEVEL_DEFAULT.to_owned()),
            log_format: log.format.unwrap_or_default(),
            join_as_learner: false,
            state_version: state::VERSION_NEWEST,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_names_its_line_and_what_was_expected() {
        let error = Settings::from_toml("data_dir = \"/d\"\n[api]\nlisen = \"127.0.0.1:1\"\n").unwrap_err();
        assert!(error.contains("line 3"), "{error}");
        assert!(error.contains("`lisen`") && error.contains("`listen`"), "{error}");
        let error = Settings::from_toml("[seal]\ntype = \"wax\"\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("`passphrase`"), "{error}");
    }

    #[test]
    fn flags_beat_variables_beat_the_file() {
        let file =
            Settings::from_toml("data_dir = \"/file\"\n[log]\nlevel = \"warn\"\n[seal]\ntype = \"passphrase\"\n");
        let variables = Settings::from_variables(|name| match name {
            "CHANCERY_DATA_DIR" => Some("/variable".to_owned()),
            "CHANCERY_LOG_LEVEL" => Some("debug".to_owned()),
            _ => None,
        });
        let flags = Settings { data_dir: Some("/flag".into()), ..Settings::default() };
        let config =
            Config::resolve(file.expect("valid").overridden_by(variables.expect("valid")).overridden_by(flags))
                .expect("resolves");
        assert_eq!(config.data_dir, PathBuf::from("/flag"));
        assert_eq!(config.log_level, "debug");
        assert_eq!(config.seal, SealKind::Passphrase);
    }

    #[test]
    fn a_variable_that_does_not_fit_is_named() {
        let error = Settings::from_variables(|name| (name == "CHANCERY_API_LISTEN").then(|| "here".to_owned()));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("CHANCERY_API_LISTEN"), "{text}");
    }

    #[test]
    fn the_full_example_parses_and_names_every_setting() {
        let text = include_str!("../../deploy/conf/chancery_full.toml");
        let shipped = Settings::from_toml(text).expect("the shipped example is valid");
        let Settings { data_dir, api, peer, health, seal, audit, backup, ledger, log } = shipped;
        assert!(backup.folder.is_some() && backup.every.is_some() && backup.keep.is_some());
        assert!(backup.clone().resolve().is_ok_and(|backup| !backup.recipients.is_empty()));
        assert!(ledger.file.is_some());
        assert!(data_dir.is_some() && seal.kind.is_some() && seal.passphrase_file.is_some());
        let token = seal.pkcs11.clone();
        assert!(token.slot.is_none() && token.key.is_some() && token.resolve().is_ok_and(|token| token.is_some()));
        assert!(log.level.is_some() && log.format.is_some() && audit.reserve_bytes.is_some());
        for port in [&api, &peer] {
            assert!(port.listen.is_some() && port.advertise.is_some());
        }
        assert!(health.listen.is_some());
    }

    #[test]
    fn backups_by_schedule_need_a_folder_and_a_recipient() {
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let resolved = |text: &str| {
            let settings = Settings::from_toml(&format!("data_dir = \"/d\"\n[backup]\n{text}"));
            Config::resolve(settings.expect("valid")).map(|config| config.backup)
        };
        let whole = resolved(&format!("recipients = [\"{recipient}\"]\nfolder = \"/b\"\nevery = \"6h\"\n"));
        let whole = whole.expect("resolves");
        assert_eq!((whole.every, whole.keep), (Some(Duration::from_secs(21_600)), 7));
        assert_eq!(whole.recipients.len(), 1);
        for wrong in [
            "every = \"6h\"\nfolder = \"/b\"\n".to_owned(),
            format!("every = \"6h\"\nrecipients = [\"{recipient}\"]\n"),
            format!("folder = \"/b\"\nevery = \"0h\"\nrecipients = [\"{recipient}\"]\n"),
            format!("folder = \"/b\"\nevery = \"6\"\nrecipients = [\"{recipient}\"]\n"),
            "recipients = [\"age1nobody\"]\n".to_owned(),
            "keep = 0\n".to_owned(),
        ] {
            assert!(matches!(resolved(&wrong), Err(ConfigError::Backup(_))), "{wrong}");
        }
    }

    #[test]
    fn a_ledger_lies_outside_of_the_data_folder() {
        let temp = tempfile::tempdir().expect("a folder");
        let (data, linked) = (temp.path().join("data"), temp.path().join("linked"));
        std::fs::create_dir_all(data.join("sub")).expect("made");
        std::os::unix::fs::symlink(data.join("sub"), &linked).expect("linked");
        let resolved = |file: PathBuf| {
            let ledger = LedgerSettings { file: Some(file) };
            Config::resolve(Settings { data_dir: Some(data.clone()), ledger, ..Settings::default() })
        };
        let outside = temp.path().join("chancery.ledger");
        assert_eq!(resolved(outside.clone()).expect("resolves").ledger, Some(outside));
        assert!(resolved(temp.path().join("data.ledger")).is_ok(), "a name that only begins alike");
        for inside in [data.join("ledger"), data.join("not/there/ledger"), linked.join("ledger"), temp.path().into()] {
            let error = resolved(inside).expect_err("refused");
            assert!(matches!(error, ConfigError::Ledger { .. }), "{error}");
        }
    }

    #[test]
    fn a_passphrase_for_the_file_seal_is_refused() {
        let settings = Settings::from_toml("data_dir = \"/d\"\n[seal]\npassphrase_file = \"/p\"\n").expect("valid");
        assert!(matches!(Config::resolve(settings), Err(ConfigError::PassphraseWithoutSeal)));
    }

    #[test]
    fn the_pkcs11_seal_needs_a_token() {
        let settings = |text: &str| Settings::from_toml(&format!("data_dir = \"/d\"\n{text}")).expect("valid");
        let bare = Config::resolve(settings("[seal]\ntype = \"pkcs11\"\n"));
        assert!(matches!(bare, Err(ConfigError::Token(_))));
        let whole = "[seal.pkcs11]\nmodule = \"/lib/token.so\"\ntoken = \"kms\"\npin_file = \"/run/pin\"\n";
        let beside = Config::resolve(settings(whole)).expect("resolves");
        assert!(beside.seal == SealKind::File && beside.token.is_some(), "beside another seal");
    }

    #[test]
    fn without_a_data_folder_nothing_starts() {
        assert!(matches!(Config::resolve(Settings::default()), Err(ConfigError::NoDataDir)));
    }
}
