//! `throng db import-accounts`: accounts, and characters, from a CSV file.
//!
//! The file is read row by row, whatever its size. What the CSV reader has in its buffers is not wiped: the
//! passwords of such a file stand in the open on the disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use thiserror::Error;
use throng_core::config::{Config, Secret};

use super::Print;
use super::bulk::{self, BulkError, Credential, Plan, Problem, Row, Stop, Wish};
use crate::dbagent::database::Database;
use crate::dbagent::password::check_stored;

/// Bytes of a row: far more than the longest id, password and name, and the end of what a quotation mark swallows.
const ROW_BYTES_MAX: usize = 64 * 1024;

/// Characters of an unknown column's name that are shown.
const SHOWN_MAX: usize = 40;

/// What is wrong with a file's header line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// There is none.
    #[error("the file is empty; its first line has to name the columns, such as id,password,name")]
    Missing,
    /// Not text.
    #[error("it is not UTF-8: save the file as UTF-8")]
    Encoding,
    /// Perhaps it is no header at all. What it says instead may be a password and is not repeated.
    #[error("the first line has to name the columns, separated by commas, and there is no column `id`")]
    NoId,
    /// None that accounts could be made with.
    #[error("there is no column `password` or `password_hash`, and one of them is needed")]
    NoPassword,
    /// It would not be clear which one counts.
    #[error("there are both `password` and `password_hash`: leave one of them out")]
    BothPasswords,
    /// The same name again.
    #[error("there are two columns {0:?}: leave one of them out")]
    Twice(&'static str),
    /// No such column.
    #[error(
        "there are unknown columns: {0}; known are `id`, `password` or `password_hash`, and `name`: leave others out"
    )]
    Unknown(String),
}

/// Makes the accounts of a file. False: some were there already, or are refused.
pub(super) fn run(
    config: &Config,
    database: &Database,
    file: &Path,
    print: &mut Print<'_>,
) -> Result<bool, BulkError> {
    let failed = |source| BulkError::File { path: file.into(), source };
    let opened = File::open(file).map_err(failed)?;
    let total = opened.metadata().map_err(failed)?.len();
    let rows = Rows::new(opened, file)?;
    bulk::run(config, database, Plan { unit: "line", total, may_exist: false }, rows, print)
}

/// Where in a row the values are.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    count: usize,
    id: usize,
    password: usize,
    is_hashed: bool,
    name: Option<usize>,
}

impl Columns {
    fn new(header: &ByteRecord) -> Result<Self, HeaderError> {
        let (mut id, mut password, mut hash, mut name) = (None, None, None, None);
        let mut unknown = Vec::new();
        for (at, column) in header.iter().enumerate() {
            let (known, slot) = match column {
                b"id" => ("id", &mut id),
                b"password" => ("password", &mut password),
                b"password_hash" => ("password_hash", &mut hash),
                b"name" => ("name", &mut name),
                other => {
                    unknown.push(std::str::from_utf8(other).map_err(|_| HeaderError::Encoding)?);
                    continue;
                }
            };
            if slot.replace(at).is_some() {
                return Err(HeaderError::Twice(known));
            }
        }
        // Before the unknown ones are named. Nobody's id or password is as short as "id", so with it this is a header.
        let id = id.ok_or(HeaderError::NoId)?;
        if !unknown.is_empty() {
            let show = |column: &&str| format!("{:?}", column.chars().take(SHOWN_MAX).collect::<String>());
            return Err(HeaderError::Unknown(unknown.iter().map(show).collect::<Vec<_>>().join(", ")));
        }
        let (password, is_hashed) = match (password, hash) {
            (Some(password), None) => (password, false),
            (None, Some(hash)) => (hash, true),
            (None, None) => return Err(HeaderError::NoPassword),
            (Some(_), Some(_)) => return Err(HeaderError::BothPasswords),
        };
        Ok(Self { count: header.len(), id, password, is_hashed, name })
    }

    /// The account of a row.
    fn wish(&self, row: &ByteRecord) -> Result<Wish, Problem> {
        // Before the columns are counted: it is a quotation mark that makes them too few.
        if row.as_slice().contains(&b'\n') {
            return Err(Problem::LineBreak);
        }
        if row.len() != self.count {
            return Err(Problem::Columns { found: row.len(), wanted: self.count });
        }
        let text = |at| std::str::from_utf8(row.get(at).unwrap_or_default()).map_err(|_| Problem::Encoding);
        let password = text(self.password)?;
        let credential = if self.is_hashed {
            check_stored(password).map_err(Problem::Hash)?;
            Credential::Hash(Secret::new(password))
        } else {
            Credential::Password(Secret::new(password))
        };
        Wish::new(text(self.id)?, credential, self.name.map_or(Ok(""), text)?)
    }
}

