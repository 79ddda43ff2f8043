//! The configuration as commented TOML, and the table of keys as Markdown.

use std::fmt::Write;

use super::table::Settings;

/// Renders the effective configuration as TOML that loads to the same values. Secrets are left out.
pub(super) fn toml<C: Settings>(config: &C) -> String {
    let mut out = String::new();
    for section in C::SECTIONS {
        for line in section.docs {
            push(&mut out, format_args!("#{line}"));
        }
        push(&mut out, format_args!("[{}]\n", section.name));
        for key in section.keys {
            for line in key.docs {
                push(&mut out, format_args!("#{line}"));
            }
            push(&mut out, format_args!("# Allowed: {}. Default: {:?}.", (key.allowed)(), key.default));
            push(&mut out, format_args!("# From: {}.", config.origin(key.name)));
            if key.secret {
                push(&mut out, format_args!("# {} = [secret]\n", key.short_name()));
            } else {
                push(&mut out, format_args!("{} = {}\n", key.short_name(), (key.toml)(config)));
            }
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Renders the table of keys: default, allowed values and meaning.
pub(super) fn markdown<C: Settings>() -> String {
    let mut out = String::new();
    for section in C::SECTIONS {
        push(&mut out, format_args!("### `[{}]`\n\n{}\n", section.name, sentence(section.docs)));
        push(&mut out, format_args!("| key | default | allowed | meaning |\n|---|---|---|---|"));
        for key in section.keys {
            let default =
                if key.default.is_empty() { "(empty)".into() } else { format!("`{}`", key.default) };
            push(
                &mut out,
                format_args!(
                    "| `{}` | {default} | {} | {} |",
                    key.name,
                    cell(&(key.allowed)()),
                    cell(&sentence(key.docs))
                ),
            );
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}

fn sentence(docs: &[&str]) -> String {
    docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
