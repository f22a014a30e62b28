//! The services of a cluster as methods: one type a service, one method an rpc, messages as in the `.proto` files.
//!
//! A `mutate` method draws a request id (UUIDv7) when the request has none, once, before the first attempt: that is what
//! makes its retries harmless. A `read` may be put to a second node when the first is slow, a mutation when the first has been
//! silent for a second; a `local` method concerns the node that answers, so it may not. Nothing is checked here; nodes do.

mod ca;
mod cluster;
mod kms;

pub use ca::{Agents, Authorities, Bundles, Entries, Svids};
pub use cluster::{Audit, Backups, Cluster, Namespaces, Operators, Seal};
pub use kms::{Crypto, Keys};

/// A new request id: UUIDv7, as AIP-155 asks of the caller of every mutation.
#[must_use]
pub fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

macro_rules! service {
    (
        $(#[$service_doc:meta])*
        $name:ident over $client:ident, from $accessor:ident;
        $($(#[$doc:meta])* $kind:ident $method:ident($request:ty) -> $answer:ty = $rpc:ident;)*
    ) => {
        $(#[$service_doc])*
        #[derive(Clone, Debug)]
        pub struct $name(crate::Client);

        impl crate::Client {
            $(#[$service_doc])*
            #[must_use]
            pub fn $accessor(&self) -> $name {
                $name(self.clone())
            }
        }

        impl $name {
            $(service!(@$kind $(#[$doc])* $client $method($request) -> $answer = $rpc);)*
        }
    };
    (@read $(#[$doc:meta])* $client:ident $method:ident($request:ty) -> $answer:ty = $rpc:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// See [`crate::Error`].
        pub fn $method(&self, request: $request) -> crate::Answer<'_, $answer> {
            let hedging = crate::client::Hedging::Read;
            let send = |channel, request| async move { $client::new(channel).$rpc(request).await };
            Box::pin(self.0.call(hedging, request, send))
        }
    };
    (@local $(#[$doc:meta])* $client:ident $method:ident($request:ty) -> $answer:ty = $rpc:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// See [`crate::Error`].
        pub fn $method(&self, request: $request) -> crate::Answer<'_, $answer> {
            let hedging = crate::client::Hedging::Never;
            let send = |channel, request| async move { $client::new(channel).$rpc(request).await };
            Box::pin(self.0.call(hedging, request, send))
        }
    };
    (@mutate $(#[$doc:meta])* $client:ident $method:ident($request:ty) -> $answer:ty = $rpc:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// See [`crate::Error`].
        pub fn $method(&self, mut request: $request) -> crate::Answer<'_, $answer> {
            if request.request_id.is_empty() {
                request.request_id = crate::api::request_id();
            }
            let hedging = crate::client::Hedging::Change;
            let send = |channel, request| async move { $client::new(channel).$rpc(request).await };
            Box::pin(self.0.call(hedging, request, send))
        }
    };
    (@stream $(#[$doc:meta])* $client:ident $method:ident($request:ty) -> $answer:ty = $rpc:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// When the stream cannot be opened; see [`crate::Error`].
        pub fn $method(&self, request: $request) -> crate::Answer<'_, crate::Stream<$answer>> {
            Box::pin(self.0.open(request, |channel, request| async move { $client::new(channel).$rpc(request).await }))
        }
    };
}
use service;

#[cfg(test)]
mod tests {
    #[test]
    fn request_ids_are_what_nodes_take() {
        let (one, two) = (super::request_id(), super::request_id());
        assert_ne!(one, two);
        assert!(types::RequestId::parse(&one).is_some(), "{one}");
    }
}
