//! Text and JSON to standard output. Knows no command.

use std::io::{self, Write};

use serde_json::Value;

use crate::fault::Fault;

/// Prints `text` and ends the line.
pub(crate) fn line(text: &str) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// `text` as it may go to a terminal: control characters are written out.
pub(crate) fn printable(text: &str) -> String {
    let written = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(written).collect()
}

/// Prints `bytes` as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Prints `value` in one line.
pub(crate) fn json(value: &Value) -> Result<(), Fault> {
    line(&value.to_string())
}

/// Prints rows of cells, the first of them the heads, in columns.
pub(crate) fn table(rows: &[Vec<String>]) -> Result<(), Fault> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let chars = |cell: &String| cell.chars().count();
    let cell = |row: &Vec<String>, column| row.get(column).map_or(0, chars);
    let width = |column: usize| rows.iter().map(|row| cell(row, column)).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
