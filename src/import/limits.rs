//! What a bundle may come to: somebody else made it, and what it unpacks to stands nowhere.

/// The most that is read and kept of a bundle. Beyond it the answer is a partial one that says so.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files.
    pub entries: usize,
    /// Folders within folders.
    pub depth: usize,
    /// Bytes in all, unpacked.
    pub bytes: u64,
    /// How many times as large as it was packed a bundle may become. JSON and logs become ten to fifty times as large.
    pub ratio: u64,
    /// Bytes up to which nobody asks for the ratio: what is small may well have been packed that well.
    pub small: u64,
    /// Bytes of the text of one object. Kubernetes keeps 1.5 MiB of one.
    pub object: usize,
    /// JSON values of one object: each takes some dozen bytes of memory, however short its text is.
    pub values: usize,
    /// How deep the fields of one object lie within each other. JSON is read to a depth of 128, also where it is kept as a part of something.
    pub nesting: usize,
    /// JSON values of all objects that are kept.
    pub kept: usize,
    /// Bytes of logs that are kept in all.
    pub logs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 200_000,
            depth: 40,
            bytes: 2 << 30,
            ratio: 400,
            small: 32 << 20,
            object: 16 << 20,
            values: 2 << 20,
            nesting: 100,
            kept: 6 << 20,
            logs: 32 << 20,
        }
    }
}
