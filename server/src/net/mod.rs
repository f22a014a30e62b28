//! The API's edge: TCP accepted, TLS 1.3 done, the peer's certificate handed on with every request.
//!
//! Who the peer is, is decided later, by `authn`: here any certificate whose key it proves to hold will do, and none.

mod listener;

pub(crate) use listener::{ApiConnection, bind, incoming};
