//! Why a command failed, as it is printed: `error: what happened`, then `  try: the next thing`.

use chancery_client::envelope::EnvelopeError;
use chancery_client::identity::{IdentityError, KeyFileError};
use chancery_client::private_file::FileError;
use chancery_client::workload::WorkloadError;
use types::Reason;

use crate::exit::Exit;

/// A failure with its exit code and, where there is one, the next thing to try.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    reason: Option<Reason>,
    exit: Exit,
}

impl Failure {
    /// A failure in those words.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, reason: None, exit }
    }

    /// The output could not be written. That nobody reads it any more is no mistake of anybody's (`| head -1`).
    pub(crate) fn output(error: &std::io::Error) -> Self {
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe { Exit::Unread } else { Exit::Failed };
        Self::new(exit, format!("the output could not be written: {error}"))
    }

    /// The same, with the next thing to try in the place of what was there.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, with the next thing to try if it is a refusal for that reason.
    #[must_use]
    pub(crate) fn hint_for(self, reason: Reason, hint: impl Into<String>) -> Self {
        if self.reason == Some(reason) { self.hint(hint) } else { self }
    }

    /// The same as [`Failure::hint_for`], unless there is something to try already.
    #[must_use]
    pub(crate) fn or_hint_for(self, reason: Reason, hint: impl Into<String>) -> Self {
        if self.hint.is_some() { self } else { self.hint_for(reason, hint) }
    }

    /// The same as [`Failure::hint_for`], if its message speaks of that too: one reason may have several causes.
    #[must_use]
    pub(crate) fn hint_about(self, reason: Reason, subject: &str, hint: impl Into<String>) -> Self {
        if self.message.contains(subject) { self.hint_for(reason, hint) } else { self }
    }

    /// The same, with more after the message, if it is a refusal for that reason.
    #[must_use]
    pub(crate) fn add_for(mut self, reason: Reason, more: &str) -> Self {
        if self.reason == Some(reason) {
            self.message.push_str("; ");
            self.message.push_str(more);
        }
        self
    }

    /// The exit code.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  try: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why one node did not answer, for a row that names it already.
pub(crate) fn of_one_node(error: &chancery_client::Error) -> String {
    match error {
        chancery_client::Error::Unreachable { tried } => match tried.as_slice() {
            [one] => one.why.clone(),
            _ => error.to_string(),
        },
        _ => error.to_string(),
    }
}

impl From<chancery_client::Error> for Failure {
    fn from(error: chancery_client::Error) -> Self {
        use chancery_client::Error;
        let reason = error.reason();
        let exit = match (&error, reason) {
            (_, Some(reason)) => Exit::of_reason(reason),
            (Error::Trust(_), None) => Exit::Untrusted,
            (Error::Setup(_), None) => Exit::Usage,
            (Error::Unreachable { .. } | Error::Refused { .. } | Error::AllSealed { .. }, None) => Exit::Unavailable,
        };
        let hint = match (&error, reason) {
            (_, Some(Reason::Sealed)) => Some("chancery seal unseal"),
            (_, Some(Reason::CredentialRejected)) => {
                Some("check `--identity`; an admin sees who is enrolled with `chancery operator list`")
            }
            (_, Some(Reason::NotInitialized)) => Some("chancery init"),
            (_, Some(Reason::Stale)) => Some("the same command again"),
            (_, Some(Reason::LedgerPending)) => {
                Some("make the ledger writable on the leader; `chancery cluster status` shows why it is not")
            }
            (_, Some(Reason::FencePending)) => Some("wait that long; `chancery cluster status` shows who is away"),
            (Error::Unreachable { .. }, _) => Some("check `--addr` and that the nodes run"),
            (Error::Trust(_), _) => Some("check that `--addr` and `--identity` belong to the same cluster"),
            _ => None,
        };
        Self { message: error.to_string(), hint: hint.map(str::to_owned), reason, exit }
    }
}

