//! Makes `:authority` of C-core gRPC clients (grpcio, and py-spiffe with it) readable for our HTTP/2 library.
//!
//! On a unix socket those clients send the percent-encoded path, `run%2Fchancery%2Fagent.sock`. RFC 3986 §3.2.2 allows
//! that; the `http` crate refuses it and the stream is reset before any service sees it. Nothing here reads the
//! authority, so each `%` in it becomes `-`: a change of content, never of length. Only HPACK literals that are not
//! Huffman-coded are touched, which is how those clients write it; all else passes as it came.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The client connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
/// We never allow larger frames (RFC 9113 §6.5.2); a larger one is passed on for the library to refuse.
const FRAME_BYTES_MAX: usize = 16_384;
const HEADERS: u8 = 0x1;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;
/// HPACK's static table (RFC 7541 appendix A).
const AUTHORITY_INDEX: usize = 1;
const AUTHORITY: &[u8] = b":authority";

/// A connection whose HEADERS frames are mended on the way in.
#[derive(Debug)]
pub(crate) struct MendAuthority<S> {
    stream: S,
    /// Read and not yet handed on. The first `mended` bytes are ready.
    buffer: Vec<u8>,
    mended: usize,
    /// Bytes that pass as they are before the next frame header.
    pass: usize,
    ended: bool,
}

impl<S> MendAuthority<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), mended: 0, pass: PREFACE_BYTES, ended: false }
    }

    /// Makes as much of the buffer ready as is complete.
    fn mend(&mut self) {
        loop {
            let waiting = self.buffer.len() - self.mended;
            let passing = self.pass.min(waiting);
            self.mended += passing;
            self.pass -= passing;
            if self.pass > 0 {
                return;
            }
            let Some(frame) = self.buffer.get_mut(self.mended..) else { return };
            let Some(&[a, b, c, kind, flags, ..]) = frame.first_chunk::<FRAME_HEADER_BYTES>() else { break };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != HEADERS || length > FRAME_BYTES_MAX {
                self.pass = FRAME_HEADER_BYTES + length;
                continue;
            }
            let Some(payload) = frame.get_mut(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length) else { break };
            mend_payload(payload, flags);
            self.mended += FRAME_HEADER_BYTES + length;
        }
        // What is cut off at the end of the connection is the library's to complain about.
        if self.ended {
            self.mended = self.buffer.len();
        }
    }
}

/// RFC 9113 §6.2: padding length and priority come before the field block.
fn mend_payload(payload: &mut [u8], flags: u8) {
    let padded = usize::from(flags & FLAG_PADDED != 0);
    let priority = if flags & FLAG_PRIORITY != 0 { 5 } else { 0 };
    let padding = if padded == 1 { payload.first().copied().map_or(0, usize::from) } else { 0 };
    let end = payload.len().saturating_sub(padding);
    if let Some(block) = payload.get_mut(padded + priority..end) {
        // A block that cannot be walked is left for the library to refuse.
        let _ = mend_block(block);
    }
}

/// Walks an HPACK block (RFC 7541 §6): shapes only, no table is needed to find where each field ends.
fn mend_block(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let prefix_bits = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let (index, after) = integer(block, at, prefix_bits)?;
        at = after;
        if prefix_bits == 7 || prefix_bits == 5 {
            continue; // an indexed field or a table size: no strings follow
        }
        let mut is_authority = index == AUTHORITY_INDEX;
        if index == 0 {
            let name = string(block, at)?;
            at = name.end;
            is_authority = !name.huffman && block.get(name.start..name.end)? == AUTHORITY;
        }
        let value = string(block, at)?;
        at = value.end;
        if is_authority && !value.huffman {
            block
                .get_mut(value.start..value.end)?
                .iter_mut()
                .filter(|byte| **byte == b'%')
                .for_each(|byte| *byte = b'-');
        }
    }
    Some(())
}

struct Text {
    huffman: bool,
    start: usize,
    end: usize,
}

