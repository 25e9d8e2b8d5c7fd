//! A command line as a shell takes it back.

use std::fmt;

/// The words of a command.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// A program and its subcommand.
    pub(super) fn new(program: &str, subcommand: &str) -> Words {
        Words(vec![program.to_owned(), subcommand.to_owned()])
    }

    /// Adds `--name value`.
    pub(super) fn flag(&mut self, name: &str, value: &str) {
        self.0.extend([format!("--{name}"), value.to_owned()]);
    }

    /// Adds a word.
    pub(super) fn word(&mut self, word: &str) {
        self.0.push(word.to_owned());
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|word| quote(word)).collect();
        f.write_str(&words.join(" "))
    }
}

/// A word as a shell takes it back.
pub(super) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_the_shell() {
        assert_eq!(quote("--seed"), "--seed");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote(""), "''");
    }
}
