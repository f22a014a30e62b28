//! Wire types end here: resource names, times and durations parsed on the way in, resources rendered on the way out,
//! refusals turned into statuses. One file a service; nothing here decides anything.

pub mod audit;
pub mod ca;
pub mod cluster;
pub mod kms;
pub mod name;
pub mod page;
pub mod status;
pub mod time;
