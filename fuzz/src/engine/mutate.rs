//! One input becomes another: bits, numbers, blocks, words of the format, and what the decoder compared the input with.

use super::rng::Rng;

/// Numbers at which decoders go wrong.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX, 1 << 20];

/// What a mutation may draw on.
pub struct Material<'a> {
    /// Words of the format.
    pub tokens: &'a [&'a [u8]],
    /// Another input of the corpus.
    pub other: &'a [u8],
    /// Both sides of comparisons that the input met.
    pub compares: &'a [(u64, u64)],
    /// No input is longer.
    pub bytes_max: usize,
}

/// Changes `input` in one to eight places.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    let most = 1 << rng.below(4);
    for _ in 0..=rng.below(most) {
        step(rng, input, material);
    }
    input.truncate(material.bytes_max);
}

fn step(rng: &mut Rng, input: &mut Vec<u8>, material: &Material<'_>) {
    let at = rng.below(input.len() + 1);
    match rng.below(14) {
        0 => change(input, at, |byte| *byte ^= 1 << rng.below(8)),
        1 => change(input, at, |byte| *byte = rng.next() as u8),
        2 => change(input, at, |byte| *byte = byte.wrapping_add(rng.below(33) as u8).wrapping_sub(16)),
        3 => {
            let number = EDGES[rng.below(EDGES.len())];
            overwrite(input, at, &number_as(rng, number));
        }
        4 => {
            let count = span(rng, input.len() - at);
            input.drain(at..at + count);
        }
        5 => {
            let filler = rng.next() as u8;
            let count = span(rng, 64);
            insert(input, at, &vec![filler; count]);
        }
        6 | 7 => {
            if let Some(token) = rng.pick(material.tokens) {
                if rng.below(2) == 0 { insert(input, at, token) } else { overwrite(input, at, token) }
            }
        }
        8 => {
            let block = block(rng, input);
            insert(input, at, &block);
        }
        9 => {
            let block = block(rng, material.other);
            if rng.below(2) == 0 { insert(input, at, &block) } else { overwrite(input, at, &block) }
        }
        10 => {
            // The beginning of one, the end of another.
            input.truncate(at);
            let from = rng.below(material.other.len() + 1);
            input.extend_from_slice(&material.other[from..]);
        }
        11 => input.truncate(at),
        _ => answer_compare(rng, input, material.compares),
    }
}

/// Writes the other side of a comparison where one side stands in the input, in whichever form it stands there.
fn answer_compare(rng: &mut Rng, input: &mut Vec<u8>, compares: &[(u64, u64)]) {
    let Some(&(left, right)) = rng.pick(compares) else { return };
    let (find, put) = if rng.below(2) == 0 { (left, right) } else { (right, left) };
    let form = rng.below(7);
    let (find, put) = (in_form(find, form), in_form(put, form));
    if find.is_empty() || find.len() > input.len() {
        return;
    }
    let places = input.len() - find.len() + 1;
    let start = rng.below(places);
    let found = (0..places).map(|step| (start + step) % places).find(|at| input[*at..].starts_with(&find));
    match found {
        Some(at) => {
            input.splice(at..at + find.len(), put);
        }
        None => overwrite(input, start, &put),
    }
}

fn in_form(number: u64, form: usize) -> Vec<u8> {
    match form {
        0 => (number as u16).to_be_bytes().to_vec(),
        1 => (number as u32).to_be_bytes().to_vec(),
        2 => number.to_be_bytes().to_vec(),
        3 => (number as u32).to_le_bytes().to_vec(),
        4 => number.to_le_bytes().to_vec(),
        5 => vec![number as u8],
        _ => number.to_string().into_bytes(),
    }
}

fn number_as(rng: &mut Rng, number: u64) -> Vec<u8> {
    let form = rng.below(7);
    in_form(number, form)
}

fn change(input: &mut [u8], at: usize, with: impl FnOnce(&mut u8)) {
    if let Some(byte) = input.get_mut(at) {
        with(byte);
    }
}

fn overwrite(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = input.len().min(at + bytes.len());
    input.splice(at..end, bytes.iter().copied());
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn block(rng: &mut Rng, from: &[u8]) -> Vec<u8> {
    let at = rng.below(from.len());
    let count = span(rng, from.len() - at);
    from[at..at + count].to_vec()
}

/// Short spans more often than long ones.
fn span(rng: &mut Rng, most: usize) -> usize {
    let bound = 1_usize << rng.below(12);
    rng.below(bound.min(most) + 1)
}
