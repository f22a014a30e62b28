//! Every bound of the system, in one file (invariant 11). Past a bound: a clear error, nothing half done.
//!
//! Units come last in names. Where a number comes from a standard or a measurement, the comment says so.

use crate::Millis;

/// Longest resource id (RFC 1035 label length, AIP-122).
pub const NAME_BYTES_MAX: usize = 63;
/// Longest SPIFFE ID (SPIFFE-ID §2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2_048;
/// Longest trust domain name (SPIFFE-ID §2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Largest unary plaintext or data-key request; larger payloads stream under a data key.
pub const UNARY_PLAINTEXT_BYTES_MAX: usize = 64 * 1_024;
/// Largest additional authenticated data.
pub const AAD_BYTES_MAX: usize = 16 * 1_024;
/// Most pairs in an encryption context.
pub const CONTEXT_PAIRS_MAX: usize = 32;
/// Longest key or value in an encryption context.
pub const CONTEXT_TEXT_BYTES_MAX: usize = 1_024;
/// Plaintext bytes in one segment of a stream.
pub const SEGMENT_BYTES: usize = 64 * 1_024;
/// Longest data key that GenerateDataKey hands out.
pub const DATA_KEY_BYTES_MAX: usize = 64;

/// Most namespaces in a cluster.
pub const NAMESPACES_MAX: usize = 10_000;
/// Most keys in a cluster (start-up ≤ 5 s and memory ≤ 2 GB are promised to here).
pub const KEYS_MAX: usize = 1_000_000;
/// Most aliases in a cluster.
pub const ALIASES_MAX: usize = 100_000;
/// Most aliases in a namespace.
pub const ALIASES_PER_NAMESPACE_MAX: u64 = 1_000;
/// Most labels of one key.
pub const LABELS_MAX: usize = 64;
/// Longest key or value of a label.
pub const LABEL_BYTES_MAX: usize = 63;
/// Most versions of one key.
pub const KEY_VERSIONS_MAX: u32 = 1_000_000;
/// After a restore the versions of a key go on at a multiple of this: what the lost life made after the backup is skipped.
pub const KEY_VERSION_STEP: u32 = 65_536;
/// After a restore the numbers of nodes go on at a multiple of this.
pub const NODE_NUMBER_STEP: u64 = 1_000;
/// Most versions that one entry destroys: more are destroyed one by one.
pub const VERSIONS_DESTROYED_MAX: usize = 10_000;
/// From asking for a destruction to the destruction, unless a key says otherwise.
pub const WAITING_PERIOD_DEFAULT: Millis = Millis::from_days(30);
/// Most of that.
pub const WAITING_PERIOD_MAX: Millis = Millis::from_days(365);
/// Least of that in a namespace that says nothing else.
pub const WAITING_PERIOD_FLOOR_DEFAULT: Millis = Millis::from_hours(24);
/// Every node has erased what was destroyed within this time.
pub const ERASED_WITHIN: Millis = Millis::from_hours(24);
/// How long a node waits for more to erase before it erases: half of what is promised.
pub const ERASURE_WAITS: Millis = Millis::from_hours(12);
/// Changes that took something away, remembered for the ledger; past it the oldest is forgotten, and a ledger that lacks it has a gap.
pub const WITHDRAWALS_KEPT: usize = 100_000;
/// Erasures remembered of each node; past it the oldest is forgotten, and later ones stand for it.
pub const ERASURES_KEPT: usize = 1_024;
/// Shortest rotation period unless the namespace sets a lower floor.
pub const ROTATION_FLOOR_DEFAULT: Millis = Millis::from_hours(1);
/// The lowest floor a namespace may set.
pub const ROTATION_FLOOR_MIN: Millis = Millis::from_secs(1);
/// Least uses of a version after which the next one is made by itself: a key that is used a thousand times a second rotates each second then.
pub const ROTATE_AFTER_USES_MIN: u64 = 1_000;
/// Least bytes.
pub const ROTATE_AFTER_BYTES_MIN: u64 = 1_024 * 1_024;
/// Largest bound on the use of a version.
pub const USAGE_BOUND_MAX: u64 = 1 << 62;
/// Most uses of a version that are handed out to a node at once.
pub const USAGE_BLOCK_USES_MAX: u64 = 65_536;
/// Most bytes.
pub const USAGE_BLOCK_BYTES_MAX: u64 = 1_024 * 1_024 * 1_024;
/// A block is one part in this many of a node's equal share of what is left: when the node is killed, no more than about that is lost.
pub const USAGE_BLOCK_SHARE: u64 = 8;
/// Longest rotation period.
pub const ROTATION_PERIOD_MAX: Millis = Millis::from_days(3_650);

