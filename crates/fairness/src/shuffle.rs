//! Deals hands of queues: a flow may wait in a few of a level's queues only, so a flow that floods fills its own hand and
//! leaves almost every other flow a queue that is not full (shuffle sharding, KEP-1040).

/// Queues in a hand at most. Upstream's validation lets a hand have 60 bits of choice, which 20 of 20 would exceed.
pub(crate) const HAND_MAX: u32 = 20;

/// Deals `hand` different ones of `deck` queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dealer {
    deck: u32,
    hand: u32,
}

impl Dealer {
    /// A hand is never empty and never larger than the deck; none where there is no deck.
    pub(crate) fn new(deck: u32, hand: u32) -> Option<Self> {
        (deck > 0).then(|| Self { deck, hand: hand.clamp(1, deck.min(HAND_MAX)) })
    }

    /// Writes the hand of a flow, in rising order. The same hash always gets the same hand.
    pub(crate) fn deal(&self, hash: u64, hand: &mut Vec<u32>) {
        hand.clear();
        let mut rest = hash;
        for dealt in 0..self.hand {
            let left = u64::from((self.deck - dealt).max(1));
            let mut card = u32::try_from(rest % left).unwrap_or(0);
            rest /= left;
            // The card is counted among those that are left: each lower one that is gone moves it up by one.
            let mut at = 0;
            for gone in hand.iter() {
                if card < *gone {
                    break;
                }
                card += 1;
                at += 1;
            }
            hand.insert(at, card);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn dealt(deck: u32, hand: u32, hash: u64) -> Vec<u32> {
        let mut cards = Vec::new();
        if let Some(dealer) = Dealer::new(deck, hand) {
            dealer.deal(hash, &mut cards);
        }
        cards
    }

    #[test]
    fn a_hand_is_different_queues_of_the_deck() {
        for (deck, hand, len) in [(64, 6, 6), (1, 1, 1), (3, 8, 3), (128, 0, 1), (4096, 500, 20), (0, 4, 0)] {
            for seed in 0..2_000_u64 {
                let cards = dealt(deck, hand, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                assert_eq!(cards.len(), len, "deck {deck} hand {hand} seed {seed}");
                assert!(cards.windows(2).all(|two| two.first() < two.last()), "{cards:?}");
                assert!(cards.iter().all(|card| *card < deck), "{cards:?}");
            }
        }
    }

    #[test]
    fn every_queue_is_dealt_about_as_often() {
        let mut counts = BTreeMap::new();
        for seed in 0..64_000_u64 {
            let mut hash = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            for card in dealt(64, 6, hash ^ (hash >> 32)) {
                *counts.entry(card).or_insert(0_u32) += 1;
            }
        }
        assert_eq!(counts.len(), 64);
        for (card, count) in counts {
            assert!((5_000..7_000).contains(&count), "queue {card} was dealt {count} times of 6,000 expected");
        }
    }
}
