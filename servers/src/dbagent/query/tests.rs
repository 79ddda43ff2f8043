//! Compares the table of procedures with sql/README.md and with the declarations in sql/.

use super::*;
use std::fs;
use std::path::Path;

fn sql(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(list: &[(&'static str, Kind)]) -> Vec<&'static str> {
    list.iter().map(|(name, _)| *name).collect()
}

#[test]
fn the_readme_lists_all_procedures() {
    let readme = sql("README.md");
    for procedure in procedures::ALL {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{}` |", procedure.name)));
        let row = row.unwrap_or_else(|| panic!("{} is not in sql/README.md", procedure.name));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let list = |cell: &str| -> Vec<String> {
            cell.trim_matches('`').split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        assert_eq!(list(cells[2]), names(procedure.parameters), "parameters of {}", procedure.name);
        assert_eq!(list(cells[3]), names(procedure.columns), "columns of {}", procedure.name);
    }
    let rows = readme.lines().filter(|line| line.starts_with("| `p_")).count();
    assert_eq!(rows, procedures::ALL.len());
}

/// Returns the text between the first `(` after `start` and its closing `)`.
fn parenthesis<'t>(text: &'t str, start: &str) -> &'t str {
    let from = text.find(start).unwrap_or_else(|| panic!("there is no {start:?}")) + start.len();
    let open = from + text[from..].find('(').unwrap();
    let mut depth = 0;
    let close = text[open..].char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        (depth == 0).then_some(at)
    });
    &text[open + 1..open + close.unwrap()]
}

/// Returns names and types of the items of a declaration, split at commas outside of parentheses.
fn items(text: &str) -> Vec<(String, String)> {
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, kind) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
            (name.trim_matches('"').to_owned(), kind.trim().to_lowercase())
        })
        .collect()
}

#[test]
fn postgres_declares_all_procedures() {
    let text = sql("postgres/003_procedures.sql");
    let kind = |kind: Kind| match kind {
        Kind::Number => "bigint",
        Kind::Small => "integer",
        Kind::Text(_) => "varchar",
    };
    for procedure in procedures::ALL {
        let start = format!("CREATE FUNCTION throng.{}", procedure.name);
        let declared = items(parenthesis(&text, &start));
        let wanted: Vec<_> = procedure
            .parameters
            .iter()
            .map(|(name, of)| (format!("p_{name}"), kind(*of).to_owned()))
            .collect();
        assert_eq!(declared, wanted, "parameters of {}", procedure.name);
        let from = text.find(&start).unwrap();
        let declared = items(parenthesis(&text[from..], "RETURNS TABLE"));
        let wanted: Vec<_> =
            procedure.columns.iter().map(|(name, of)| ((*name).to_owned(), kind(*of).to_owned())).collect();
        assert_eq!(declared, wanted, "columns of {}", procedure.name);
    }
}

#[test]
fn sql_server_declares_and_grants_all_procedures() {
    let text = sql("mssql/003_procedures.sql");
    let role = sql("mssql/agent_role.sql");
    for procedure in procedures::ALL {
        let start = format!("CREATE PROCEDURE dbo.{}", procedure.name);
        let from =
            text.find(&start).unwrap_or_else(|| panic!("there is no {}", procedure.name)) + start.len();
        let until = from + text[from..].find("\nAS\n").unwrap();
        let declared = items(&text[from..until]);
        let kind = |kind: Kind| match kind {
            Kind::Number => "bigint".to_owned(),
            Kind::Small => "int".to_owned(),
            Kind::Text(units) => format!("nvarchar({units})"),
        };
        let wanted: Vec<_> =
            procedure.parameters.iter().map(|(name, of)| (format!("@{name}"), kind(*of))).collect();
        assert_eq!(declared, wanted, "parameters of {}", procedure.name);
        let grant = format!("dbo.{} TO throng_agent", procedure.name);
        assert!(role.contains(&grant), "agent_role.sql: {grant}");
    }
}

#[test]
fn the_error_of_a_record_names_column_and_type() {
    let record = QueryRecord::new("p_X", vec![Field::Number(-1), Field::Null, Field::Text("x".into())]);
    assert_eq!(
        (record.bits(0), record.optional_number(1), record.text(2)),
        (Ok(u64::MAX), Ok(None), Ok("x"))
    );
    for (error, told) in [
        (record.number(1).unwrap_err(), "column 2 should be a number and is NULL"),
        (record.number(2).unwrap_err(), "column 3 should be a number and is a text"),
        (record.text(0).unwrap_err(), "column 1 should be a text and is a number"),
        (record.text(3).unwrap_err(), "column 4 should be a text and is missing"),
    ] {
        assert_eq!(error.fault, Fault::BadRecord);
        assert!(error.to_string().starts_with("p_X: ") && error.to_string().contains(told), "{error}");
    }
}

#[test]
fn debug_output_hides_bound_text() {
    let statement = QueryStatement::new(&procedures::ACCOUNT_SELECT, &[Value::Text("geheim")]);
    let shown = format!("{statement:?}");
    assert!(shown.contains("p_AccountData_Select") && !shown.contains("geheim"), "{shown}");
}
