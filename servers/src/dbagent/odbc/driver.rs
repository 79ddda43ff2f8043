//! Finds the driver's shared library.
//!
//! The driver manager loads a driver by its path. Debian's odbcinst.ini names drivers by bare file
//! names in a folder that the loader does not search, so this module finds the path. If there is
//! none, the error lists the places searched.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Error of [`find_driver`]: there is no such driver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "there is no ODBC driver {wanted}. Looked for: {}. {packages}, or set odbc.driver to the path of a driver",
    tried.join(", ")
)]
pub struct DriverError {
    /// Names of the wanted drivers.
    pub wanted: String,
    /// Places searched: entries of odbcinst.ini, and files.
    pub tried: Vec<String>,
    /// Advice on packages that contain a driver.
    pub packages: &'static str,
}

/// Places where a system keeps drivers.
#[derive(Debug, Clone)]
pub struct Places {
    /// Files that name drivers (odbcinst.ini).
    pub registries: Vec<PathBuf>,
    /// Folders with drivers.
    pub folders: Vec<PathBuf>,
}

impl Places {
    /// Returns the places of Linux distributions and of Microsoft's packages, and those of ODBC's
    /// environment variables (`ODBCSYSINI`, a folder; `ODBCINSTINI`, a file).
    pub fn of_system() -> Self {
        let mut registries = Vec::new();
        let folder = env::var_os("ODBCSYSINI").map(PathBuf::from);
        if let Some(file) = env::var_os("ODBCINSTINI") {
            registries.push(folder.clone().unwrap_or_default().join(file));
        }
        registries.extend(folder.map(|folder| folder.join("odbcinst.ini")));
        registries.extend(env::home_dir().map(|home| home.join(".odbcinst.ini")));
        registries.extend(["/etc/odbcinst.ini", "/usr/local/etc/odbcinst.ini"].map(PathBuf::from));
        let architecture = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
        let mut folders = vec![Path::new(&architecture).join("odbc"), PathBuf::from(architecture)];
        folders.extend(
            [
                "/usr/lib64",
                "/usr/lib/odbc",
                "/usr/lib",
                "/usr/local/lib/odbc",
                "/usr/local/lib",
                "/opt/microsoft/msodbcsql18/lib64",
                "/opt/microsoft/msodbcsql17/lib64",
            ]
            .map(PathBuf::from),
        );
        Self { registries, folders }
    }
}

/// Returns the path of the first driver found. Each of `names` is a name in odbcinst.ini, the name
/// of a file in one of the folders, or a path. `packages` is the advice in the error.
pub fn find_driver(names: &[&str], places: &Places, packages: &'static str) -> Result<PathBuf, DriverError> {
    let mut tried = Vec::new();
    for name in names {
        if let Some(path) = find_one(name, places, &mut tried) {
            return Ok(path);
        }
    }
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    Err(DriverError { wanted: quoted.join(" or "), tried, packages })
}

fn find_one(name: &str, places: &Places, tried: &mut Vec<String>) -> Option<PathBuf> {
    if name.contains('/') {
        return existing(PathBuf::from(name), tried);
    }
    for registry in &places.registries {
        let Ok(text) = fs::read(registry) else {
            note(tried, &registry.display());
            continue;
        };
        let Some(driver) = driver_entry(&String::from_utf8_lossy(&text), name) else {
            note(tried, &format_args!("[{name}] in {}", registry.display()));
            continue;
        };
        if let Some(path) = in_folders(&driver, places, tried) {
            return Some(path);
        }
    }
    if Path::new(name).extension().is_some_and(|extension| extension == "so") {
        return in_folders(name, places, tried);
    }
    None
}

fn in_folders(file: &str, places: &Places, tried: &mut Vec<String>) -> Option<PathBuf> {
    if file.contains('/') {
        return existing(PathBuf::from(file), tried);
    }
    places.folders.iter().find_map(|folder| existing(folder.join(file), tried))
}

fn existing(path: PathBuf, tried: &mut Vec<String>) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    note(tried, &path.display());
    None
}

fn note(tried: &mut Vec<String>, place: &impl ToString) {
    let place = place.to_string();
    if !tried.contains(&place) {
        tried.push(place);
    }
}

/// Returns the driver of a section of odbcinst.ini: the value of `Driver64`, or else of `Driver`.
fn driver_entry(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().map(str::trim);
    let section = lines.skip_while(|line| !is_section(line, name)).skip(1);
    let entries = section.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    let mut found = None;
    for (key, value) in entries {
        let key = key.trim();
        let value = value.trim();
        if key.eq_ignore_ascii_case("driver64") && !value.is_empty() {
            return Some(value.to_owned());
        }
        if key.eq_ignore_ascii_case("driver") && !value.is_empty() {
            found = Some(value.to_owned());
        }
    }
    found
}

fn is_section(line: &str, name: &str) -> bool {
    let inside = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    inside.is_some_and(|inside| inside.trim().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "[ODBC]\nTrace=no\n\n[Some Driver]\nDescription=x\nDriver = some.so\nSetup=y.so\n\
                            [Other]\nDriver=/opt/other.so\nDriver64=other64.so\n[Empty]\nDriver=\n";

    #[test]
    fn sections_of_odbcinst_are_read() {
        let check = |name, expected: Option<&str>| {
            assert_eq!(driver_entry(REGISTRY, name).as_deref(), expected, "{name}");
        };
        check("Some Driver", Some("some.so"));
        check("some driver", Some("some.so"));
        check("Other", Some("other64.so"));
        check("Empty", None);
        check("absent", None);
        check("Trace", None);
    }

    #[test]
    fn drivers_are_found_by_name_file_and_path() {
        let dir = tempfile::tempdir().unwrap();
        let registry = dir.path().join("odbcinst.ini");
        let folder = dir.path().join("lib");
        fs::create_dir(&folder).unwrap();
        fs::write(&registry, REGISTRY).unwrap();
        let path = folder.join("some.so");
        fs::write(&path, "").unwrap();
        let registries = vec![dir.path().join("absent.ini"), registry];
        let places = Places { registries, folders: vec![dir.path().join("nothing"), folder] };
        let find = |names: &[&str]| find_driver(names, &places, "install it");
        assert_eq!(find(&["Some Driver"]).unwrap(), path);
        assert_eq!(find(&["absent", "some driver"]).unwrap(), path);
        assert_eq!(find(&["some.so"]).unwrap(), path);
        assert_eq!(find(&[path.to_str().unwrap()]).unwrap(), path);
        let error = find(&["Other", "absent"]).unwrap_err().to_string();
        for expected in
            ["absent.ini", "lib/other64.so", "[absent] in ", "install it", "\"Other\" or \"absent\""]
        {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
