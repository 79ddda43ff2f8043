//! Macros behind the packet table: one declaration yields the struct, its encoding and decoding,
//! its variant of [`super::Packet`] and its row in docs/protocol.md.

use super::stream::{Malformed, Reader, Writer};

/// Sender and receiver of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Either side of any session, after the handshake.
    Any,
    /// Client to login server.
    ClientToLogin,
    /// Login server to client.
    LoginToClient,
    /// Login or chat server to client.
    ServerToClient,
    /// Client to chat server.
    ClientToChat,
    /// Chat server to client.
    ChatToClient,
    /// Either end of a server link, as its first packet.
    Link,
    /// Login or chat server to DB agent.
    ToDbAgent,
    /// DB agent to login or chat server.
    FromDbAgent,
    /// Login server to chat server.
    LoginToChat,
    /// Chat server to login server.
    ChatToLogin,
}

/// Encoding and decoding of a packet's body; implemented by the packet table only.
pub trait Body: Sized {
    /// The packet's number.
    const NUMBER: u16;
    /// The packet's name.
    const NAME: &'static str;
    /// Appends the fields, without the number.
    fn put(&self, writer: &mut Writer<'_>);
    /// Takes the fields.
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Documentation of a packet.
#[derive(Debug, Clone, Copy)]
pub struct PacketInfo {
    /// The number that opens the packet.
    pub number: u16,
    /// The name of its struct.
    pub name: &'static str,
    /// The predecessor's names for it, separated by commas; empty if there is none.
    pub legacy: &'static str,
    /// Its sender and receiver.
    pub route: Route,
    /// Its purpose.
    pub docs: &'static [&'static str],
    /// Its fields, in wire order.
    pub fields: &'static [FieldInfo],
}

/// Documentation of a field.
#[derive(Debug, Clone, Copy)]
pub struct FieldInfo {
    /// The field's name.
    pub name: &'static str,
    /// The name of its type.
    pub type_name: fn() -> String,
    /// Its content.
    pub docs: &'static [&'static str],
}

/// Documentation of an enumeration.
#[derive(Debug, Clone, Copy)]
pub struct EnumInfo {
    /// The type's name.
    pub name: &'static str,
    /// Its purpose.
    pub docs: &'static [&'static str],
    /// Value, name and meaning of each variant.
    pub variants: &'static [(u8, &'static str, &'static [&'static str])],
}

/// Declares the packets; `packets.rs` is the only user.
macro_rules! packets {
    ($(
        $(#[doc = $doc:literal])*
        $number:literal $name:ident ($route:ident, $legacy:literal) {
            $( $(#[doc = $field_doc:literal])* $field:ident : $ty:ty ),* $(,)?
        }
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $name {
                $( $(#[doc = $field_doc])* pub $field: $ty, )*
            }

            impl $crate::wire::table::Body for $name {
                const NUMBER: u16 = $number;
                const NAME: &'static str = stringify!($name);

                #[allow(unused_variables)] // for packets without fields
                fn put(&self, writer: &mut $crate::wire::Writer<'_>) {
                    $( $crate::wire::Field::put(&self.$field, writer); )*
                }

                #[allow(unused_variables)]
                fn take(reader: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                    Ok(Self { $( $field: $crate::wire::Field::take(reader)?, )* })
                }
            }

            impl From<$name> for Packet {
                fn from(body: $name) -> Self {
                    Self::$name(body)
                }
            }

            impl TryFrom<Packet> for $name {
                type Error = Packet;
                fn try_from(packet: Packet) -> Result<Self, Packet> {
                    match packet {
                        Packet::$name(body) => Ok(body),
                        other => Err(other),
                    }
                }
            }
        )*

        /// Any packet.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Packet {
            $( $(#[doc = $doc])* $name($name), )*
        }

        impl Packet {
            /// Returns the packet's number.
            pub fn number(&self) -> u16 {
                match self { $( Self::$name(_) => $number, )* }
            }

            /// Returns the packet's name.
            pub fn name(&self) -> &'static str {
                match self { $( Self::$name(_) => stringify!($name), )* }
            }

            /// Appends the number and the fields to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let mut writer = $crate::wire::Writer::new(out);
                writer.u16(self.number());
                match self { $( Self::$name(body) => $crate::wire::table::Body::put(body, &mut writer), )* }
            }

            /// Decodes `bytes`: a number, its fields, and nothing after them.
            pub fn decode(bytes: &[u8]) -> Result<Self, $crate::wire::Malformed> {
                let mut reader = $crate::wire::Reader::new(bytes);
                let packet = match reader.u16()? {
                    $( $number => Self::$name($crate::wire::table::Body::take(&mut reader)?), )*
                    unknown => return Err($crate::wire::Malformed::UnknownPacket(unknown)),
                };
                reader.finish()?;
                Ok(packet)
            }
        }

        /// Every packet, in the order of declaration.
        pub const TABLE: &[$crate::wire::PacketInfo] = &[ $(
            $crate::wire::PacketInfo {
                number: $number,
                name: stringify!($name),
                legacy: $legacy,
                route: $crate::wire::Route::$route,
                docs: &[$($doc),*],
                fields: &[ $( $crate::wire::FieldInfo {
                    name: stringify!($field),
                    type_name: <$ty as $crate::wire::Field>::type_name,
                    docs: &[$($field_doc),*],
                }, )* ],
            },
        )* ];
    };
}

/// Declares an enumeration that is encoded as one byte.
macro_rules! wire_enum {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $( $(#[doc = $variant_doc:literal])* $variant:ident = $value:literal ),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $( $(#[doc = $variant_doc])* $variant = $value, )* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The enumeration's chapter in docs/protocol.md.
            pub const INFO: $crate::wire::EnumInfo = $crate::wire::EnumInfo {
                name: stringify!($name),
                docs: &[$($doc),*],
                variants: &[ $( ($value, stringify!($variant), &[$($variant_doc),*]), )* ],
            };

            /// Returns the value's name, as in docs/protocol.md.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => stringify!($variant), )* }
            }
        }

        impl $crate::wire::Field for $name {
            fn type_name() -> String { stringify!($name).into() }
            fn put(&self, writer: &mut $crate::wire::Writer<'_>) { writer.u8(*self as u8); }
            fn take(reader: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                match reader.u8()? {
                    $( $value => Ok(Self::$variant), )*
                    value => Err($crate::wire::Malformed::UnknownValue { of: stringify!($name), value }),
                }
            }
        }
    };
}

/// Declares a group of fields that packets contain.
macro_rules! wire_struct {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $( $(#[doc = $field_doc:literal])* $field:ident : $ty:ty ),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $( $(#[doc = $field_doc])* pub $field: $ty, )* }

        impl $name {
            /// The group's fields, for docs/protocol.md.
            pub const FIELDS: &'static [$crate::wire::FieldInfo] = &[ $( $crate::wire::FieldInfo {
                name: stringify!($field),
                type_name: <$ty as $crate::wire::Field>::type_name,
                docs: &[$($field_doc),*],
            }, )* ];
        }

        impl $crate::wire::Field for $name {
            fn type_name() -> String { stringify!($name).into() }
            fn put(&self, writer: &mut $crate::wire::Writer<'_>) {
                $( $crate::wire::Field::put(&self.$field, writer); )*
            }
            fn take(reader: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                Ok(Self { $( $field: $crate::wire::Field::take(reader)?, )* })
            }
        }
    };
}

pub(crate) use {packets, wire_enum, wire_struct};
