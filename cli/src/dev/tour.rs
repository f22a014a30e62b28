//! The order of the steps, and which of them the rest cannot do without.

use std::path::Path;

use super::report::Reporter;
use super::stage::Stage;
use super::steps::{
    audit, cluster, create, decrypt, encrypt, failover, mtls, refuse, register, rewrap, rotate, schedule, unseal,
};

/// Plays every step. Without a cluster, its keys open and something encrypted there is nothing to see: then it ends
/// early; any other step that fails leaves the rest to be seen.
pub(crate) async fn run(stage: &mut Stage, reporter: &mut Reporter, file: Option<&Path>) {
    let stands = reporter.step("cluster", cluster::run(stage)).await
        && reporter.step("unseal", unseal::run(stage)).await
        && reporter.step("create", create::run(stage)).await
        && reporter.step("encrypt", encrypt::run(stage, file)).await;
    if !stands {
        return;
    }
    reporter.step("rotate", rotate::run(stage)).await;
    reporter.step("decrypt", decrypt::run(stage)).await;
    reporter.step("rewrap", rewrap::run(stage)).await;
    reporter.step("register", register::run(stage)).await;
    reporter.step("mtls", mtls::run(stage)).await;
    reporter.step("refuse", refuse::run(stage)).await;
    reporter.step("schedule", schedule::run(stage)).await;
    reporter.step("failover", failover::run(stage)).await;
    reporter.step("audit", audit::run(stage)).await;
}