/// The rows of a file.
struct Rows<R> {
    reader: Reader<Lines<R>>,
    path: PathBuf,
    columns: Columns,
    row: ByteRecord,
    /// Where the last row ended.
    bytes: u64,
}

impl<R: Read> Rows<R> {
    /// Reads the header.
    fn new(source: R, path: &Path) -> Result<Self, BulkError> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(Lines { source, left: 0, was_cr: false, last: b'\n', is_at_end: false });
        let mut row = ByteRecord::new();
        let header = next(&mut reader, &mut row);
        let header = header.map_err(|source| BulkError::File { path: path.into(), source })?;
        let line = header.unwrap_or(1);
        let columns = header.map_or(Err(HeaderError::Missing), |_| Columns::new(&row));
        let columns = columns.map_err(|source| BulkError::Header { path: path.into(), line, source })?;
        let bytes = reader.position().byte();
        Ok(Self { reader, path: path.into(), columns, row, bytes })
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Row, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.reader.position().line();
        let at = match next(&mut self.reader, &mut self.row) {
            Ok(line) => line?,
            Err(source) => return Some(Err(Stop::Read { path: self.path.clone(), line: before, source })),
        };
        let bytes = self.reader.position().byte();
        let weight = bytes - std::mem::replace(&mut self.bytes, bytes);
        Some(Ok(Row { at, weight, wish: self.columns.wish(&self.row) }))
    }
}

/// Reads a row; the line that it begins in. `None` at the end of the file.
fn next<R: Read>(reader: &mut Reader<Lines<R>>, row: &mut ByteRecord) -> io::Result<Option<u64>> {
    reader.get_mut().left = ROW_BYTES_MAX;
    if !reader.read_byte_record(row)? {
        return Ok(None);
    }
    // The reader's own position of a row is before the empty lines that it skipped. Behind the row it is right. The
    // row has ended with a line, or else with the file, within quotation marks.
    let mut lines = row.as_slice().split(|byte| *byte == b'\n').count() as u64;
    lines -= u64::from(reader.get_ref().is_at_end);
    Ok(Some(reader.position().line().saturating_sub(lines)))
}

