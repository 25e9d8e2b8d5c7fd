//! Bytes of an input, one at a time, with the line they stand in.

use std::io::{self, Read};

const CHUNK_BYTES: usize = 1 << 16;

/// Reads an input in chunks and hands out single bytes.
#[derive(Debug)]
pub(super) struct Scan<R> {
    input: R,
    chunk: Vec<u8>,
    at: usize,
    end: usize,
    line: u64,
    /// Bytes handed out so far.
    passed: u64,
}

impl<R: Read> Scan<R> {
    pub(super) fn new(input: R) -> Scan<R> {
        Scan { input, chunk: vec![0; CHUNK_BYTES], at: 0, end: 0, line: 1, passed: 0 }
    }

    /// The line of the next byte, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// How many bytes were handed out.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// The next byte, which stays; `None` at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.at == self.end && !self.refill()? {
            return Ok(None);
        }
        Ok(Some(self.chunk[self.at]))
    }

    /// The next byte, which is gone then; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> io::Result<Option<u8>> {
        let byte = self.peek()?;
        if byte.is_some() {
            self.at += 1;
            self.passed += 1;
            self.line += u64::from(byte == Some(b'\n'));
        }
        Ok(byte)
    }

    fn refill(&mut self) -> io::Result<bool> {
        loop {
            match self.input.read(&mut self.chunk) {
                Ok(read) => {
                    (self.at, self.end) = (0, read);
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
