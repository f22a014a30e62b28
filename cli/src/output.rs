//! Printing: tables for people, json and yaml with stable names for programs. Answers go to stdout, everything else to
//! stderr.

use std::io::Write as _;

use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// How answers are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people; may change from version to version.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Something that can be printed in every format: its fields are the json, its `text` is for people.
pub(crate) trait Show: Serialize {
    /// Lines for people, without a line break at the end. May be empty: then nothing is printed.
    fn text(&self) -> String;
}

/// Prints an answer.
///
/// # Errors
/// When stdout cannot be written to.
pub(crate) fn print(format: Format, answer: &impl Show) -> Result<(), Failure> {
    let text = match format {
        Format::Table => answer.text(),
        Format::Json => serde_json::to_string_pretty(answer).map_err(|error| unprintable(&error))?,
        Format::Yaml => serde_saphyr::to_string(answer).map_err(|error| unprintable(&error))?,
    };
    line(text.trim_end_matches('\n'))
}

/// Prints an answer as one line where the format allows: for streams of answers.
///
/// # Errors
/// When stdout cannot be written to.
pub(crate) fn print_item(format: Format, answer: &impl Show) -> Result<(), Failure> {
    match format {
        Format::Json => line(&serde_json::to_string(answer).map_err(|error| unprintable(&error))?),
        Format::Table => line(&answer.text()),
        Format::Yaml => line("---").and_then(|()| print(format, answer)),
    }
}

/// Prints text as it is, with a line break; nothing when it is empty.
///
/// # Errors
/// When stdout cannot be written to.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    let written =
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))
}

/// Writes bytes as they are.
///
/// # Errors
/// When stdout cannot be written to.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
}

/// A note for people on stderr; never part of the answer.
pub(crate) fn note(text: &str) {
    // If stderr is closed there is nobody to tell.
    let _gone = writeln!(std::io::stderr().lock(), "{text}");
}

fn unprintable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("the answer could not be printed: {error}"))
}

/// Rows under headings, columns two spaces apart, nothing cut.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with those headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// Adds a row. Control characters are replaced, so that no stored text can drive the terminal.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)).to_vec());
    }

    /// The text; the headings alone are nothing.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        if self.rows.len() == 1 {
            return "none".to_owned();
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let lines = self.rows.iter().map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The text without control characters.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_terminals_are_safe() {
        let mut table = Table::new(["NODE", "ROLE"]);
        assert_eq!(table.text(), "none");
        table.row(["node-1".to_owned(), "follower".to_owned()]);
        table.row(["node-10".to_owned(), "\u{1b}[31mleader".to_owned()]);
        assert_eq!(table.text(), "NODE     ROLE\nnode-1   follower\nnode-10  \u{fffd}[31mleader");
    }

    #[test]
    fn json_and_yaml_have_the_same_names() {
        #[derive(Serialize)]
        struct Answer {
            next_rotation_time: Option<String>,
            names: Vec<String>,
        }
        let answer = Answer { next_rotation_time: None, names: vec!["a: b".to_owned()] };
        let yaml = serde_saphyr::to_string(&answer).expect("yaml");
        assert!(yaml.contains("next_rotation_time: null") && yaml.contains("names:"), "{yaml}");
    }
}
