//! Third-party clients
