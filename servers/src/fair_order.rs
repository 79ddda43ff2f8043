//! Requests in a fair order: addresses take turns, and of one address the session that has tried
//! least goes first, then the request that came first.
//!
//! The number of requests bounds the memory: an address without requests is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The network of a client, as in [`Origin`](throng_core::wire::packets::Origin).
pub(crate) type Address = [u8; 16];

/// Requests of type `T` in order. The caller that takes the next one ends the turn of its address,
/// unless it is not worth one.
#[derive(Debug)]
pub(crate) struct FairOrder<T> {
    /// Only addresses with requests.
    backlogs: HashMap<Address, Backlog<T>>,
    /// Addresses by the number of their next turn.
    turns: BTreeMap<u64, Address>,
    /// Addresses by their number of requests.
    sizes: BTreeSet<(usize, Address)>,
    /// The latest number of a turn or a request.
    last: u64,
    len: usize,
}

/// Requests of one address.
#[derive(Debug)]
struct Backlog<T> {
    turn: u64,
    /// By the attempts of their session, then by arrival.
    requests: BTreeMap<(u32, u64), T>,
}

/// The place of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    address: Address,
    /// The turn in which the request was taken; at first, that of its arrival.
    turn: u64,
    attempts: u32,
    arrival: u64,
}

impl<T> FairOrder<T> {
    /// Creates an order without requests.
    pub(crate) fn new() -> Self {
        Self { backlogs: HashMap::new(), turns: BTreeMap::new(), sizes: BTreeSet::new(), last: 0, len: 0 }
    }

    /// Adds a request of an address, whose session has made `attempts` before.
    pub(crate) fn insert(&mut self, address: Address, attempts: u32, request: T) -> Place {
        self.last += 1;
        let place = Place { address, turn: self.last, attempts, arrival: self.last };
        self.put(place, request);
        place
    }

    /// Puts a request back that was taken: before those that came after it, and with the turn that
    /// it had.
    pub(crate) fn put_back(&mut self, place: Place, request: T) {
        self.put(place, request);
        self.set_turn(place.address, |turn| turn.min(place.turn));
    }

    fn put(&mut self, place: Place, request: T) {
        let Place { address, turn, attempts, arrival } = place;
        let turns = &mut self.turns;
        let backlog = self.backlogs.entry(address).or_insert_with(|| {
            turns.insert(turn, address);
            Backlog { turn, requests: BTreeMap::new() }
        });
        self.sizes.remove(&(backlog.requests.len(), address));
        backlog.requests.insert((attempts, arrival), request);
        self.sizes.insert((backlog.requests.len(), address));
        self.len += 1;
    }

    /// Returns the first request of the address whose turn it is.
    pub(crate) fn first(&self) -> Option<&T> {
        let backlog = self.backlogs.get(self.turns.values().next()?)?;
        backlog.requests.values().next()
    }

    /// Takes the first request of the address whose turn it is.
    pub(crate) fn pop_first(&mut self) -> Option<(Place, T)> {
        let (turn, address) = self.turns.first_key_value()?;
        let (turn, address) = (*turn, *address);
        let ((attempts, arrival), request) = self.take(&address, BTreeMap::pop_first)?;
        Some((Place { address, turn, attempts, arrival }, request))
    }

    /// Takes the last request of an address.
    pub(crate) fn pop_last(&mut self, address: &Address) -> Option<T> {
        self.take(address, BTreeMap::pop_last).map(|(_, request)| request)
    }

    /// Takes the request with this place.
    pub(crate) fn remove(&mut self, place: &Place) -> Option<T> {
        self.take(&place.address, |requests| requests.remove(&(place.attempts, place.arrival)))
    }

    fn take<R>(
        &mut self,
        address: &Address,
        take: impl FnOnce(&mut BTreeMap<(u32, u64), T>) -> Option<R>,
    ) -> Option<R> {
        let backlog = self.backlogs.get_mut(address)?;
        let size = backlog.requests.len();
        let taken = take(&mut backlog.requests)?;
        self.len -= 1;
        self.sizes.remove(&(size, *address));
        if size > 1 {
            self.sizes.insert((size - 1, *address));
        } else {
            self.turns.remove(&backlog.turn);
            self.backlogs.remove(address);
        }
        Some(taken)
    }

