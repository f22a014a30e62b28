//! Order and durability
