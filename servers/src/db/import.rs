//! `throng db import-accounts`: creates accounts, and characters, from a CSV file.
//!
//! The file is read row by row, and a row is bounded, so its size does not matter. The buffers of
//! the CSV reader are not wiped, although they contain passwords: the file itself has them in plain
//! text on the disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use thiserror::Error;
use throng_core::config::{Config, Secret};

use super::bulk::{self, AccountSpec, BulkError, Credential, Plan, Problem, Row, Stop};
use super::output::Print;
use crate::dbagent::database::Database;
use crate::dbagent::password::check_stored;

/// Longest row in bytes: far more than the longest id, password and name take. Bounds the text that
/// a missing quotation mark swallows.
const ROW_BYTES_MAX: usize = 64 * 1024;

/// Characters shown of an unknown column's name.
const SHOWN_MAX: usize = 40;

/// Error of `throng db import-accounts`.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file cannot be opened, or its first line not be read.
    #[error("cannot read {}: {source}; check the path and who may read it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The header is not usable.
    #[error("{}, line {line}: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Line of the header.
        line: u64,
        /// Error of the header.
        source: HeaderError,
    },
    /// The run failed.
    #[error(transparent)]
    Bulk(#[from] BulkError),
}

/// Error of a file's header line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The file has no line.
    #[error("the file is empty; its first line has to name the columns, such as id,password,name")]
    Missing,
    /// The header is not UTF-8.
    #[error("it is not UTF-8: save the file as UTF-8")]
    Encoding,
    /// The header has no column `id`. It may be a row instead, with a password, and is not shown.
    #[error("the first line has to name the columns, separated by commas, and there is no column `id`")]
    NoId,
    /// The header has no column for a password or its hash.
    #[error("there is no column `password` or `password_hash`, and one of them is needed")]
    NoPassword,
    /// The header has columns for both.
    #[error("there are both `password` and `password_hash`: leave one of them out")]
    BothPasswords,
    /// The header has the same column twice.
    #[error("there are two columns {0:?}: leave one of them out")]
    Twice(&'static str),
    /// The header has unknown columns.
    #[error(
        "there are unknown columns: {0}; known are `id`, `password` or `password_hash`, and `name`: leave others out"
    )]
    Unknown(String),
}

/// A row is longer than [`ROW_BYTES_MAX`].
#[derive(Debug, Error)]
#[error("the row is too long; look for a quotation mark that is missing")]
struct RowTooLong;

/// Creates the accounts of a file. Returns false if some existed already or were refused.
pub(super) fn run(
    config: &Config,
    database: &Database,
    file: &Path,
    print: &mut Print<'_>,
) -> Result<bool, ImportError> {
    let failed = |source| ImportError::File { path: file.into(), source };
    let opened = File::open(file).map_err(failed)?;
    let total = opened.metadata().map_err(failed)?.len();
    let rows = Rows::new(opened, file)?;
    let plan = Plan { unit: "line", total, may_exist: false };
    Ok(bulk::run(config, database, plan, rows, print)?)
}

/// A row of an import: its line, its share of the file in bytes and its problem, or the reason for
/// which the import stops.
pub type ImportRow = Result<(u64, u64, Option<String>), String>;

/// Reads the accounts of a file, for the fuzzer.
pub(crate) fn read_accounts(text: &[u8], path: &Path) -> Result<Vec<ImportRow>, ImportError> {
    let rows = Rows::new(text, path)?.map(|row| {
        let Row { number, weight, account } = row.map_err(|stop| stop.to_string())?;
        Ok((number, weight, account.err().map(|problem| problem.to_string())))
    });
    let mut is_over = false;
    // An import ends with the first stop.
    Ok(rows.take_while(|row| !std::mem::replace(&mut is_over, row.is_err())).collect())
}

/// Columns of the values.
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
        let mut id = None;
        let mut password = None;
        let mut hash = None;
        let mut name = None;
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
        // Comes before unknown columns are shown: no id or password is as short as "id", so a line
        // with it is a header and has no password in it.
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

    /// Reads the account of a row.
    fn account(&self, row: &ByteRecord) -> Result<AccountSpec, Problem> {
        // Comes before the number of columns, which a wrong quotation mark changes too.
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
        AccountSpec::new(text(self.id)?, credential, self.name.map_or(Ok(""), text)?)
    }
}

/// Iterator over the rows of a file.
struct Rows<R> {
    reader: Reader<Lines<R>>,
    path: PathBuf,
    columns: Columns,
    row: ByteRecord,
    /// Position behind the last row.
    bytes: u64,
}

impl<R: Read> Rows<R> {
    /// Reads the header.
    fn new(source: R, path: &Path) -> Result<Self, ImportError> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(Lines { source, row_left: 0, was_cr: false, last: b'\n', is_at_end: false });
        let mut row = ByteRecord::new();
        let header = read_row(&mut reader, &mut row);
        let header = header.map_err(|source| ImportError::File { path: path.into(), source })?;
        let line = header.unwrap_or(1);
        let columns = header.map_or(Err(HeaderError::Missing), |_| Columns::new(&row));
        let columns = columns.map_err(|source| ImportError::Header { path: path.into(), line, source })?;
        let bytes = reader.position().byte();
        Ok(Self { reader, path: path.into(), columns, row, bytes })
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Row, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        let next_line = self.reader.position().line();
        let number = match read_row(&mut self.reader, &mut self.row) {
            Ok(line) => line?,
            Err(source) => {
                return Some(Err(Stop::Read { path: self.path.clone(), line: next_line, source }));
            }
        };
        let bytes = self.reader.position().byte();
        let weight = bytes - std::mem::replace(&mut self.bytes, bytes);
        Some(Ok(Row { number, weight, account: self.columns.account(&self.row) }))
    }
}