/// Most shares of a seal.
pub const SEAL_SHARES_MAX: u8 = 32;
/// Most seals of one node.
pub const SEAL_SLOTS_MAX: usize = 16;
/// Root keys of different epochs that a node holds at once: a new one waits until its log has passed an old one.
pub const ROOT_EPOCHS_MAX: usize = 8;
/// Most operators.
pub const OPERATORS_MAX: usize = 10_000;
/// Most bindings.
pub const BINDINGS_MAX: usize = 100_000;
/// A voter that left no longer ago than this may have the root key from another member.
pub const PEER_UNSEAL_WITHIN: Millis = Millis::from_hours(1);
/// How long an admin's approval waits for the voter to ask, by state time and by the leader's clock.
pub const PEER_UNSEAL_APPROVAL: Millis = Millis::from_hours(1);
/// Between two releases of the root key to one voter.
pub const PEER_UNSEAL_PAUSE: Millis = Millis::from_secs(10);
/// Operators and bindings beyond these bounds that only a recovery makes: full tables lock nobody out.
pub const RECOVERY_ROOM: usize = 16;
/// Longest life of an operator's or agent's enrolment.
pub const ENROLMENT_MAX: Millis = Millis::from_days(365);
/// Most members of the cluster, voters and learners.
pub const NODES_MAX: usize = 16;
/// Most members that vote: a write waits for most of them, and each has two authorities or three in the bundle.
pub const VOTERS_MAX: usize = 7;
/// Most unredeemed join tokens.
pub const JOIN_TOKENS_MAX: usize = 10_000;
/// Longest life of a join token.
pub const JOIN_TOKEN_TTL_MAX: Millis = Millis::from_hours(24);
/// Life of a join token when none is asked for.
pub const JOIN_TOKEN_TTL_DEFAULT: Millis = Millis::from_hours(1);

/// Most agents.
pub const AGENTS_MAX: usize = 100_000;
/// Most entries.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Most selectors of one entry.
pub const SELECTORS_MAX: usize = 16;
/// Longest selector text.
pub const SELECTOR_BYTES_MAX: usize = 4_096 + 16;
/// Most DNS names of one entry.
pub const DNS_NAMES_MAX: usize = 16;
/// Longest DNS name (RFC 1035 §2.3.4).
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// Longest hint (SPIFFE Workload API §5.2.1).
pub const HINT_BYTES_MAX: usize = 1_024;

