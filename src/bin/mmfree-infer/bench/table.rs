//! Rows of results as a table, as JSON or as comma-separated values: one list of columns for each
//! kind of row.

use serde::Serialize;

use crate::failure::Failure;
use crate::report;

/// What a column holds.
pub enum Cell {
    Text(String),
    Whole(u64),
    /// A number, shown with so many digits after the point.
    Number(f64, usize),
    /// Not measured, or not to be had here.
    None,
}

impl Cell {
    pub fn number(value: Option<f64>, digits: usize) -> Cell {
        value.map_or(Cell::None, |value| Cell::Number(value, digits))
    }

    fn shown(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Whole(value) => value.to_string(),
            Cell::Number(value, digits) => format!("{value:.digits$}"),
            Cell::None => "-".to_owned(),
        }
    }

    /// With more digits than a table has; quoted where a comma would part it.
    fn comma_separated(&self) -> String {
        match self {
            Cell::Text(text) if text.contains([',', '"', '\n']) => {
                format!("\"{}\"", text.replace('"', "\"\""))
            }
            Cell::Number(value, _) => format!("{value:.4}"),
            Cell::None => String::new(),
            cell => cell.shown(),
        }
    }
}

/// A row: for each column its heading in a table, its name in CSV and what is in it.
pub trait Row: Serialize {
    fn columns(&self) -> Vec<(&'static str, &'static str, Cell)>;
}

/// How rows are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    Csv,
}

impl Format {
    pub fn of(json: bool, csv: bool) -> Format {
        match (json, csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Table,
        }
    }
}

/// Prints rows as they come; JSON goes out at the end.
pub struct Printer<R> {
    format: Format,
    /// What is printed before a table.
    title: String,
    rows: Vec<R>,
}

impl<R: Row> Printer<R> {
    pub fn new(format: Format, title: String) -> Printer<R> {
        Printer { format, title, rows: Vec::new() }
    }

    pub fn push(&mut self, row: R) -> Result<(), Failure> {
        let columns = row.columns();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = String::new();
        match self.format {
            Format::Table => {
                if self.rows.is_empty() {
                    text = format!("{}\n", self.title);
                    text += &line(columns.iter().map(|column| column.0.to_owned()).collect());
                    text += &format!("|{}\n", "---|".repeat(columns.len()));
                }
                text += &line(columns.iter().map(|column| column.2.shown()).collect());
            }
            Format::Csv => {
                if self.rows.is_empty() {
                    let names: Vec<_> = columns.iter().map(|column| column.1).collect();
                    text = names.join(",") + "\n";
                }
                let cells: Vec<_> = columns.iter().map(|c| c.2.comma_separated()).collect();
                text += &(cells.join(",") + "\n");
            }
            Format::Json => {}
        }
        self.rows.push(row);
        report::print(&text)
    }

    /// Ends the output, and gives the rows.
    pub fn finish(self) -> Result<Vec<R>, Failure> {
        if self.format == Format::Json {
            report::print_json(&self.rows)?;
        }
        Ok(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_text_a_reader_of_csv_takes() {
        assert_eq!(Cell::Text("a, \"b\"".into()).comma_separated(), "\"a, \"\"b\"\"\"");
        assert_eq!(Cell::Number(1.25, 1).comma_separated(), "1.2500");
        assert_eq!(Cell::Number(1.25, 0).shown(), "1");
        assert_eq!(Cell::None.comma_separated(), "");
        assert_eq!(Cell::Whole(7).shown(), "7");
    }
}
