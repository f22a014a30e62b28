#!/usr/bin/env python3
"""A reader of Ciphertext v1 written from docs/spec/ciphertext.md alone; it shares no code with the Rust one.

    decode.py [vectors.json]

opens every vector, compares every intermediate value, refuses every vector that must be refused, and every tampering
it can think of. Needs the package `cryptography` for the ciphers. Exit status 0 only if all of it held.
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

HEADER, SEGMENT, TAG, WRAPPED = 90, 65_536, 16, 138
UNARY, STREAM, ENVELOPE = 0, 1, 3
SUITES = {1: AESGCM, 2: ChaCha20Poly1305}


class Refused(Exception):
    """The ciphertext does not verify, or is not canonical."""


def need(condition):
    if not condition:
        raise Refused


def lp(data):
    return struct.pack(">I", len(data)) + data


def encode_context(pairs):
    encoded = sorted((k.encode(), v.encode()) for k, v in pairs)
    need(len({k for k, _ in encoded}) == len(encoded) <= 32)
    need(all(1 <= len(k) <= 1024 and len(v) <= 1024 for k, v in encoded))
    return b"".join(lp(k) + lp(v) for k, v in encoded)


def digest(namespace, context, aad, wrapped=None):
    need(len(aad) <= 16_384)
    bound = lp(namespace.encode()) + lp(encode_context(context)) + lp(aad)
    return hashlib.sha512(bound + (b"" if wrapped is None else lp(wrapped))).digest()


def expand32(prk, info):
    return hmac.new(prk, info + b"\x01", hashlib.sha512).digest()[:32]


def derive(material, header, d):
    prk = hmac.new(header[26:58], material, hashlib.sha512).digest()
    enc, commit = b"enc" + header[:26] + d, b"commit" + header[:26] + d
    return {
        "d": d, "prk": prk, "info_enc": enc, "info_commit": commit,
        "key": expand32(prk, enc), "commitment": expand32(prk, commit),
    }


def parse(data):
    """(header, kind, body) of a well-formed start."""
    need(len(data) >= HEADER)
    header, kind = data[:HEADER], data[5]
    need(header[:4] == b"CHCY" and header[4] in SUITES and kind in (UNARY, STREAM, ENVELOPE))
    need(struct.unpack(">I", header[22:26])[0] >= 1)
    return header, kind, data[HEADER:]


def wrapped_of(header, body):
    need(len(body) >= 4 + WRAPPED and body[:4] == struct.pack(">I", WRAPPED))
    wrapped = body[4:4 + WRAPPED]
    inner, kind, _ = parse(wrapped)
    need(kind == UNARY and inner[4] == header[4] and inner[6:26] == header[6:26])
    return wrapped, body[4 + WRAPPED:]


def open_one(cipher, key, nonce, sealed):
    need(len(sealed) >= TAG)
    try:
        return cipher(key).decrypt(nonce, sealed, b"")
    except InvalidTag:
        raise Refused from None


def open_segments(cipher, key, body):
    plaintext, at = [], 0
    count = max(1, -(-len(body) // (SEGMENT + TAG)))
    for i in range(count):
        last = i == count - 1
        sealed = body[at:at + SEGMENT + TAG]
        at += len(sealed)
        plaintext.append(open_one(cipher, key, bytes(7) + struct.pack(">IB", i, last), sealed))
    need(plaintext[-1] or count == 1)
    return b"".join(plaintext)


def open_ciphertext(data, material, namespace, context, aad, trace=None):
    """The plaintext. `material` is that of the key version; an envelope file's data key is unwrapped with it first."""
    header, kind, body = parse(data)
    wrapped = None
    if kind == ENVELOPE:
        wrapped, body = wrapped_of(header, body)
        material = open_ciphertext(wrapped, material, namespace, context, aad)
        need(len(material) == 32)
    values = derive(material, header, digest(namespace, context, aad, wrapped))
    if trace is not None:
        trace.update(values)
    need(hmac.compare_digest(values["commitment"], header[58:90]))
    if kind == UNARY:
        need(len(body) <= SEGMENT + TAG)
        return open_one(SUITES[header[4]], values["key"], bytes(12), body)
    return open_segments(SUITES[header[4]], values["key"], body)


def bytes_of(folder, vector, field):
    if field + "_file" in vector:
        return (folder / vector[field + "_file"]).read_bytes()
    return bytes.fromhex(vector[field])


def plaintext_of(vector):
    if "plaintext_counting" in vector:
        return bytes(i % 251 for i in range(vector["plaintext_counting"]))
    return bytes.fromhex(vector["plaintext"])


def arguments(vector):
    context = [tuple(pair) for pair in vector["context"]]
    return bytes.fromhex(vector["material"]), vector["namespace"], context, bytes.fromhex(vector["aad"])


def refuses(data, *args):
    try:
        open_ciphertext(data, *args)
    except Refused:
        return True
    return False


def tampered(data):
    """Every way to touch a ciphertext that has to show."""
    fixed = 232 if data[5] == ENVELOPE else HEADER
    for at in range(fixed):
        yield f"byte {at} flipped", data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
    for at in {0, 1, 4, 26, 89, fixed, fixed + 15, len(data) - 1, len(data) - 16, len(data) - 17}:
        if 0 <= at < len(data):
            yield f"cut at {at}", data[:at]
    yield "last byte flipped", data[:-1] + bytes([data[-1] ^ 1])
    yield "trailing byte", data + b"\0"
    full = SEGMENT + TAG
    head, body = data[:fixed], data[fixed:]
    if data[5] != UNARY:
        segments = [body[i:i + full] for i in range(0, len(body), full)]
        yield "last segment dropped", head + b"".join(segments[:-1])
        yield "first segment repeated", head + segments[0] + body
        if len(segments) > 1:
            yield "segments reversed", head + b"".join(reversed(segments))


def check(folder, vector):
    data, args, trace = bytes_of(folder, vector, "ciphertext"), arguments(vector), {}
    material, namespace, context, aad = args
    assert open_ciphertext(data, *args, trace) == plaintext_of(vector), "plaintext differs"
    for field, value in trace.items():
        assert value.hex() == vector[field], f"{field} differs"
    count = 0
    for what, bad in tampered(data):
        assert refuses(bad, *args), f"not refused: {what}"
        count += 1
    other = bytes([material[0] ^ 1]) + material[1:]
    for what, bad in [
        ("another key", (other, namespace, context, aad)),
        ("another namespace", (material, namespace + "x", context, aad)),
        ("another context", (material, namespace, context + [("zz", "")], aad)),
        ("another aad", (material, namespace, context, aad + b"\0")),
        ("aad moved into the context", (material, namespace, context + [("aad", aad.hex())], b"")),
    ]:
        assert refuses(data, *bad), f"not refused: {what}"
        count += 1
    return count


def main():
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "vectors.json")
    vectors = json.loads(path.read_text())
    assert vectors["vectors"] and vectors["refused"], "no vectors"
    tamperings = 0
    for vector in vectors["vectors"]:
        try:
            tamperings += check(path.parent, vector)
        except (AssertionError, Refused) as error:
            sys.exit(f"{vector['name']}: {error or 'refused'}")
    for vector in vectors["refused"]:
        if not refuses(bytes_of(path.parent, vector, "ciphertext"), *arguments(vector)):
            sys.exit(f"{vector['name']}: not refused ({vector['why']})")
    print(f"opened {len(vectors['vectors'])} vectors, refused {len(vectors['refused'])} bad ones and {tamperings} tamperings")


if __name__ == "__main__":
    main()
