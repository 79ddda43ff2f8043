//! Choices that a target takes from its input.

/// The rest of an input. Beyond its end every number is 0 and every piece empty.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes bytes, as many as there are.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, width: usize) -> u64 {
        let taken = self.bytes(width);
        taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.number(8)
    }

    /// Takes a number below `end`, which is at least 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.u16()) % end
    }

    /// Takes a length of two bytes, and as many bytes as it says or as there are.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.bytes(length.into())
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// Changes a real message by what is left of the input: bits, cuts, bytes put in.
    pub(crate) fn damage(&mut self, message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        while !self.is_empty() {
            let operation = self.u8();
            let at = self.below(message.len() + 1);
            match operation % 4 {
                0 | 1 => {
                    let mask = self.u8();
                    if let Some(byte) = message.get_mut(at) {
                        *byte ^= mask;
                    }
                }
                2 => message.truncate(at),
                _ => {
                    let extra = self.u8();
                    message.insert(at, extra);
                }
            }
        }
        message
    }
}
