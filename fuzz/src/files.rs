//! Files that are small and matter: keys, and the endpoints of a data directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;
use throng_core::crypto::{ClusterKey, StaticKey};
use throng_core::endpoints::Endpoints;
use throng_core::text::is_control;

use crate::Target;

pub(crate) const FILES: Target = Target { name: "files", check, seeds, mutations: 1_000 };

thread_local! {
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a temporary directory");
}

/// Writes a file that only its owner can read, and returns its path. The next file of that name
/// replaces it.
pub(crate) fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = DIRECTORY.with(|directory| directory.path().join(name));
    let is_new = !path.exists();
    fs::write(&path, content).expect("the temporary directory takes files");
    if is_new {
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
    }
    path
}

/// Checks that a terminal or a page can show a text: control characters are escaped, but for the
/// ends of lines.
pub(crate) fn assert_shown(text: &str) {
    assert!(!text.is_empty(), "nothing is told");
    let control = text.chars().find(|c| *c != '\n' && is_control(*c));
    assert_eq!(control, None, "{text:?}");
}

fn seeds() -> Vec<Vec<u8>> {
    let key = hex::encode(std::array::from_fn::<u8, 32, _>(|at| (at as u8).wrapping_mul(37)));
    let endpoints = format!(
        "pid = 7\n[login]\naddress = \"127.0.0.1:9000\"\nkey = \"{key}\"\npid = 7\nadmin = \"127.0.0.1:9400\"\n\
         [chat]\naddress = \"[::1]:9200\"\n[dbagent]\naddress = \"10.0.0.1:9300\"\n"
    );
    vec![
        format!("0{key}\n").into_bytes(),
        format!("1{key}").into_bytes(),
        format!("0{}\n", "00".repeat(32)).into_bytes(),
        format!("2{endpoints}").into_bytes(),
        b"2pid = 1\n[login]\naddress = \"127.0.0.1:1\"\nkey = \"abc\"".to_vec(),
    ]
}

/// Reads a key or the endpoints. What is read is written so that it is read again; no message shows
/// a key.
fn check(input: &[u8]) {
    let Some((kind, content)) = input.split_first() else { return };
    let error = match kind % 3 {
        0 => match ClusterKey::load(&file("cluster.key", content)) {
            Ok(key) => {
                let path = file("again.key", b"");
                fs::remove_file(&path).expect("it is there");
                key.store(&path).expect("the temporary directory takes files");
                let again = ClusterKey::load(&path).expect("its own");
                assert_eq!(*again.derive(b"fuzz", b""), *key.derive(b"fuzz", b""));
                return;
            }
            Err(error) => error.to_string(),
        },
        1 => match StaticKey::load(&file("login.key", content), "login.key_file") {
            Ok(key) => {
                let digits = content.trim_ascii();
                assert_eq!(hex::encode(key.private()).as_bytes(), digits.to_ascii_lowercase());
                return;
            }
            Err(error) => error.to_string(),
        },
        _ => {
            let path = file(Endpoints::FILE, content);
            match Endpoints::read(path.parent().expect("a directory")) {
                Ok(endpoints) => {
                    let directory = tempfile::tempdir_in(path.parent().expect("a directory")).expect("room");
                    endpoints.write(directory.path()).expect("the temporary directory takes files");
                    assert_eq!(Endpoints::read(directory.path()).expect("its own"), endpoints);
                    return;
                }
                Err(error) => error.to_string(),
            }
        }
    };
    assert_shown(&error);
    let shown = |part: &[u8]| error.as_bytes().windows(part.len()).any(|window| window == part);
    assert!(kind % 3 == 2 || content.trim_ascii().len() < 40 || !shown(content.trim_ascii()), "{error}");
}
