//! A real node as `chancery server` runs it, in a child process: policy, audit log, Raft and all, on free ports.

use std::path::PathBuf;

use server::Config;
use server::config::{Listener, Settings};

use crate::{Fault, child};

/// Runs until the parent ends it. With `join`, the first line on stdin is the join token.
pub(crate) async fn serve(data_dir: PathBuf, join: bool) -> Result<(), Fault> {
    let token = join.then(first_line).transpose()?;
    let any_port = || Listener { listen: Some(([127, 0, 0, 1], 0).into()), advertise: None };
    let settings = Settings {
        data_dir: Some(data_dir),
        api: any_port(),
        peer: any_port(),
        health: any_port(),
        ..Settings::default()
    };
    let config = Config::resolve(settings)?;
    Ok(server::run(config, token, child::answer_parent()).await?)
}

fn first_line() -> Result<String, Fault> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
