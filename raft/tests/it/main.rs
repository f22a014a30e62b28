//! Members over real sockets and files, in one binary: openraft is made for one machine and linked once.

mod cluster;
mod common;
mod crash;
mod disk;
mod erase;
mod peers;
mod room;
mod snapshots;