/// Life of an SVID when its entry sets none.
pub const SVID_TTL_DEFAULT: Millis = Millis::from_hours(1);
/// Shortest life of an SVID.
pub const SVID_TTL_MIN: Millis = Millis::from_secs(60);
/// Longest life of an SVID: a sixth of an authority's.
pub const SVID_TTL_MAX: Millis = Millis::from_hours(28);
/// An SVID's NotBefore lies this far in the past, for clocks that are behind.
pub const SVID_BACKDATE: Millis = Millis::from_secs(60);
/// An authority's NotAfter, from its generation.
pub const AUTHORITY_LIFE: Millis = Millis::from_days(7);
/// How long an authority may sign.
pub const AUTHORITY_ACTIVE: Millis = Millis::from_hours(60);
/// How long an authority may stand by, published but not signing.
pub const AUTHORITY_STANDBY: Millis = Millis::from_hours(60);
/// How long an authority drains: no signature, still in the bundle.
pub const AUTHORITY_DRAINING: Millis = Millis::from_hours(28);
/// Most roots in a bundle.
pub const BUNDLE_ROOTS_MAX: usize = 16;
/// `spiffe_refresh_hint` of our bundle.
pub const BUNDLE_REFRESH_HINT: Millis = Millis::from_secs(300);
/// Most certificates that a peer may present; ours present one.
pub const PEER_CHAIN_MAX: usize = 8;
/// Largest certificate signing request.
pub const CSR_BYTES_MAX: usize = 4_096;

/// Request ids remembered over all principals; when full, whoever holds the most makes room and its horizon moves up.
pub const REQUEST_IDS_MAX: usize = 100_000;
/// A request id may be this far ahead of state time.
pub const REQUEST_ID_FUTURE_MAX: Millis = Millis::from_secs(300);
/// A request id may be this far behind state time; what is remembered under older ones is forgotten.
pub const REQUEST_ID_PAST_MAX: Millis = Millis::from_hours(24);
/// How long a decision binds.
pub const DECISION_VALID: Millis = Millis::from_secs(60);
/// How often the leader decides again before it answers `Aborted`.
pub const DECISIONS_MAX: u32 = 3;

/// Length of a node's lease to serve and sign, unless the cluster has another.
pub const NODE_LEASE_DEFAULT: Millis = Millis::from_secs(30);
/// Shortest lease: a few elections must fit in, or losing a leader stops everything.
pub const NODE_LEASE_MIN: Millis = Millis::from_secs(5);
/// Longest lease, for whoever would rather serve an old state than none (break-glass).
pub const NODE_LEASE_MAX: Millis = Millis::from_hours(24);
/// State time that moves on by more in one step is held: nothing is destroyed, rotated or cleaned up by it.
pub const TIME_STEP_MAX: Millis = Millis::from_hours(1);
/// A member whose clock is within this of state time agrees with it; also the most that one report counts for agreement.
pub const TIME_AGREES: Millis = Millis::from_secs(60);
/// Held time is believed once a majority has agreed with it for so long.
pub const TIME_AGREED_FOR: Millis = Millis::from_secs(600);
/// How often a node reports its audit head and clock.
pub const NODE_REPORT_INTERVAL: Millis = Millis::from_secs(1);

/// Largest gRPC message in either direction.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Connections one listener holds at once.
pub const CONNECTIONS_MAX: usize = 10_000;
/// A TLS handshake must end within this time.
pub const HANDSHAKE_TIMEOUT: Millis = Millis::from_secs(5);
/// A unary call must end within this time when its caller sets none.
pub const CALL_TIMEOUT: Millis = Millis::from_secs(10);
/// A node gives a call up after this time, body and all, whatever its caller asked for; streams count until they begin.
pub const REQUEST_TIMEOUT: Millis = Millis::from_secs(60);
/// Largest request that a node reads: three times the largest legal one, a ReEncrypt of 64 KiB with both contexts full.
pub const REQUEST_BYTES_MAX: usize = 768 * 1_024;
/// Connections that one address may hold at once to a node's API.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 2_000;
/// Concurrent streams of one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Items on a page of a list when none is asked for.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Most items on a page of a list.
pub const PAGE_SIZE_MAX: usize = 1_000;

