//! The protobuf files and the Rust generated from them
