//! Macros behind the table of keys: one declaration yields a struct for each section with its
//! defaults, and the functions that read, show and document each key.

use super::origin::{Origin, Origins};
use super::problem::ValueError;
use super::value::{Raw, Rule, Value};

/// A section of the table.
pub(super) struct Section<C: 'static> {
    pub(super) name: &'static str,
    pub(super) docs: &'static [&'static str],
    pub(super) keys: &'static [Key<C>],
}

/// A key of the table.
pub(super) struct Key<C> {
    /// `section.key`.
    pub(super) name: &'static str,
    pub(super) docs: &'static [&'static str],
    /// The default, as text.
    pub(super) default: &'static str,
    /// True if the value must not be shown anywhere.
    pub(super) secret: bool,
    /// The allowed values in words.
    pub(super) allowed: fn() -> String,
    /// Reads and checks the value of a source.
    pub(super) set: fn(&mut C, &Raw) -> Result<(), ValueError>,
    /// Formats the value as a TOML literal.
    pub(super) toml: fn(&C) -> String,
}

impl<C> Key<C> {
    /// Returns the name without its section.
    pub(super) fn short_name(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }
}

/// A struct declared by [`settings`].
pub(super) trait Settings: Default + 'static {
    /// The table.
    const SECTIONS: &'static [Section<Self>];

    /// Returns the origins of the values.
    fn origins(&self) -> &Origins;

    /// As [`Self::origins`], for writing.
    fn origins_mut(&mut self) -> &mut Origins;

    /// Returns every key, in order.
    fn keys() -> impl Iterator<Item = &'static Key<Self>> {
        Self::SECTIONS.iter().flat_map(|section| section.keys)
    }

    /// Returns the origin of the value of `name` (`section.key`).
    fn origin(&self, name: &str) -> Origin {
        self.origins().get(name).cloned().unwrap_or_default()
    }
}

/// Reads a value and checks it against its rule.
pub(super) fn read<T: Value>(raw: &Raw, rule: &impl Rule<T>) -> Result<T, ValueError> {
    let value = T::read(raw)?;
    rule.check(&value)?;
    Ok(value)
}

/// Parses a default of the table. A test parses each of them.
pub(super) fn default<T: Value>(name: &'static str, text: &'static str) -> T {
    match T::parse(text) {
        Ok(value) => value,
        Err(reason) => unreachable!("the default of {name} in the table is wrong: {reason}"),
    }
}

/// Expands to the rule of a key; without one, to a rule that allows every value.
macro_rules! rule {
    () => {
        $crate::config::value::Any
    };
    ($rule:expr) => {
        $rule
    };
}

/// Declares the sections and keys; `keys.rs` shows the syntax.
///
/// `key: type = "default" in rule, secret;`, where the rule and `secret` are optional.
macro_rules! settings {
    (
        $(#[doc = $doc:literal])*
        $vis:vis $config:ident {
            $(
                $(#[doc = $section_doc:literal])*
                $section:ident: $Section:ident {
                    $(
                        $(#[doc = $key_doc:literal])*
                        $key:ident: $ty:ty = $default:literal $(in $rule:expr)? $(, $secret:ident)?;
                    )*
                }
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default)]
        $vis struct $config {
            $( $(#[doc = $section_doc])* pub $section: $Section, )*
            origins: $crate::config::origin::Origins,
        }

        /// Two configurations are equal if their values are; origins do not count.
        impl PartialEq for $config {
            fn eq(&self, other: &Self) -> bool {
                $( self.$section == other.$section )&&*
            }
        }

        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            $vis struct $Section {
                $(
                    $(#[doc = $key_doc])*
                    #[doc = ""]
                    #[doc = concat!("Default: `", $default, "`.")]
                    pub $key: $ty,
                )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $(
                        $key: $crate::config::table::default(
                            concat!(stringify!($section), ".", stringify!($key)),
                            $default,
                        ),
                    )* }
                }
            }
        )*

        impl $crate::config::table::Settings for $config {
            const SECTIONS: &'static [$crate::config::table::Section<Self>] = &[ $(
                $crate::config::table::Section {
                    name: stringify!($section),
                    docs: &[$($section_doc),*],
                    keys: &[ $( $crate::config::table::Key {
                        name: concat!(stringify!($section), ".", stringify!($key)),
                        docs: &[$($key_doc),*],
                        default: $default,
                        secret: {
                            let marks: &[&str] = &[$( stringify!($secret) )?];
                            !marks.is_empty()
                        },
                        allowed: || {
                            $crate::config::value::Rule::<$ty>::allowed(&$crate::config::table::rule!($($rule)?))
                        },
                        set: |config, raw| {
                            let rule = $crate::config::table::rule!($($rule)?);
                            config.$section.$key = $crate::config::table::read(raw, &rule)?;
                            Ok(())
                        },
                        toml: |config| $crate::config::value::Value::toml(&config.$section.$key),
                    }, )* ],
                },
            )* ];

            fn origins(&self) -> &$crate::config::origin::Origins {
                &self.origins
            }

            fn origins_mut(&mut self) -> &mut $crate::config::origin::Origins {
                &mut self.origins
            }
        }
    };
}

pub(super) use {rule, settings};