/// A file as the CSV reader sees it: all lines end in LF, the last one too, and rows have a bound.
struct Lines<R> {
    source: R,
    /// Bytes that the row may still have.
    left: usize,
    was_cr: bool,
    last: u8,
    /// Whether the reader has been told of the end.
    is_at_end: bool,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let most = buffer.len().min(self.left);
            if most == 0 {
                let what = "a row of this length is none; look for a quotation mark that is missing";
                return Err(io::Error::new(ErrorKind::InvalidData, what));
            }
            let read = match self.source.read(&mut buffer[..most]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                if std::mem::replace(&mut self.last, b'\n') != b'\n' {
                    buffer[0] = b'\n';
                    return Ok(1);
                }
                self.is_at_end = true;
                return Ok(0);
            }
            self.left -= read;
            let mut kept = 0;
            for at in 0..read {
                let byte = buffer[at];
                // CR and CR LF are LF.
                if !(byte == b'\n' && self.was_cr) {
                    buffer[kept] = if byte == b'\r' { b'\n' } else { byte };
                    kept += 1;
                }
                self.was_cr = byte == b'\r';
            }
            if kept > 0 {
                self.last = buffer[kept - 1];
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbagent::password::{PasswordCost, Passwords};
    use throng_core::wire::packets::Outcome;

    fn rows(text: &[u8]) -> Result<Rows<&[u8]>, BulkError> {
        Rows::new(text, Path::new("accounts.csv"))
    }

    /// Where each row of the text is, and what keeps it from being an account.
    fn read(text: impl AsRef<[u8]>) -> Vec<(u64, Result<(), Problem>)> {
        let rows = rows(text.as_ref()).unwrap();
        rows.map(|row| row.unwrap()).map(|row| (row.at, row.wish.map(|_| ()))).collect()
    }

    /// What the rows wish for, as Debug shows it.
    fn wishes(text: &str) -> String {
        format!("{:?}", rows(text.as_bytes()).unwrap().map(|row| row.unwrap().wish).collect::<Vec<_>>())
    }

    #[test]
    fn columns_come_in_any_order_and_values_in_quotes() {
        let usual = wishes("id,password,name\nbob,password,Bob\n");
        assert!(usual.contains("id: \"bob\"") && usual.contains("name: \"Bob\""), "{usual}");
        for same in [
            "name,id,password\nBob,bob,password\n",
            "password,name,id\npassword,Bob,bob",
            "\u{FEFF}id,password,name\nbob,password,Bob\n",
            "\u{FEFF}\"id\",\"password\",\"name\"\n\"bob\",\"password\",\"Bob\"\n",
            "id,password,name\r\nbob,password,Bob\r\n",
            "id,password,name\rbob,password,Bob\r",
        ] {
            assert_eq!(wishes(same), usual, "{same:?}");
        }
        let quoted =
            wishes("name,id,password\n\"O'Brien, \"\"x\"\"\",\"김철수 😀\",\"a,\"\"b\"\",cdefgh\"\n");
        assert!(quoted.contains(r#"name: "O'Brien, \"x\"""#) && quoted.contains("김철수 😀"), "{quoted}");
        assert!(wishes("id,password\nbob,password\n").contains("character: None"));
        assert!(wishes("id,name,password\nbob,,password\n").contains("character: None"));
    }

    #[test]
    fn nothing_shows_a_password() {
        let shown = wishes("id,password\nbob,geheim-geheim\n");
        assert!(shown.contains("[secret]") && !shown.contains("geheim"), "{shown}");
        for text in [
            // Rows without a header.
            "bob,geheim-geheim\namy,geheim-geheim\n",
            "id;password\nbob;geheim-geheim\n",
            "id,password,geheim-geheim,name,id\n",
        ] {
            let error = rows(text.as_bytes()).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
        }
        let hash = "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for text in [
            format!("id,password_hash\nbob,\"{hash}\"\n"),
            format!("id,password_hash\nbob,{hash}\n"),
            "id,password\ngeheim-geheim-geheim-geheim-geheim,bob\n".into(),
            "id,password\nbob,geheim\n".into(),
            "id,password\nbob,\"geheim-geheim\n".into(),
        ] {
            let problem = read(&text).remove(0).1.unwrap_err();
            let shown = format!("{problem} {problem:?}");
            assert!(!shown.contains("geheim") && !shown.contains("nf65"), "{shown}");
        }
    }

    #[test]
    fn a_header_has_to_name_what_is_needed() {
        let check = |text: &str, wanted: &str| {
            let error = rows(text.as_bytes()).err().unwrap().to_string();
            assert!(error.starts_with("accounts.csv, line ") && error.contains(wanted), "{text:?}: {error}");
        };
        check("", "the file is empty");
        check("\u{FEFF}", "the file is empty");
        check("\r\n\n", "the file is empty");
        check("password,name\n", "no column `id`");
        check("Id,password\n", "no column `id`");
        check("id\nbob\n", "no column `password` or `password_hash`");
        check("id,name\n", "no column `password` or `password_hash`");
        check("id,password,password_hash\n", "both");
        check("id,password,id\n", "two columns \"id\"");
        check("id,password,level,e\u{1b}mail\n", "unknown columns: \"level\", \"e\\u{1b}mail\"; known are");
        check("\n\nid,pass\n", "line 3: there are unknown columns: \"pass\"");
        assert!(rows(b"id,\xff\n").err().unwrap().to_string().contains("UTF-8"));
        assert!(rows(b"\xff\xfei\0d\0,\0").is_err());
    }

    #[test]
    fn rows_that_are_none_are_refused_by_their_line() {
        let rule = |outcome| Err(Problem::Rule(outcome));
        let text = [
            "id,password,name",
            "bob,password,Bob",
            "",
            "bo,password,Bob",
            "bob\0,password,Bob",
            &format!("{},password,Bob", "x".repeat(33)),
            "bob,short,Bob",
            "bob,password,B",
            "bob,password",
            "bob,password,Bob,more",
            "\"bob,password",
            ",,",
            "",
            "\",,",
            "amy,password,Amy",
        ];
        let expected = [
            (2, Ok(())),
            (4, rule(Outcome::IdInvalid)),
            (5, rule(Outcome::IdInvalid)),
            (6, rule(Outcome::IdTooLong)),
            (7, rule(Outcome::PasswordInvalid)),
            (8, rule(Outcome::NameInvalid)),
            (9, Err(Problem::Columns { found: 2, wanted: 3 })),
            (10, Err(Problem::Columns { found: 4, wanted: 3 })),
            // From one quotation mark to the next.
            (11, Err(Problem::LineBreak)),
            (15, Ok(())),
        ];
        for end in ["\n", "\r\n", "\r"] {
            assert_eq!(read(text.join(end)), expected, "{end:?}");
            assert_eq!(read(text.join(end) + end), expected, "{end:?}");
        }
        assert_eq!(read(b"id,password\nb\xffb,password\n"), [(2, Err(Problem::Encoding))]);
        assert_eq!(read("id,password\nbob,\"password"), [(2, Err(Problem::LineBreak))]);
        assert_eq!(read("id,password\n"), []);
        assert_eq!(read("id,password"), []);
    }

    #[test]
    fn a_row_without_an_end_ends_the_import() {
        let mut text = b"id,password\nbob,password\n\n\"amy,".to_vec();
        text.resize(ROW_BYTES_MAX * 3, b'x');
        let mut rows = rows(&text).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().at, 2);
        let error = rows.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("accounts.csv, line 3") && error.contains("quotation mark"), "{error}");
        assert!(rows.next().is_none());
        // The bound is one for each row.
        let many = "bob,password\n".repeat(ROW_BYTES_MAX / 4);
        assert_eq!(read(format!("id,password\n{many}")).len(), ROW_BYTES_MAX / 4);
    }

