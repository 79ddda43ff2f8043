//! The ledger: which nodes take part, and which batches count.
//!
//! A batch counts if its node takes part and its number follows that of the node's latest batch. So
//! what the bus repeats, or carries out of order, is void everywhere, and a node may publish again
//! whatever it does not know to have arrived.

use std::collections::BTreeMap;

use throng_core::limits::CHAT_NODES_MAX;
use throng_core::wire::{Malformed, Reader, Writer};

use super::batch::{Batch, Body, NodeInfo};

/// A node that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number, which no other node of the epoch has had. The longest present has the lowest.
    pub id: u32,
    /// Number of its latest batch.
    pub counter: u64,
    /// Its description.
    pub info: NodeInfo,
}

/// The nodes that take part, as a fold over batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// By the numbers that they drew at their starts.
    nodes: BTreeMap<u64, Node>,
    /// Nodes that have taken part.
    last_id: u32,
    /// Place of the latest node's death. An older wish to take part may be a repeated one.
    last_death: u64,
}

/// Meaning of a batch in its place.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The batch does not count.
    Void,
    /// Its node takes part from now on.
    Up {
        /// Number of the node.
        node: u32,
    },
    /// A node takes part no more.
    Dead {
        /// The number that it drew.
        instance: u64,
        /// The node as it was.
        node: Node,
    },
    /// The node's users have done something.
    Facts {
        /// Number of the node.
        node: u32,
        /// Their facts, encoded.
        facts: Vec<u8>,
    },
    /// The batch counts, and changes nothing: the node that it calls dead is not, or no more.
    Nothing,
}

impl Ledger {
    /// Reads the next batch.
    pub fn read(&mut self, batch: Batch) -> Verdict {
        let Batch { sequence, instance, counter, body } = batch;
        let Some(node) = self.nodes.get_mut(&instance) else {
            let Body::Up { info, read } = body else { return Verdict::Void };
            if counter != 1 || read < self.last_death || self.nodes.len() >= CHAT_NODES_MAX {
                return Verdict::Void;
            }
            self.last_id += 1;
            self.nodes.insert(instance, Node { id: self.last_id, counter, info });
            return Verdict::Up { node: self.last_id };
        };
        if counter != node.counter + 1 {
            return Verdict::Void;
        }
        node.counter = counter;
        match body {
            Body::Up { .. } => Verdict::Nothing,
            Body::Facts(facts) => Verdict::Facts { node: node.id, facts },
            Body::Dead { instance, counter } => {
                if self.nodes.get(&instance).is_none_or(|node| node.counter != counter) {
                    return Verdict::Nothing;
                }
                let Some(node) = self.nodes.remove(&instance) else { return Verdict::Nothing };
                self.last_death = sequence;
                Verdict::Dead { instance, node }
            }
        }
    }

    /// Returns the node that drew this number, if it takes part.
    pub fn get(&self, instance: u64) -> Option<&Node> {
        self.nodes.get(&instance)
    }

    /// Yields the nodes with the numbers that they drew.
    pub fn nodes(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.nodes.iter().map(|(instance, node)| (*instance, node))
    }

    /// Returns the lowest number of a node.
    pub fn lowest(&self) -> Option<u32> {
        self.nodes.values().map(|node| node.id).min()
    }

    /// Appends the state.
    pub fn put(&self, writer: &mut Writer<'_>) {
        writer.u32(self.last_id);
        writer.u64(self.last_death);
        writer.u32(self.nodes.len() as u32);
        for (instance, Node { id, counter, info }) in &self.nodes {
            writer.u64(*instance);
            writer.u32(*id);
            writer.u64(*counter);
            info.put(writer);
        }
    }

    /// Takes a state.
    pub fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut ledger = Self { last_id: reader.u32()?, last_death: reader.u64()?, nodes: BTreeMap::new() };
        for _ in 0..reader.u32()? {
            let instance = reader.u64()?;
            let (id, counter, info) = (reader.u32()?, reader.u64()?, NodeInfo::take(reader)?);
            ledger.nodes.insert(instance, Node { id, counter, info });
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use throng_core::wire::Line;

    use super::*;

    fn up(read: u64) -> Body {
        let (name, client_address) = (Line::truncated("n"), Line::truncated("a:1"));
        Body::Up { info: NodeInfo { name, client_address, client_key: [0; 32] }, read }
    }

    fn facts(text: &str) -> Body {
        Body::Facts(text.as_bytes().to_vec())
    }

    #[derive(Default)]
    struct Order {
        ledger: Ledger,
        sequence: u64,
    }

    impl Order {
        fn read(&mut self, instance: u64, counter: u64, body: Body) -> Verdict {
            self.sequence += 1;
            self.ledger.read(Batch { sequence: self.sequence, instance, counter, body })
        }
    }

    #[test]
    fn each_batch_counts_once_and_in_its_turn() {
        let mut order = Order::default();
        assert_eq!(order.read(7, 1, facts("x")), Verdict::Void, "does not take part yet");
        assert_eq!(order.read(7, 1, up(0)), Verdict::Up { node: 1 });
        assert_eq!(order.read(7, 1, up(0)), Verdict::Void, "repeated");
        assert_eq!(order.read(7, 3, facts("b")), Verdict::Void, "before its turn");
        let said = |text: &str| Verdict::Facts { node: 1, facts: text.as_bytes().to_vec() };
        assert_eq!(order.read(7, 2, facts("a")), said("a"));
        assert_eq!(order.read(7, 2, facts("a")), Verdict::Void);
        assert_eq!(order.read(7, 3, facts("b")), said("b"));
        assert_eq!(order.read(8, 2, up(0)), Verdict::Void, "its first batch comes first");
    }

    #[test]
    fn a_silent_node_dies_once_and_does_not_come_back() {
        let mut order = Order::default();
        order.read(7, 1, up(0));
        order.read(8, 1, up(0));
        order.read(7, 2, facts("a"));
        let dead = |counter| Body::Dead { instance: 7, counter };
        assert_eq!(order.read(8, 2, dead(1)), Verdict::Nothing, "it has said something since");
        assert!(order.ledger.get(7).is_some());
        let Verdict::Dead { instance: 7, node } = order.read(8, 3, dead(2)) else { panic!("not dead") };
        assert_eq!((node.id, node.counter), (1, 2));
        assert_eq!(order.read(8, 4, dead(2)), Verdict::Nothing, "once");
        assert_eq!(order.read(7, 3, facts("b")), Verdict::Void);
        assert_eq!(order.read(7, 1, up(0)), Verdict::Void, "an old wish, repeated");
        let read = order.sequence;
        assert_eq!(order.read(9, 1, up(read)), Verdict::Up { node: 3 });
        assert_eq!(order.ledger.lowest(), Some(2));

        let mut encoded = Vec::new();
        order.ledger.put(&mut Writer::new(&mut encoded));
        let mut reader = Reader::new(&encoded);
        assert_eq!(Ledger::take(&mut reader), Ok(order.ledger));
        assert_eq!(reader.remaining(), 0);
    }
}
