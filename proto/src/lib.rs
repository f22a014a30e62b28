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

/// What members agree on, on the peer port: `chancery.raft.v1`. Used by `raft` alone.
pub mod raft {
    /// Version 1 of the peer protocol.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        include!("gen/chancery.raft.v1.rs");
    }
}

/// What members ask of one another beside Raft, on the same port: `chancery.member.v1`.
pub mod member {
    /// Version 1 of the member protocol.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        include!("gen/chancery.member.v1.rs");
    }
}

/// The SPIFFE Workload API. It has no package: its path on the wire is `/SpiffeWorkloadAPI/…`.
pub mod workload {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    include!("gen/workload.rs");
}

/// Every file above and what it imports, as an encoded `google.protobuf.FileDescriptorSet`: what gRPC reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

#[cfg(test)]
mod tests {
    #[test]
    fn debug_never_shows_a_secret() {
        let request = crate::kms::v1::EncryptRequest {
            name: "namespaces/default/keys/orders".into(),
            plaintext: b"canary".to_vec(),
            ..Default::default()
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("keys/orders") && shown.contains("plaintext: <6 bytes>"), "{shown}");

        let svid = crate::workload::X509svid { x509_svid_key: b"canary".to_vec(), ..Default::default() };
        let response = crate::workload::X509svidResponse { svids: vec![svid], ..Default::default() };
        let shown = format!("{response:?}");
        assert!(shown.contains("x509_svid_key: <6 bytes>"), "{shown}");
    }
}
