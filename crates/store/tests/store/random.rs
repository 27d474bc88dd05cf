//! Rows that tests make, and dice.

use bytes::Bytes;
use portcullis_store::{
    Engine, Operation,
    embedded::{Embedded, Options},
};

use crate::vfs::SimulatedDisk;

/// splitmix64: the same numbers for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// The key of a row.
pub fn key(number: usize) -> String {
    format!("/registry/configmaps/namespace-{}/name-{number:06}", number % 7)
}

/// Its value; no two are alike.
pub fn value(number: usize) -> Bytes {
    format!("{number:06}").repeat(10 + number % 100).into()
}

/// The file of a store that has so many of them, in their order: made where a sync costs nothing.
pub async fn store_file(rows: usize) -> Vec<u8> {
    let disk = SimulatedDisk::new();
    let engine = Embedded::open(Options { disk: disk.clone(), ..Options::new(disk.store()) }).unwrap();
    for number in 0..rows {
        engine.commit(Operation::create(key(number), value(number)).into()).await.unwrap();
    }
    engine.close().await;
    drop(engine);
    disk.live().file("store.db").unwrap().clone()
}
