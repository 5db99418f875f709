//! Remembers what was found out of words that stand everywhere. The objects of a cluster have the same few hundred fields and the same few
//! thousand short values; to find out what a name holds, or that a text holds no credential, takes many times as long as to look it up.

use std::collections::{HashMap, HashSet};

use super::credential::{Named, named};

/// Longer texts are hardly ever the same.
const LONGEST: usize = 64;
/// The most that is remembered of each, so that what others wrote takes no more than a few megabytes.
const MOST: usize = 16 << 10;

/// What was found out so far.
#[derive(Default)]
pub struct Remembered {
    names: HashMap<String, Option<Named>>,
    clean: HashSet<String>,
}

impl Remembered {
    /// The same as [`named`].
    pub fn named(&mut self, name: &str) -> Option<Named> {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        let found = named(name);
        if name.len() <= LONGEST && self.names.len() < MOST {
            self.names.insert(name.to_owned(), found);
        }
        found
    }

    /// Whether it is known that the text holds no credential.
    pub fn is_clean(&self, text: &str) -> bool {
        text.len() <= LONGEST && self.clean.contains(text)
    }

    /// The text was found to hold no credential, which depends on nothing but the text.
    pub fn clean(&mut self, text: &str) {
        if text.len() <= LONGEST && self.clean.len() < MOST {
            self.clean.insert(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_found() {
        let mut remembered = Remembered::default();
        for name in ["password", "replicas", "imagePullSecret", "password", "replicas", "imagePullSecret"] {
            assert_eq!(remembered.named(name), named(name), "{name}");
        }
        assert!(!remembered.is_clean("info"));
        remembered.clean("info");
        assert!(remembered.is_clean("info") && !remembered.is_clean("debug"));
    }

    #[test]
    fn no_more_is_remembered_than_has_room() {
        let mut remembered = Remembered::default();
        for n in 0..MOST + 10 {
            remembered.clean(&n.to_string());
            remembered.named(&n.to_string());
        }
        assert_eq!((remembered.clean.len(), remembered.names.len()), (MOST, MOST));
        remembered.clean(&"x".repeat(LONGEST + 1));
        assert!(!remembered.is_clean(&"x".repeat(LONGEST + 1)));
    }
}
