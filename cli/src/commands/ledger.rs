//! `chancery ledger`: the file that says what a restore must not bring back, checked without a cluster.

use std::path::{Path, PathBuf};

use ::audit::{Ledger, LedgerError, LedgerFact, verify_ledger};
use clap::Subcommand;
use serde::Serialize;
use types::SpkiHash;

use super::backup::Origin;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Show;

/// The verbs of `ledger`.
#[derive(Subcommand, Debug)]
pub(crate) enum LedgerCommand {
    /// Check a ledger from its first line to its last, without a cluster
    ///
    /// That a ledger was cut at its end it cannot say of itself: compare the last line's hash with one that you noted.
    Verify {
        /// The file that the nodes are configured with
        file: PathBuf,
        #[command(flatten)]
        origin: Origin,
    },
}

#[derive(Serialize)]
struct LedgerView {
    cluster_id: String,
    cluster_key_hash: String,
    lines: usize,
    generation: u64,
    /// Up to that entry nothing is missing.
    index: u64,
    last_line_sha256: String,
    torn_bytes: u64,
    /// How often it says that something before may be missing.
    gaps: usize,
    destroyed_versions: usize,
    destroyed_keys: usize,
    disabled: usize,
    revoked_operators: usize,
    banned_agents: usize,
    revoked_roles: usize,
    withdrawn_entries: usize,
    withdrawn_suffixes: usize,
    raised_minimums: usize,
    closed_namespaces: usize,
}

impl Show for LedgerView {
    fn text(&self) -> String {
        let mut text = format!(
            "the ledger of cluster {} verifies: {} lines, up to entry {} of generation {}\n\
             destroyed: {} versions, {} whole keys; disabled: {}; revoked: {} operator keys, {} agents, {} roles; withdrawn: {} \
             registrations, {} DNS suffixes; lowest versions raised: {}; namespaces closed or destroyed: {}\n\
             last line: sha256 {}",
            self.cluster_id,
            self.lines,
            self.index,
            self.generation,
            self.destroyed_versions,
            self.destroyed_keys,
            self.disabled,
            self.revoked_operators,
            self.banned_agents,
            self.revoked_roles,
            self.withdrawn_entries,
            self.withdrawn_suffixes,
            self.raised_minimums,
            self.closed_namespaces,
            self.last_line_sha256,
        );
        if self.gaps > 0 {
            text.push_str("\nit does not know everything: a restore of a backup from before a gap is a quarantine");
        }
        if self.torn_bytes > 0 {
            let bytes = self.torn_bytes;
            text.push_str(&format!("\n{bytes} bytes of a write that a crash cut off follow, which nobody was told of"));
        }
        text
    }
}

/// Runs a verb.
pub(crate) fn run(command: LedgerCommand, context: &Context) -> Result<(), Failure> {
    let LedgerCommand::Verify { file, origin } = command;
    let pinned = origin.pinned(context)?;
    context.print(&verify(&file, pinned)?)
}

fn verify(file: &Path, pinned: Option<SpkiHash>) -> Result<LedgerView, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read `{}`: {error}", file.display())))?;
    let ledger = verify_ledger(&bytes, pinned).map_err(|error| {
        let exit = if matches!(error, LedgerError::Key { .. }) { Exit::Untrusted } else { Exit::Unverified };
        Failure::new(exit, format!("`{}`: {error}", file.display()))
    })?;
    Ok(view(&ledger))
}

fn view(ledger: &Ledger) -> LedgerView {
    let count = |what: fn(&LedgerFact) -> bool| ledger.lines.iter().filter(|line| what(&line.fact)).count();
    let key = ledger.lines.iter().find_map(|line| match &line.fact {
        LedgerFact::Begun(spki) => Some(SpkiHash(crypto::hash::sha256(spki)).to_hex()),
        _ => None,
    });
    let versions = ledger.lines.iter().map(|line| match &line.fact {
        LedgerFact::Destroyed { versions, .. } => versions.len(),
        _ => 0,
    });
    LedgerView {
        cluster_id: ledger.lines.first().map(|line| line.cluster.to_hex()).unwrap_or_default(),
        cluster_key_hash: key.unwrap_or_default(),
        lines: ledger.lines.len(),
        generation: ledger.end.marked.0.get(),
        index: ledger.end.marked.1,
        last_line_sha256: SpkiHash(ledger.end.previous).to_hex(),
        torn_bytes: ledger.torn,
        gaps: count(|fact| *fact == LedgerFact::Since),
        destroyed_versions: versions.sum(),
        destroyed_keys: count(|fact| matches!(fact, LedgerFact::Destroyed { whole: true, .. })),
        disabled: count(|fact| matches!(fact, LedgerFact::Disabled { .. })),
        revoked_operators: count(|fact| matches!(fact, LedgerFact::OperatorRevoked { .. })),
        banned_agents: count(|fact| matches!(fact, LedgerFact::AgentRevoked { .. })),
        revoked_roles: count(|fact| matches!(fact, LedgerFact::RoleRevoked(_))),
        withdrawn_entries: count(|fact| matches!(fact, LedgerFact::EntryWithdrawn { .. })),
        raised_minimums: count(|fact| matches!(fact, LedgerFact::BelowMinimum { .. })),
        closed_namespaces: count(|fact| matches!(fact, LedgerFact::NamespaceClosed { .. })),
        withdrawn_suffixes: count(|fact| matches!(fact, LedgerFact::SuffixWithdrawn { .. })),
    }
}
