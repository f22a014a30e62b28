//! Wire types end here: resource names, times and durations parsed on the way in, resources rendered on the way out,
//! refusals turned into statuses. One file a service; nothing here decides anything.

pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod cluster;
pub(crate) mod kms;
pub(crate) mod name;
pub(crate) mod page;
pub(crate) mod status;
pub(crate) mod time;
