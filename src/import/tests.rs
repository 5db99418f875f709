//! One story in every format, and what is wrong with bundles. All of it is made here; nothing stands in a file.

mod bad_input;
mod formats;
mod story;