    #[test]
    fn weights_add_up_to_the_file() {
        let text = b"id,password\n\nbob,password\namy,password\n";
        let weight: u64 = rows(text).unwrap().map(|row| row.unwrap().weight).sum();
        assert_eq!(weight, text.len() as u64 - 12);
    }

    #[test]
    fn hashes_are_judged_as_a_login_would() {
        let mut passwords = Passwords::new(PasswordCost { memory_kib: 64, iterations: 1 }).unwrap();
        let hash = passwords.hash("password").unwrap();
        let good = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let with = |params: &str, salt: &str| format!("$argon2id${params}${salt}${good}");
        for text in [
            hash.clone(),
            with("v=19$m=256,t=2,p=1", "c29tZXNhbHQ"),
            with("v=16$m=256,t=2,p=1", "c29tZXNhbHQ"),
            with("m=256,t=2,p=4", "c29tZXNhbHQ"),
            with("v=19$m=256,t=2,p=64", "c29tZXNhbHQ"),
            with("v=19$m=256,t=2,p=1", "c2hvcnQ"),
            with("v=19$m=256,t=2,p=1", ""),
            with("v=19$m=256,t=2,p=1", "not base64"),
            with("v=77$m=256,t=2,p=1", "c29tZXNhbHQ"),
            with("v=19$m=4,t=2,p=1", "c29tZXNhbHQ"),
            with("v=19$m=256,t=0,p=1", "c29tZXNhbHQ"),
            with("v=19$m=4294967295,t=1,p=1", "c29tZXNhbHQ"),
            with("v=19$m=64,t=4294967295,p=1", "c29tZXNhbHQ"),
            with("v=19$m=64,t=1,p=1,keyid=AAAA", "c29tZXNhbHQ"),
            with("v=19$m=64,t=1,p=1,x=1", "c29tZXNhbHQ"),
            hash.replace("argon2id", "argon2i"),
            hash.replace("argon2id", "argon2"),
            hash[..hash.len() - 44].into(),
            hash[..hash.len() - 40].into(),
            format!("{hash}\0"),
            format!(" {hash}"),
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".into(),
            "hunter2".into(),
            String::new(),
        ] {
            let verified = passwords.verify(Some(&text), "password");
            assert_eq!(check_stored(&text).is_ok(), verified.is_ok(), "{text:?}: {verified:?}");
        }
        assert_eq!(check_stored(&hash), Ok(()));
        assert!(check_stored(&"x".repeat(256)).is_err());
        let read = read(format!("password_hash,id\n\"{hash}\",bob\nhunter2,amy\n"));
        assert_eq!(read[0], (2, Ok(())));
        assert!(matches!(read[1], (3, Err(Problem::Hash(_)))));
    }
}
