//! Batches: the unit in which nodes publish.

use throng_core::wire::packets::Address;
use throng_core::wire::{Field, Line, Malformed, Reader, Writer};

/// The node's own description, which all others keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name in the configuration, for operators.
    pub name: Line<64>,
    /// Address for clients.
    pub client_address: Address,
    /// Public key for clients.
    pub client_key: [u8; 32],
}

/// Content of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The node wants to take part. It has read the order up to `read`.
    Up {
        /// The node.
        info: NodeInfo,
        /// Sequence of the last batch that it has read.
        read: u64,
    },
    /// A node has been silent since its batch with this counter, and takes part no more.
    Dead {
        /// The node.
        instance: u64,
        /// Number of its latest batch.
        counter: u64,
    },
    /// Facts of the node's users, encoded. Without any the node says that it is alive.
    Facts(Vec<u8>),
}

/// A batch in the order of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Place in the order, from the bus. Places that hold no batch are left out.
    pub sequence: u64,
    /// The node, by the number that it drew at its start.
    pub instance: u64,
    /// Number of the batch among those of the node, from 1.
    pub counter: u64,
    /// The content.
    pub body: Body,
}

impl NodeInfo {
    pub(super) fn put(&self, writer: &mut Writer<'_>) {
        self.name.put(writer);
        self.client_address.put(writer);
        self.client_key.put(writer);
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: Field::take(reader)?,
            client_address: Field::take(reader)?,
            client_key: Field::take(reader)?,
        })
    }
}

impl Body {
    /// Encodes the content.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        match self {
            Self::Up { info, read } => {
                writer.u8(0);
                writer.u64(*read);
                info.put(&mut writer);
            }
            Self::Dead { instance, counter } => {
                writer.u8(1);
                writer.u64(*instance);
                writer.u64(*counter);
            }
            Self::Facts(facts) => {
                writer.u8(2);
                writer.bytes(facts);
            }
        }
        out
    }

    /// Decodes a content.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let body = match reader.u8()? {
            0 => {
                let read = reader.u64()?;
                Self::Up { info: NodeInfo::take(&mut reader)?, read }
            }
            1 => Self::Dead { instance: reader.u64()?, counter: reader.u64()? },
            2 => Self::Facts(reader.bytes(reader.remaining())?.to_vec()),
            value => return Err(Malformed::UnknownValue { of: "batch", value }),
        };
        reader.finish()?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_survive_their_encoding() {
        let info = NodeInfo {
            name: Line::truncated("chat-1"),
            client_address: Line::truncated("10.0.0.1:9200"),
            client_key: [7; 32],
        };
        for body in [
            Body::Up { info, read: 9 },
            Body::Dead { instance: 1, counter: u64::MAX },
            Body::Facts(vec![]),
            Body::Facts(vec![1, 2, 3]),
        ] {
            let encoded = body.encode();
            assert_eq!(Body::decode(&encoded), Ok(body.clone()));
            if !matches!(body, Body::Facts(_)) {
                assert!(Body::decode(&encoded[..encoded.len() - 1]).is_err());
                assert!(Body::decode(&[&encoded[..], &[0]].concat()).is_err());
            }
        }
        assert!(Body::decode(&[]).is_err() && Body::decode(&[3]).is_err());
    }
}
