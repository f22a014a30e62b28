//! The command line as users see it: changes to it are reviewed here.

use clap::{CommandFactory as _, Parser as _};

use super::*;

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

/// Every command with its options, so that a renamed or lost one shows in review.
#[test]
fn commands_and_options() {
    let mut command = Cli::command();
    command.build();
    let mut lines = Vec::new();
    describe(&command, "", &mut lines);
    expect_test::expect_file!["commands.txt"].assert_eq(&format!("{}\n", lines.join("\n")));
}

fn describe(command: &clap::Command, path: &str, lines: &mut Vec<String>) {
    let path = format!("{path} {}", command.get_name());
    let own = command.get_arguments().filter(|arg| !arg.is_global_set() || command.get_name() == "chancery");
    let own = own.filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"));
    let words = own.map(|arg| match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => arg.get_id().as_str().to_uppercase(),
    });
    lines.push(format!("{} {}", path.trim(), words.collect::<Vec<_>>().join(" ")).trim_end().to_owned());
    for sub in command.get_subcommands() {
        describe(sub, &path, lines);
    }
}

#[test]
fn what_is_typed_is_understood() {
    for line in [
        "chancery whoami",
        "chancery key create invoices --rotation-period 90d",
        "chancery key create invoices --rotation-period 90d --rotation-jitter 7d --rotate-after-uses 5000 --max-bytes 1TiB",
        "chancery key update invoices --waiting-period 7d",
        "chancery key update invoices --max-uses none",
        "chancery key forecast --within 30d",
        "chancery encrypt invoices --context tenant=acme --in q3.pdf --out q3.pdf.chy",
        "chancery decrypt --in q3.pdf.chy --out q3.pdf --context tenant=acme",
        "chancery key rotate namespaces/default/keys/invoices -o json",
        "chancery entry create /ns/default/billing --parent agents/dev --selector unix:uid:1000 --ttl 1h",
        "chancery svid fetch --write ./id",
        "chancery audit tail --limit 2 --follow",
        "chancery --addr 127.0.0.1:7443,127.0.0.1:7453 cluster status",
        "chancery cluster token --for agent --agent dev",
        "chancery alias create current --key orders",
        "chancery alias move current --key orders-2 -o json",
        "chancery encrypt alias/current",
        "chancery cluster lease show",
        "chancery cluster lease set --for 4h",
        "chancery cluster time-reset",
        "chancery operator grant operators/alice key-user --in pay",
        "chancery init --dir /tmp/x --trust-domain example.org",
    ] {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_is_wrong_is_refused() {
    for line in [
        "chancery",
        "chancery key",
        "chancery key create Invoices",
        "chancery key create a --rotation-period 90",
        "chancery key disable a --version 0",
        "chancery key update a",
        "chancery key update a --max-uses 0",
        "chancery key update a --no-rotation --rotation-jitter 1h",
        "chancery key create a --rotation-jitter 1h",
        "chancery alias create alias/a --key b",
        "chancery alias move a",
        "chancery cluster token --for agent",
        "chancery operator grant agents/dev admin",
        "chancery operator grant operators/a root",
        "chancery encrypt a --context tenant",
        "chancery --addr nonsense:x whoami",
        "chancery init --trust-domain example.org",
        "chancery init --dir /tmp/x --trust-domain Ex/ample",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}
