#![cfg(feature = "harness")]