/// RFC 7541 §5.2.
fn string(block: &[u8], at: usize) -> Option<Text> {
    let huffman = block.get(at)? & 0x80 != 0;
    let (length, start) = integer(block, at, 7)?;
    let end = start.checked_add(length)?;
    (end <= block.len()).then_some(Text { huffman, start, end })
}

/// RFC 7541 §5.1: the value and where it ends.
fn integer(block: &[u8], at: usize, prefix_bits: u32) -> Option<(usize, usize)> {
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*block.get(at)?) & mask;
    let mut next = at + 1;
    if value < mask {
        return Some((value, next));
    }
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(next)?;
        next += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, next));
        }
    }
    None
}

impl<S: AsyncRead + Unpin> AsyncRead for MendAuthority<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.mended == 0 && !this.ended {
            let mut bytes = [0; 4_096];
            let mut read = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            this.ended = read.filled().is_empty();
            this.buffer.extend_from_slice(read.filled());
            this.mend();
        }
        let count = this.mended.min(out.remaining());
        out.put_slice(this.buffer.get(..count).unwrap_or_default());
        this.buffer.drain(..count);
        this.mended -= count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MendAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection's bytes as the library gets them when they arrive in pieces of that size: a door for `fuzz/`.
#[cfg(fuzzing)]
#[must_use]
pub fn mended(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut connection, mut out) = (MendAuthority::new(()), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        connection.buffer.extend_from_slice(piece);
        connection.mend();
        out.extend(connection.buffer.drain(..std::mem::take(&mut connection.mended)));
    }
    connection.ended = true;
    connection.mend();
    out.extend(connection.buffer.drain(..std::mem::take(&mut connection.mended)));
    out
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn literal(first: u8, value: &[u8]) -> Vec<u8> {
        [&[first, u8::try_from(value.len()).expect("short")], value].concat()
    }

    /// What comes out when this goes in after the preface, in pieces of `piece` bytes.
    async fn through(input: &[u8], piece: usize) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(piece);
        let sent = [&[b'p'; PREFACE_BYTES][..], input].concat();
        let writing = tokio::spawn(async move {
            client.write_all(&sent).await.expect("writes");
        });
        let mut out = Vec::new();
        MendAuthority::new(server).read_to_end(&mut out).await.expect("reads");
        writing.await.expect("ends");
        out.split_off(PREFACE_BYTES)
    }

    #[tokio::test]
    async fn only_the_authority_is_mended_and_no_length_changes() {
        let path = literal(0x44, b"/a%2Fb");
        let named = [&[0x40, 1, b'%'], &literal(0, b"x%y")[1..]].concat();
        let spelled = |value| [&literal(0x40, b":authority")[..], &literal(0, value)[1..]].concat();
        let block = |indexed, never, value| {
            let (indexed, never) = (literal(0x41, indexed), literal(0x11, never));
            [&[0x83][..], &path, &indexed, &named, &never, &spelled(value)].concat()
        };
        let before = block(b"tmp%2Fa.sock", b"%", b"run%2Fb%2Fa.sock");
        let after = block(b"tmp-2Fa.sock", b"-", b"run-2Fb-2Fa.sock");
        let wrap = |block: &[u8]| {
            let padded = [&[2][..], &[0; 5], block, b"%%"].concat();
            let data = literal(0x41, b"%data%");
            [frame(4, 0, b"%"), frame(1, 4, block), frame(0, 0, &data), frame(1, 0x2c, &padded), frame(0, 1, b"")]
                .concat()
        };
        for piece in [1, 7, 64, 4_096] {
            assert_eq!(through(&wrap(&before), piece).await, wrap(&after), "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_walked_passes_as_it_came() {
        for block in
            [&b"\x41\x7f\xff\xff\xff\xff\xff"[..], b"\x41\x05%", b"\x41", b"\x41\x81%", b"\xff\xff\xff\xff\xff\xff"]
        {
            let frame = frame(1, 4, block);
            assert_eq!(through(&frame, 64).await, frame);
        }
        let cut = &frame(1, 4, &literal(0x41, b"%"))[..10];
        assert_eq!(through(cut, 64).await, cut);
    }
}
