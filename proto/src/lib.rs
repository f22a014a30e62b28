//! The wire: messages, clients and servers generated from the `.proto` files of this folder, and checked in.
//!
//! `make proto` regenerates `src/gen`; a test in `tests/tidy` fails when it is stale. Wire types end at the edge: `server`, `client`,
//! `agent` and `raft` each convert them once. This crate holds no logic, and does not say what a field may contain: the comments
//! in the `.proto` files do, and the types of `types/` enforce it.

/// Keys and what is done with them: `chancery.kms.v1`.
pub mod kms {
    /// Version 1 of the API.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        include!("gen/chancery.kms.v1.rs");
    }
}

/// Workload identities: `chancery.ca.v1`.
pub mod ca {
    /// Version 1 of the API.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        include!("gen/chancery.ca.v1.rs");
    }
}

/// The cluster, its seal, namespaces and operators: `chancery.cluster.v1`.
pub mod cluster {
    /// Version 1 of the API.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        include!("gen/chancery.cluster.v1.rs");
    }
}

/// The audit logs: `chancery.audit.v1`.
pub mod audit {
    /// Version 1 of the API.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        include!("gen/chancery.audit.v1.rs");
    }
}

/// The SPIFFE Workload API. It has no package: its path on the wire is `/SpiffeWorkloadAPI/…`.
pub mod workload {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    include!("gen/workload.rs");
}

/// Every file above and what it imports, as an encoded `google.protobuf.FileDescriptorSet`: what gRPC reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");
