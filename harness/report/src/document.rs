//! What every report can be written as.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::ReportError;

/// A report: text by `Display`, JSON, a page, and an exit code.
pub trait Document: Display {
    /// The report as JSON, with a newline at the end.
    fn to_json(&self) -> serde_json::Result<String>;

    /// The report as a page of HTML that needs nothing besides itself.
    fn to_html(&self) -> String;

    /// The exit code of the process.
    fn exit_code(&self) -> u8;

    /// Writes the report as JSON.
    fn write_json(&self, path: &Path) -> Result<(), ReportError> {
        let failed = |source| ReportError::new(path, source);
        let json = self.to_json().map_err(|error| failed(error.into()))?;
        fs::write(path, json).map_err(failed)
    }

    /// Writes the report as one page of HTML.
    fn write_html(&self, path: &Path) -> Result<(), ReportError> {
        fs::write(path, self.to_html()).map_err(|source| ReportError::new(path, source))
    }
}

/// A value as JSON for people, with a newline at the end.
pub fn json_text(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|json| json + "\n")
}