/// Reads a row. Returns the line in which it begins, or `None` at the end of the file.
fn read_row<R: Read>(reader: &mut Reader<Lines<R>>, row: &mut ByteRecord) -> io::Result<Option<u64>> {
    reader.get_mut().row_left = ROW_BYTES_MAX;
    if !reader.read_byte_record(row)? {
        return Ok(None);
    }
    // The reader takes the position of a row before skipping empty lines, but its position behind
    // the row is right. The row ended with a line, or within quotation marks at the end of the
    // file.
    let breaks = row.as_slice().split(|byte| *byte == b'\n').count() as u64;
    let lines = if reader.get_ref().is_at_end { breaks - 1 } else { breaks };
    Ok(Some(reader.position().line().saturating_sub(lines)))
}

/// The file for the CSV reader: every line ends in LF, also the last one, and a row is bounded.
struct Lines<R> {
    source: R,
    /// Bytes that the row may still have.
    row_left: usize,
    was_cr: bool,
    last: u8,
    /// True once the reader has seen the end of the file.
    is_at_end: bool,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let limit = buffer.len().min(self.row_left);
            if limit == 0 {
                return Err(io::Error::new(ErrorKind::InvalidData, RowTooLong));
            }
            let read = match self.source.read(&mut buffer[..limit]) {
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
            self.row_left -= read;
            let mut kept = 0;
            for at in 0..read {
                let byte = buffer[at];
                // CR and CR LF become LF.
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
    use crate::rules::Password;
    use throng_core::wire::packets::Outcome;

    fn rows(text: &[u8]) -> Result<Rows<&[u8]>, ImportError> {
        Rows::new(text, Path::new("accounts.csv"))
    }

    /// Line and problem of each row.
    fn read(text: impl AsRef<[u8]>) -> Vec<(u64, Result<(), Problem>)> {
        let rows = rows(text.as_ref()).unwrap();
        rows.map(|row| row.unwrap()).map(|row| (row.number, row.account.map(|_| ()))).collect()
    }

    /// Debug output of the accounts.
    fn accounts(text: &str) -> String {
        format!("{:?}", rows(text.as_bytes()).unwrap().map(|row| row.unwrap().account).collect::<Vec<_>>())
    }

    #[test]
    fn columns_come_in_any_order_and_values_in_quotes() {
        let usual = accounts("id,password,name\nbob,password,Bob\n");
        assert!(usual.contains("id: \"bob\"") && usual.contains("name: \"Bob\""), "{usual}");
        for same in [
            "name,id,password\nBob,bob,password\n",
            "password,name,id\npassword,Bob,bob",
            "\u{FEFF}id,password,name\nbob,password,Bob\n",
            "\u{FEFF}\"id\",\"password\",\"name\"\n\"bob\",\"password\",\"Bob\"\n",
            "id,password,name\r\nbob,password,Bob\r\n",
            "id,password,name\rbob,password,Bob\r",
        ] {
            assert_eq!(accounts(same), usual, "{same:?}");
        }
        let quoted =
            accounts("name,id,password\n\"O'Brien, \"\"x\"\"\",\"김철수 😀\",\"a,\"\"b\"\",cdefgh\"\n");
        assert!(quoted.contains(r#"name: "O'Brien, \"x\"""#) && quoted.contains("김철수 😀"), "{quoted}");
        assert!(accounts("id,password\nbob,password\n").contains("character: None"));
        assert!(accounts("id,name,password\nbob,,password\n").contains("character: None"));
    }

    #[test]
    fn no_message_shows_a_password() {
        let shown = accounts("id,password\nbob,geheim-geheim\n");
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
    fn a_header_must_name_the_needed_columns() {
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
    fn invalid_rows_are_reported_with_their_line() {
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
    fn a_row_without_an_end_stops_the_import() {
        let mut text = b"id,password\nbob,password\n\n\"amy,".to_vec();
        text.resize(ROW_BYTES_MAX * 3, b'x');
        let mut rows = rows(&text).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().number, 2);
        let error = rows.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("accounts.csv, line 3") && error.contains("quotation mark"), "{error}");
        assert!(rows.next().is_none());
        // The bound is per row.
        let many = "bob,password\n".repeat(ROW_BYTES_MAX / 4);
        assert_eq!(read(format!("id,password\n{many}")).len(), ROW_BYTES_MAX / 4);
    }

    #[test]
    fn weights_add_up_to_the_file_without_its_header() {
        let text = b"id,password\n\nbob,password\namy,password\n";
        let weight: u64 = rows(text).unwrap().map(|row| row.unwrap().weight).sum();
        assert_eq!(weight, text.len() as u64 - 12);
    }

    #[test]
    fn hashes_are_accepted_exactly_if_a_login_accepts_them() {
        let mut passwords = Passwords::new(PasswordCost { memory_kib: 64, iterations: 1 }).unwrap();
        let hash = passwords.hash(&Password::to_check("password")).unwrap();
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
            let verified = passwords.verify(&text, &Password::to_check("password"));
            assert_eq!(check_stored(&text).is_ok(), verified.is_ok(), "{text:?}: {verified:?}");
        }
        assert_eq!(check_stored(&hash), Ok(()));
        assert!(check_stored(&"x".repeat(256)).is_err());
        let read = read(format!("password_hash,id\n\"{hash}\",bob\nhunter2,amy\n"));
        assert_eq!(read[0], (2, Ok(())));
        assert!(matches!(read[1], (3, Err(Problem::Hash(_)))));
    }
}
