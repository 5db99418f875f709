//! What was noted, whatever it is: none makes rekindle panic.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|data: &[u8]| rekindle_fuzz::diagnosed(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { rekindle_fuzz::change_recording(data, size, max_size, seed) });