    /// Ends the turn of an address: the others come first now.
    pub(crate) fn end_turn(&mut self, address: &Address) {
        self.last += 1;
        let last = self.last;
        self.set_turn(*address, |_| last);
    }

    fn set_turn(&mut self, address: Address, change: impl FnOnce(u64) -> u64) {
        let Some(backlog) = self.backlogs.get_mut(&address) else { return };
        self.turns.remove(&backlog.turn);
        backlog.turn = change(backlog.turn);
        self.turns.insert(backlog.turn, address);
    }

    /// Returns the address with the most requests: `newcomer`, if no other has more.
    pub(crate) fn largest(&self, newcomer: Address) -> Address {
        match self.sizes.last() {
            Some((most, largest)) if !self.sizes.contains(&(*most, newcomer)) => *largest,
            _ => newcomer,
        }
    }

    /// Returns the last request of an address, and the number of its requests.
    pub(crate) fn last_of(&self, address: &Address) -> Option<(&T, usize)> {
        let requests = &self.backlogs.get(address)?.requests;
        Some((requests.last_key_value()?.1, requests.len()))
    }

    /// Returns the number of requests.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of addresses with requests.
    pub(crate) fn addresses(&self) -> usize {
        self.backlogs.len()
    }

    /// Returns all requests in the order in which they will be taken, if none comes.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &T> {
        let backlogs = self.turns.values().filter_map(|address| self.backlogs.get(address));
        let mut round: Vec<_> = backlogs.map(|backlog| backlog.requests.values()).collect();
        let mut at = 0;
        std::iter::from_fn(move || {
            if at == round.len() {
                round.retain(|requests| requests.len() > 0);
                at = 0;
            }
            let requests = round.get_mut(at)?;
            at += 1;
            requests.next()
        })
    }
}

impl Place {
    /// Returns the address of the request.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes everything, in turns.
    fn drain(order: &mut FairOrder<u32>) -> Vec<u32> {
        let mut taken = Vec::new();
        while let Some((place, request)) = order.pop_first() {
            order.end_turn(place.address());
            taken.push(request);
        }
        taken
    }

    #[test]
    fn a_request_that_is_put_back_is_the_next_one_again() {
        let mut order = FairOrder::new();
        for (request, address, attempts) in [(0, 1, 0), (1, 2, 0), (2, 1, 0), (3, 2, 0), (4, 1, 0)] {
            order.insert([address; 16], attempts, request);
        }
        let (mut taken, mut places) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (place, request) = order.pop_first().unwrap();
            order.end_turn(place.address());
            taken.push(request);
            places.push(place);
        }
        assert_eq!(taken, [0, 1, 2]);
        // In any order.
        for at in [1, 2, 0] {
            order.put_back(places[at], taken[at]);
        }
        assert_eq!(drain(&mut order), [0, 1, 2, 3, 4]);
    }

    proptest! {
        /// Whatever has come, left, been taken and put back.
        #[test]
        fn the_announced_order_is_the_one_in_which_requests_are_taken(
            steps in prop::collection::vec((0..4_u8, 0..3_u32, 0..6_u8), 1..100),
        ) {
            let mut order = FairOrder::new();
            let (mut inside, mut taken) = (Vec::new(), Vec::new());
            for (request, (address, attempts, kind)) in (0..).zip(steps) {
                match kind {
                    0..=2 => inside.push((order.insert([address; 16], attempts, request), request)),
                    3 => {
                        if let Some((place, request)) = order.pop_first() {
                            order.end_turn(place.address());
                            inside.retain(|(_, known)| *known != request);
                            taken.push((place, request));
                        }
                    }
                    4 => {
                        if let Some((place, request)) = taken.pop() {
                            order.put_back(place, request);
                            inside.push((place, request));
                        }
                    }
                    _ => {
                        if let Some((place, request)) = inside.pop() {
                            prop_assert_eq!(order.remove(&place), Some(request));
                        }
                    }
                }
                prop_assert_eq!(order.len(), inside.len());
            }
            let announced: Vec<u32> = order.in_order().copied().collect();
            prop_assert_eq!(&drain(&mut order), &announced);
            prop_assert_eq!(announced.len(), inside.len());
            prop_assert_eq!(order.addresses(), 0);
        }
    }
}
