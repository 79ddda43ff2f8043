//! Output formats that all reports share.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{Form, ReportError};

/// A report: text, JSON, an HTML page and an exit code. `Display` is the text of [`Form::FULL`].
pub trait Document: Display {
    /// Writes the report as text. Its last lines are the answer: the verdict, the figures that the
    /// run is made for, and the first thing that was broken.
    fn write_text(&self, f: &mut fmt::Formatter<'_>, form: Form) -> fmt::Result;

    /// The report as JSON, with a newline at the end.
    fn to_json(&self) -> serde_json::Result<String>;

    /// The report as a self-contained HTML page. `file` is the name of its file, for the title.
    fn to_html(&self, file: &str) -> String;

    /// The exit code of the process.
    fn exit_code(&self) -> u8;

    /// Writes the report as JSON.
    fn write_json(&self, path: &Path) -> Result<(), ReportError> {
        let failed = |source| ReportError::new(path, source);
        let json = self.to_json().map_err(|error| failed(error.into()))?;
        fs::write(path, json).map_err(failed)
    }

    /// Writes the report as an HTML page.
    fn write_html(&self, path: &Path) -> Result<(), ReportError> {
        fs::write(path, self.to_html(&file_name(path))).map_err(|source| ReportError::new(path, source))
    }
}

/// A report in one of its forms, to be displayed.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// The report.
    pub document: &'a dyn Document,
    /// The form.
    pub form: Form,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.write_text(f, self.form)
    }
}

/// Formats a value as indented JSON, with a newline at the end.
pub fn json_text(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|json| json + "\n")
}

/// The name of the file at `path`, for the title of a page in it.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
