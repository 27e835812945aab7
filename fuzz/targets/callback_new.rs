//! Callback bodies of the new standard.
#![no_main]

mod callback;
mod json;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

use crate::callback::{Dialect, WORDS, check};

const DIALECT: Dialect = Dialect {
    id: "id",
    status: "status",
};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    json::mutate(data, size, max_size, seed, &WORDS)
});

fuzz_target!(|body: &[u8]| check(body, &DIALECT));
