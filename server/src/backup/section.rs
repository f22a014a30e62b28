//! The sections of a backup's body: pieces with their lengths, ended by a zero length. Neither end holds more than a piece.

use std::io::{self, Read, Write};

/// Longest piece.
pub(super) const PIECE_BYTES_MAX: usize = 1 << 20;

/// Writes one section; [`SectionWriter::finish`] must end it.
pub(super) struct SectionWriter<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> SectionWriter<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, buffer: Vec::with_capacity(PIECE_BYTES_MAX) }
    }

    pub(super) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = PIECE_BYTES_MAX - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == PIECE_BYTES_MAX {
                self.piece()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.piece()?;
        }
        self.out.write_all(&0_u32.to_be_bytes())
    }

    fn piece(&mut self) -> io::Result<()> {
        let length = u32::try_from(self.buffer.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads one section, and nothing after its end.
pub(super) struct SectionReader<'a> {
    input: &'a mut dyn Read,
    /// Bytes of the current piece that have not been read.
    left: usize,
    ended: bool,
}

impl<'a> SectionReader<'a> {
    pub(super) fn new(input: &'a mut dyn Read) -> Self {
        Self { input, left: 0, ended: false }
    }

    /// Reads what is left and throws it away.
    pub(super) fn skip(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl Read for SectionReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended && !out.is_empty() {
            let mut length = [0; 4];
            self.input.read_exact(&mut length)?;
            self.left = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
            self.ended = self.left == 0;
            if self.left > PIECE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a piece that is too long"));
            }
        }
        let most = self.left.min(out.len());
        let room = out.get_mut(..most).unwrap_or_default();
        let read = self.input.read(room)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut section = SectionWriter::new(&mut out);
        bytes.chunks(7_777).for_each(|chunk| section.take(chunk).expect("writes"));
        section.finish().expect("ends");
        out
    }

    #[test]
    fn a_section_gives_back_what_it_took_and_stops_at_its_end() {
        for length in [0, 1, PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, 2 * PIECE_BYTES_MAX + 1] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut file = written(&bytes);
            file.extend_from_slice(b"next");
            let mut input = file.as_slice();
            let mut read = Vec::new();
            SectionReader::new(&mut input).read_to_end(&mut read).expect("reads");
            assert!(read == bytes, "{length} bytes");
            assert_eq!(input, b"next");
        }
    }

    #[test]
    fn a_huge_length_and_a_cut_are_refused() {
        let huge = [&u32::to_be_bytes(1 << 21)[..], &vec![7; 1 << 21], &[0; 4]].concat();
        let refused = SectionReader::new(&mut huge.as_slice()).skip().expect_err("is too long");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        let whole = written(&[7; 100]);
        for length in 0..whole.len() {
            assert!(SectionReader::new(&mut &whole[..length]).skip().is_err(), "cut at {length}");
        }
    }
}