/// An audit leaf stays below this size (C2SP tlog-tiles: entries are u16-prefixed).
pub const AUDIT_LEAF_BYTES_MAX: usize = 65_535;
/// Longest text in an audit record: a SPIFFE ID fits.
pub const AUDIT_TEXT_BYTES_MAX: usize = SPIFFE_ID_BYTES_MAX;
/// Most facts in the detail of one audit record; with the longest texts a leaf still stays below its bound.
pub const AUDIT_FACTS_MAX: usize = 24;
/// An audit log file is closed and the next one begun when it has grown past this size.
pub const AUDIT_SEGMENT_BYTES: u64 = 64 * 1_024 * 1_024;
/// Audit records that wait for a sync at most; past it callers wait for room.
pub const AUDIT_QUEUE_MAX: usize = 8_192;
/// Most records that one sync makes durable.
pub const AUDIT_BATCH_MAX: usize = 4_096;
/// Bytes after which a batch of audit records is written without waiting for more.
pub const AUDIT_BATCH_BYTES: usize = 4 * 1_024 * 1_024;
/// Records summarised by one entry of the audit search index.
pub const AUDIT_INDEX_BLOCK: u64 = 256;
/// Most records one search call looks at; past it the page ends early with a token.
pub const AUDIT_SEARCH_RECORDS_MAX: u64 = 65_536;
/// Most index entries one search call looks at; past it the page ends early with a token.
pub const AUDIT_SEARCH_BLOCKS_MAX: u64 = 65_536;
/// Preallocated room for audit records on a full disk.
pub const AUDIT_RESERVE_BYTES: u64 = 256 * 1_024 * 1_024;
/// Page cache of the rebuildable search index.
pub const AUDIT_INDEX_CACHE_BYTES: u64 = 32 * 1_024 * 1_024;

/// Free space on the log's disk below which a leader takes no changes and hands over to a member that has more.
pub const DISK_LOW_BYTES: u64 = 64 * 1_024 * 1_024;
/// Free space from which changes are taken again.
pub const DISK_ENOUGH_BYTES: u64 = 96 * 1_024 * 1_024;
/// Free space below which no log file is begun: past the one that is being written, a member takes no entries.
pub const DISK_NONE_BYTES: u64 = 16 * 1_024 * 1_024;
/// How often the free space is looked at: at this pace the log cannot outrun the mark.
pub const DISK_LOOK_INTERVAL: Millis = Millis(200);

/// Log growth that triggers a snapshot, at least (ADR 0008).
pub const SNAPSHOT_LOG_BYTES_MIN: u64 = 4 * 1_024 * 1_024;
/// Bytes in one chunk of a snapshot, on disk and on the wire.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1_024 * 1_024;
/// Closed log chunks kept in memory.
pub const LOG_CACHE_BYTES: usize = 64 * 1_024 * 1_024;

/// Workload connections that one agent holds at once.
pub const WORKLOAD_CONNECTIONS_MAX: usize = 4_096;
/// Workload connections of one uid, so that one user cannot shut the others out.
pub const WORKLOAD_CONNECTIONS_PER_UID_MAX: usize = 1_024;
/// Concurrent calls on one workload connection.
pub const WORKLOAD_STREAMS_MAX: u32 = 32;
/// Largest request that a workload may send: requests hold an audience at most.
pub const WORKLOAD_REQUEST_BYTES_MAX: usize = 64 * 1_024;
/// Executables larger than this get no hash, so no selector on one matches.
pub const EXECUTABLE_BYTES_MAX: u64 = 2 * 1_024 * 1_024 * 1_024;
/// Executables whose hash an agent remembers.
pub const EXECUTABLE_HASHES_MAX: usize = 1_024;
/// Executables that an agent hashes at once.
pub const EXECUTABLE_HASHING_MAX: usize = 2;
/// Certificates that an agent asks for at once.
pub const ISSUANCES_MAX: usize = 16;
/// How long a workload's stream may leave a pushed message unread before it is ended.
pub const PUSH_TIMEOUT: Millis = Millis::from_secs(30);
/// Identities of one process; past it every one is refused, so that none is left out silently.
pub const IDENTITIES_PER_PROCESS_MAX: usize = 128;
