//! Generates bytes of any packet from nothing but the type names that docs/protocol.md prints. This
//! proves the names right and covers a new packet as soon as it is in the table.

use proptest::collection::{SizeRange, vec};
use proptest::prelude::*;

use crate::text::is_control;
use crate::wire::PacketInfo;
use crate::wire::packets::{ENUMS, STRUCTS};

/// The encoding that a type name stands for.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A fixed number of bytes of any value: integers and `byte[N]`.
    Fixed(usize),
    /// One byte out of these: `bool` and enumerations.
    OneOf(Vec<u8>),
    /// The `bytes(N)` type.
    Bytes(usize),
    /// The `text(N)` type.
    Text(usize),
    /// The `line(N)` type.
    Line(usize),
    /// The `list(N)<T>` type.
    List(usize, Box<Shape>),
    /// The `option<T>` type.
    Option(Box<Shape>),
    /// A group of fields.
    Group(Vec<Shape>),
}

impl Shape {
    /// Parses a type name.
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "u8" => return Self::Fixed(1),
            "u16" => return Self::Fixed(2),
            "u32" | "i32" => return Self::Fixed(4),
            "u64" => return Self::Fixed(8),
            "bool" => return Self::OneOf(vec![0, 1]),
            _ => {}
        }
        if let Some(of) = ENUMS.iter().find(|of| of.name == name) {
            return Self::OneOf(of.variants.iter().map(|(value, ..)| *value).collect());
        }
        if let Some((_, fields)) = STRUCTS.iter().find(|(group, _)| *group == name) {
            return Self::Group(fields.iter().map(|field| Self::parse(&(field.type_name)())).collect());
        }
        let inner = name.split_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
        let inner = || Box::new(Self::parse(inner.expect("a type in angle brackets")));
        match name.split(['(', '[', '<']).next() {
            Some("byte") => Self::Fixed(number_in(name)),
            Some("bytes") => Self::Bytes(number_in(name)),
            Some("text") => Self::Text(number_in(name)),
            Some("line") => Self::Line(number_in(name)),
            Some("list") => Self::List(number_in(name), inner()),
            Some("option") => Self::Option(inner()),
            _ => panic!("docs/protocol.md does not explain the type {name}"),
        }
    }

    /// Generates the bytes of any value.
    pub(super) fn any(&self) -> BoxedStrategy<Vec<u8>> {
        match self {
            Self::Fixed(count) => vec(any::<u8>(), *count).boxed(),
            Self::OneOf(values) => prop::sample::select(values.clone()).prop_map(|value| vec![value]).boxed(),
            Self::Bytes(limit) => vec(any::<u8>(), lengths(*limit)).prop_map(prefixed).boxed(),
            Self::Text(limit) | Self::Line(limit) => {
                let (limit, is_line) = (*limit, matches!(self, Self::Line(_)));
                let character = any::<char>().prop_filter("a line", move |c| !is_line || !is_control(*c));
                let cut = move |mut text: String| {
                    text.truncate(text.floor_char_boundary(limit));
                    prefixed(text.into_bytes())
                };
                vec(character, lengths(limit)).prop_map(String::from_iter).prop_map(cut).boxed()
            }
            Self::List(limit, item) => {
                let joined = |items: Vec<Vec<u8>>| [length(items.len()).to_vec(), items.concat()].concat();
                vec(item.any(), lengths(*limit)).prop_map(joined).boxed()
            }
            Self::Option(inner) => {
                let present = inner.any().prop_map(|value| [vec![1], value].concat());
                prop_oneof![Just(vec![0]), present].boxed()
            }
            Self::Group(members) => {
                let members: Vec<_> = members.iter().map(Self::any).collect();
                members.prop_map(|values| values.concat()).boxed()
            }
        }
    }

    /// Returns the bytes of the shortest value.
    pub(super) fn least(&self) -> Vec<u8> {
        match self {
            Self::Fixed(count) => vec![0; *count],
            Self::OneOf(values) => vec![values[0]],
            Self::Bytes(_) | Self::Text(_) | Self::Line(_) | Self::List(..) => vec![0, 0],
            Self::Option(_) => vec![0],
            Self::Group(members) => members.iter().flat_map(Self::least).collect(),
        }
    }

    /// Returns values of this type that break a rule, with nothing after the violation.
    pub(super) fn violations(&self) -> Vec<(Violation, Vec<u8>)> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::OneOf(values) => {
                let unknown = (0..=u8::MAX).find(|value| !values.contains(value));
                unknown.map(|value| (Violation::UnknownValue, vec![value])).into_iter().collect()
            }
            Self::Bytes(limit) => vec![too_long(*limit)],
            Self::Text(limit) => {
                vec![too_long(*limit), (Violation::NotUtf8, prefixed(vec![0xff]))]
            }
            Self::Line(limit) => {
                let controls = ["\n", "\u{1b}", "\u{7f}", "\u{9b}", "\u{2028}", "\u{202e}", "\u{2066}"];
                let controls =
                    controls.map(|text| (Violation::ControlCharacter, prefixed(text.as_bytes().to_vec())));
                Self::Text(*limit).violations().into_iter().chain(controls).collect()
            }
            Self::List(limit, item) => {
                let nested = item
                    .violations()
                    .into_iter()
                    .map(|(violation, bytes)| (violation, [length(1).to_vec(), bytes].concat()));
                nested.chain([too_long(*limit)]).collect()
            }
            Self::Option(inner) => {
                let nested = inner
                    .violations()
                    .into_iter()
                    .map(|(violation, bytes)| (violation, [vec![1], bytes].concat()));
                nested.chain([(Violation::UnknownValue, vec![2])]).collect()
            }
            Self::Group(members) => violations_of(members),
        }
    }
}

/// A rule that a value breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// A length above the limit; the announced bytes are missing.
    TooLong,
    /// A text that is not UTF-8.
    NotUtf8,
    /// A line with a control character.
    ControlCharacter,
    /// A bool, option or enumeration with an undefined value.
    UnknownValue,
}

/// Returns the shape of a packet's fields.
pub(super) fn of(packet: &PacketInfo) -> Shape {
    Shape::Group(packet.fields.iter().map(|field| Shape::parse(&(field.type_name)())).collect())
}

/// Returns each violation of one member, after the shortest values of the members before it.
fn violations_of(members: &[Shape]) -> Vec<(Violation, Vec<u8>)> {
    let mut found = Vec::new();
    let mut before = Vec::new();
    for member in members {
        for (violation, bytes) in member.violations() {
            found.push((violation, [before.clone(), bytes].concat()));
        }
        before.extend(member.least());
    }
    found
}

fn too_long(limit: usize) -> (Violation, Vec<u8>) {
    (Violation::TooLong, length(limit + 1).to_vec())
}

fn number_in(name: &str) -> usize {
    let digits = name.split(['(', '[', ')', ']']).nth(1).expect("a limit in brackets");
    digits.parse().expect("a limit is a number")
}

fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("limits are below 65,536").to_le_bytes()
}

fn prefixed(bytes: Vec<u8>) -> Vec<u8> {
    [length(bytes.len()).to_vec(), bytes].concat()
}

/// Short lengths, for speed: other tests cover the limits.
fn lengths(limit: usize) -> impl Into<SizeRange> {
    0..=limit.min(12)
}
