"""Opens our messages with python-cwt, a COSE library of another make.

Usage: cose_check.py MESSAGES VECTORS

MESSAGES has one JSON object a line, as tests/cose.rs writes them; VECTORS is
tests/vectors/cose.json. Each message has to open to its plaintext, and to be refused with any
part of it changed.
"""

import json
import sys

import cbor2
from cwt import COSE, COSEKey, DecodeError

# kty and alg of a symmetric COSE_Key (RFC 9052, section 7; RFC 9053, section 6.1)
SYMMETRIC = 4
# the algorithms' numbers in the COSE registry: ChaCha20/Poly1305 and A256GCM
ALGORITHMS = {1: 24, 2: 3, 257: 24, 258: 3}
KID, IV = 4, 5


def key_of(case, kid, algorithm):
    key = bytes.fromhex(case["key"])
    return COSEKey.new({1: SYMMETRIC, 2: kid, 3: algorithm, 4: [4], -1: key})


def open_message(case, message, external_aad, algorithm):
    """The plaintext; whatever python-cwt raises otherwise."""
    kid = cbor2.loads(message).value[1][KID]
    key = key_of(case, kid, algorithm)
    return COSE.new().decode(message, key, external_aad=external_aad)


def flip(data, bit):
    data = bytearray(data)
    data[bit // 8] ^= 0x80 >> bit % 8
    return bytes(data)


def changed(protected, unprotected, ciphertext, external_aad, other):
    """Every way to change one thing that is authenticated."""

    def of(protected=protected, iv=unprotected[IV], ciphertext=ciphertext, aad=external_aad):
        headers = dict(unprotected)
        headers[IV] = iv
        return cbor2.dumps(cbor2.CBORTag(16, [protected, headers, ciphertext])), aad

    yield "first bit of the ciphertext", *of(ciphertext=flip(ciphertext, 0))
    yield "last bit of the tag", *of(ciphertext=flip(ciphertext, 8 * len(ciphertext) - 1))
    yield "last byte of the tag", *of(ciphertext=ciphertext[:-1])
    yield "last bit of the IV", *of(iv=flip(unprotected[IV], 95))
    yield "external_aad", *of(aad=flip(external_aad, 8 * len(external_aad) - 1))
    yield "no external_aad", *of(aad=b"")
    # alg alone is left the same: what is authenticated are the header's bytes
    yield "encoding of the protected header", *of(protected=b"\xbf" + protected[1:] + b"\xff")
    yield "protected header", *of(protected=cbor2.dumps({1: other}))


def check(case):
    """Returns how many changed messages were refused."""
    algorithm = ALGORITHMS[case["suite"]]
    external_aad = bytes.fromhex(case["external_aad"])
    message = bytes.fromhex(case["cose_iv"])
    protected, unprotected, ciphertext = cbor2.loads(message).value
    assert cbor2.loads(protected) == {1: algorithm}, f"protected header: {case['comment']}"
    if case.get("commitment"):
        commitment = bytes.fromhex(case["commitment"])
        assert unprotected["com"] == commitment, f"commitment: {case['comment']}"

    opened = open_message(case, message, external_aad, algorithm)
    assert opened == bytes.fromhex(case["plaintext"]), f"another plaintext: {case['comment']}"

    refused = 0
    other = {3: 24, 24: 3}[algorithm]
    changes = changed(protected, unprotected, ciphertext, external_aad, other)
    for what, message, aad in changes:
        # the receiver's key is for one algorithm, whatever the message names
        try:
            open_message(case, message, aad, algorithm)
        except DecodeError:
            refused += 1
        else:
            raise AssertionError(f"opened with another {what}: {case['comment']}")
    return refused


def main():
    messages, vectors = sys.argv[1:]
    with open(messages, encoding="utf-8") as file:
        fresh = [json.loads(line) for line in file]
    with open(vectors, encoding="utf-8") as file:
        known = [case for case in json.load(file)["cases"] if case["suite"] in ALGORITHMS]
    for name, cases in [("fresh messages", fresh), ("vectors", known)]:
        suites = {case["suite"] for case in cases}
        assert suites == set(ALGORITHMS), f"{name}: suites {sorted(suites)}"
        refused = sum(check(case) for case in cases)
        print(f"python-cwt opened {len(cases)} {name} and refused {refused} changed ones")


if __name__ == "__main__":
    main()
