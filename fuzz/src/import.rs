//! Files of account imports.

use throng_servers::fuzzing::read_accounts;

use crate::Target;
use crate::files::assert_shown;

pub(crate) const IMPORT: Target = Target { name: "import", check, seeds, mutations: 3_000 };

fn seeds() -> Vec<Vec<u8>> {
    let hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let texts = [
        "id,password,name\nbob,honeycomb,Bob\namy,honeycomb,\n",
        "\u{FEFF}\"id\",\"password\",\"name\"\r\n\"bob\",\"honey\"\"comb\",\"O'Brien, x\"\r\n",
        "name,id,password\rBob,bob,password\r\r\rAmy,amy,\"pass\nword\"",
        "id;password\nbob;honeycomb\n",
        "id,password,id\n",
        "id,password\nbob\nb,\u{1b}\nbob,\"honeycomb\n",
        "id,level,password\n",
    ];
    let mut seeds: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.push(format!("id,password_hash\nbob,\"{hash}\"\namy,{hash}\n").into_bytes());
    seeds
}

/// Reads the accounts of a file, or its problems, which can be shown. Lines come in their order,
/// and every byte counts once.
fn check(text: &[u8]) {
    let lines = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64 + 1;
    let rows = match read_accounts(text) {
        Ok(rows) => rows,
        Err(error) => return assert_shown(&error.to_string()),
    };
    let (mut before, mut read) = (0, 0);
    for row in rows {
        match row {
            Ok((number, weight, problem)) => {
                assert!(number > before && number <= lines, "line {number} after {before} of {lines}");
                before = number;
                read += weight;
                if let Some(problem) = problem {
                    assert_shown(&problem);
                }
            }
            Err(stop) => assert_shown(&stop),
        }
    }
    // The last line may lack its end.
    assert!(read <= text.len() as u64 + 1);
}