impl From<EnvelopeError> for Failure {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Service(error) => error.into(),
            EnvelopeError::Refused(refusal) => Self {
                exit: Exit::of_reason(refusal.reason),
                reason: Some(refusal.reason),
                message: refusal.to_string(),
                hint: None,
            },
            EnvelopeError::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => {
                Self::output(&source)
            }
            error @ EnvelopeError::Io { .. } => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NotRegular { .. } => {
                Self::new(Exit::Invalid, error.to_string()).hint("leave `--out` out for stdout")
            }
            error => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::File(error) => error.into(),
            IdentityError::Key(error) => error.into(),
        }
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        let exit = match error {
            KeyFileError::WrongPassphrase | KeyFileError::NoPassphrase(_) => Exit::Denied,
            KeyFileError::Malformed(_) | KeyFileError::Encrypt => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<WorkloadError> for Failure {
    fn from(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Refused(error) => {
                let hint = "chancery entry list, and compare its selectors with this process";
                Self::from(error).hint_for(Reason::PermissionDenied, hint)
            }
            error @ WorkloadError::NoAgent { .. } => Self::new(Exit::Unavailable, error.to_string())
                .hint("check SPIFFE_ENDPOINT_SOCKET and that `chancery agent` runs"),
            error @ WorkloadError::Address(_) => Self::new(Exit::Usage, error.to_string()),
            error @ WorkloadError::Malformed(_) => Self::new(Exit::Unverified, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use chancery_client::Error;
    use types::Refusal;

    use super::*;

    fn refused(reason: Reason, message: &str) -> Failure {
        Error::Refused { refusal: Refusal::new(reason, message), code: tonic::Code::Unknown }.into()
    }

    #[test]
    fn what_users_read() {
        let not_found = refused(Reason::NotFound, "key `invoice` was not found, or you may not see it")
            .hint_for(Reason::NotFound, "chancery key list");
        assert_eq!(
            not_found.to_string(),
            "error: key `invoice` was not found, or you may not see it (NOT_FOUND)\n  try: chancery key list"
        );
        assert_eq!(not_found.exit(), Exit::NotFound);

        let wrong = refused(Reason::InvalidCiphertext, "ciphertext or context does not verify")
            .add_for(Reason::InvalidCiphertext, "nothing was written");
        assert_eq!(
            wrong.to_string(),
            "error: ciphertext or context does not verify (INVALID_CIPHERTEXT); nothing was written"
        );
        let sealed = Failure::from(Error::AllSealed { nodes: 3 });
        assert_eq!(
            sealed.to_string(),
            "error: all 3 nodes are sealed (SEALED); retrying will not help\n  try: chancery seal unseal"
        );
        assert_eq!(sealed.exit(), Exit::Unavailable);
    }

    #[test]
    fn a_reader_that_has_gone_is_not_a_failure_of_ours() {
        let kind = |kind: std::io::ErrorKind| Failure::output(&kind.into()).exit();
        assert_eq!(kind(std::io::ErrorKind::BrokenPipe), Exit::Unread);
        assert_eq!(kind(std::io::ErrorKind::StorageFull), Exit::Failed);
        let source = std::io::ErrorKind::BrokenPipe.into();
        let envelope = Failure::from(EnvelopeError::Io { what: "output".to_owned(), source });
        assert_eq!(envelope.exit(), Exit::Unread);
    }

    #[test]
    fn hints_are_for_their_reason_only() {
        let names = |message| {
            refused(Reason::OutsideNamespace, message)
                .hint_for(Reason::OutsideNamespace, "a path")
                .hint_about(Reason::OutsideNamespace, "DNS name", "a suffix")
                .to_string()
        };
        assert!(names("path `/x` is not").ends_with("try: a path"));
        assert!(names("DNS name `x` is not").ends_with("try: a suffix"));
        let other = refused(Reason::KeyDisabled, "key `a` is disabled").hint_for(Reason::NotFound, "chancery key list");
        assert_eq!(other.to_string(), "error: key `a` is disabled (KEY_DISABLED)");
        assert_eq!(Failure::from(Error::Unreachable { tried: Vec::new() }).exit(), Exit::Unavailable);
        assert_eq!(Failure::from(Error::Setup("x".to_owned())).exit(), Exit::Usage);
    }
}
