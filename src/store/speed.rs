//! What the state costs a batch of 1,000 keys, in processor time. Prints figures and asserts nothing:
//! `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test --lib store::speed -- --ignored --nocapture`.

use std::time::Duration;

use crate::key::Key;
use crate::store::testing::{GENERATION, acknowledge_all, acknowledgement, letter, state};
use crate::store::{Acknowledgement, Purpose, Store};

const KEYS: usize = 1_000;
const BATCHES: u32 = 200;

/// The processor time of this thread: other work on the machine does not count. The kernel brings it up to date at its
/// ticks, and whenever it chooses which thread runs.
fn cpu() -> Duration {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn random_keys() -> Vec<Key> {
    (0..KEYS).map(|_| Key::from_encoded(uuid::Uuid::new_v4().to_string())).collect()
}

fn print(what: &str, total: Duration) {
    eprintln!("{what}: {:.3} ms a batch", total.as_secs_f64() * 1e3 / f64::from(BATCHES));
}

fn cycle(store: &Store, what: &str) {
    let (mut recording, mut taking, mut acknowledging) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..BATCHES {
        let keys = random_keys();
        let began = cpu();
        store.record_stale(GENERATION, &keys, 0, 1).unwrap();
        recording += cpu() - began;
        let began = cpu();
        let batch = store.take(GENERATION, KEYS, 1).unwrap().unwrap();
        taking += cpu() - began;
        let began = cpu();
        acknowledge_all(store, &batch, 1);
        acknowledging += cpu() - began;
    }
    print(&format!("{what}: record as rows"), recording);
    print(&format!("{what}: take"), taking);
    print(&format!("{what}: acknowledge"), acknowledging);
}

#[test]
#[ignore = "prints figures, asserts nothing"]
fn figures() {
    let (_dir, store) = state();
    store.record_stale(GENERATION, &random_keys(), 0, 1).unwrap();
    cycle(&store, "empty state");
    for _ in 0..300 {
        store.record_stale(GENERATION, &random_keys(), 0, 1).unwrap();
    }
    cycle(&store, "300,000 stale keys");
    let began = cpu();
    for _ in 0..BATCHES * 100 {
        store.stale_count(GENERATION).unwrap();
    }
    print("100 stale_count", cpu() - began);
    store.begin_full_load(GENERATION, Purpose::First, false, 1).unwrap();
    let applied = random_keys();
    for letters in [0, 1] {
        let mut total = Duration::ZERO;
        for number in 0..BATCHES {
            let began = cpu();
            let batch = store.take_range(GENERATION, Some(applied[number as usize].clone()), 1).unwrap();
            store.next_version(u64::from(number)).unwrap();
            let outcome = Acknowledgement { applied: &applied, ..acknowledgement() };
            store.acknowledge(batch.number, &outcome, 1).unwrap();
            total += cpu() - began;
        }
        print(&format!("a range with {letters} dead letters: take, version, acknowledge"), total);
        let batch = store.take_range(GENERATION, Some(applied[0].clone()), 1).unwrap();
        let outcome = Acknowledgement { refused: &[letter(1, "bad")], ..acknowledgement() };
        store.acknowledge(batch.number, &outcome, 1).unwrap();
    }
}

/// What several pipelines of one process cost each other: the same work alone, by three threads that share the state,
/// and by three that each opened it.
#[test]
#[ignore = "prints figures, asserts nothing"]
fn several_pipelines() {
    let work = |store: &Store, generation: &str| {
        let mut longest = Duration::ZERO;
        for _ in 0..BATCHES {
            let keys = random_keys();
            let began = std::time::Instant::now();
            store.record_stale(generation, &keys, 0, 1).unwrap();
            let batch = store.take(generation, KEYS, 1).unwrap().unwrap();
            acknowledge_all(store, &batch, 1);
            longest = longest.max(began.elapsed());
        }
        longest
    };
    let measured = |what: &str, stores: &[&Store]| {
        let began = std::time::Instant::now();
        let longest = std::thread::scope(|scope| {
            let threads: Vec<_> = stores
                .iter()
                .enumerate()
                .map(|(place, store)| scope.spawn(move || work(store, &format!("index-{place}"))))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).max()
        });
        let each = began.elapsed().as_secs_f64() * 1e3 / f64::from(BATCHES) / stores.len() as f64;
        eprintln!("{what}: {each:.3} ms a batch, the longest {:.1} ms", longest.unwrap().as_secs_f64() * 1e3);
    };
    let (dir, shared) = state();
    measured("one alone", &[&shared]);
    measured("three that share the state", &[&shared, &shared, &shared]);
    let others = [(); 2].map(|()| Store::open(dir.path()).unwrap());
    measured("three with a connection each", &[&shared, &others[0], &others[1]]);
}
