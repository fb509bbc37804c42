# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of CloudTrail's digest files: signatures, links and hashes, checked with Python's own means. Pure.

Source: CloudTrail User Guide, "CloudTrail digest file structure" and "Custom implementations of CloudTrail log file
integrity validation". Each hour and region CloudTrail writes a digest: the hashes of the log files of that hour, and
the hash and signature of the digest before. The signature is in the metadata of the object.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from datetime import datetime, timedelta, timezone

#: DER of DigestInfo for SHA-256 (RFC 8017, 9.2, note 1).
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
ALGORITHM = "SHA256withRSA"
#: RFC 8017: a modulus of fewer bits is no longer accepted as safe; CloudTrail's keys have 2048.
MIN_MODULUS_BITS = 2048
TIME_FORM = "%Y-%m-%dT%H:%M:%SZ"
#: "The digest files are delivered once an hour": a trail without one for longer is suspicious.
LATEST_DIGEST = timedelta(hours=2)


class DigestError(ValueError):
    """A digest or key that cannot be read; the text says what is wrong."""


def prefix(key_prefix, account, region, day=None):
    """Return the beginning of the keys of the digests of a region, of one day or of all."""
    start = f"{key_prefix}/" if key_prefix else ""
    tail = day.strftime("%Y/%m/%d/") if day else ""
    return f"{start}AWSLogs/{account}/CloudTrail-Digest/{region}/{tail}"


def is_digest(key, account, region, trail, home):
    """Tell whether a key is a digest of this trail: several trails may share a bucket."""
    return f"/{account}_CloudTrail-Digest_{region}_{trail}_{home}_" in key and key.endswith(".json.gz")


def public_key(value):
    """Return (modulus, exponent) of a PKCS#1 RSAPublicKey in DER, as ListPublicKeys gives it. Raises DigestError."""
    try:
        content, rest = _element(value, 0x30)
        modulus, tail = _element(content, 0x02)
        exponent, last = _element(tail, 0x02)
    except IndexError:
        raise DigestError("the public key is cut off") from None
    if rest or last:
        raise DigestError("the public key has something too much")
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _element(data, tag):
    """Return the content of the DER element at the beginning of I(data), and what follows it."""
    if data[0] != tag:
        raise DigestError("the public key is no PKCS#1 RSA key")
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        start = 2 + count
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise DigestError("the public key is cut off")
    return data[start : start + length], data[start + length :]


def verified(key, text, signature):
    """Tell whether a signature (hexadecimal) by RSASSA-PKCS1-v1_5 with SHA-256 is that of a text.

    :arg key: (modulus, exponent). Only public values are handled, so nothing here needs constant time.
    """
    modulus, exponent = key
    size = (modulus.bit_length() + 7) // 8
    try:
        given = binascii.unhexlify(signature)
    except (binascii.Error, ValueError):
        return False
    if len(given) != size or modulus.bit_length() < MIN_MODULUS_BITS:
        return False
    number = int.from_bytes(given, "big")
    if number >= modulus:
        return False
    digest = SHA256_PREFIX + hashlib.sha256(text.encode()).digest()
    wanted = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    return pow(number, exponent, modulus).to_bytes(size, "big") == wanted


def signed_text(content, bucket, key):
    """Return the text that CloudTrail signs for a digest.

    :arg content: uncompressed bytes of the digest.
    """
    document = read(content)
    return "\n".join((
        str(document.get("digestEndTime")),
        f"{bucket}/{key}",
        hashlib.sha256(content).hexdigest(),
        document.get("previousDigestSignature") or "null",
    ))  # fmt: skip


def read(content):
    """Return a digest as a dict. Raises DigestError."""
    try:
        document = json.loads(content)
    except ValueError:
        raise DigestError("it is not JSON") from None
    if not isinstance(document, dict) or "digestEndTime" not in document:
        raise DigestError("it is not a digest")
    return document


def faults_of(item, keys):
    """Return what is wrong with one digest by itself, [] if nothing is.

    :arg item: dict bucket, key, content (uncompressed bytes), signature and algorithm (of the object's metadata).
    :arg keys: public keys, dict fingerprint to the bytes of the key.
    """
    try:
        document = read(item["content"])
    except DigestError as error:
        return [str(error)]
    found = []
    if (document.get("digestS3Bucket"), document.get("digestS3Object")) != (item["bucket"], item["key"]):
        found.append(f"it says that it is {document.get('digestS3Bucket')}/{document.get('digestS3Object')}")
    if document.get("digestSignatureAlgorithm", ALGORITHM) != ALGORITHM or item.get("algorithm") not in (
        None,
        ALGORITHM,
    ):
        found.append(f"its signature is not by {ALGORITHM}")
    if not item.get("signature"):
        return [*found, "it has no signature"]
    fingerprint = document.get("digestPublicKeyFingerprint")
    if fingerprint not in keys:
        return [*found, f"AWS has no public key {fingerprint} for its time"]
    try:
        key = public_key(keys[fingerprint])
    except DigestError as error:
        return [*found, str(error)]
    if not verified(key, signed_text(item["content"], item["bucket"], item["key"]), item["signature"]):
        found.append("its signature is not right: it was changed, or is not CloudTrail's")
    return found


def chain_faults(items, keys, since):
    """Return what is wrong with the digests of a region from the newest back to I(since), one clause each.

    :arg items: digests by key, each as faults_of takes it.
    :arg since: the oldest time (with time zone) that must be covered; digests before it are not asked for.
    """
    found, documents = [], {}
    for key in sorted(items):
        found += [f"digest {key}: {fault}" for fault in faults_of(items[key], keys)]
        try:
            document = read(items[key]["content"])
            documents[key] = {**document, "start": start_of(document), "end": parse_time(document["digestEndTime"])}
        except DigestError as error:
            found.append(f"digest {key}: {error}")
    for key, document in documents.items():
        found += [f"digest {key}: {fault}" for fault in _link_faults(document, items, documents, since)]
    return list(dict.fromkeys(found + _end_faults(documents)))


def _end_faults(documents):
    """Every digest but the newest is followed by one that names it, or by a first one (after logging was stopped)."""
    named = {document.get("previousDigestS3Object") for document in documents.values()}
    first = [document["start"] for document in documents.values() if not document.get("previousDigestS3Object")]
    newest = max(documents, key=lambda key: documents[key]["end"], default=None)
    return [
        f"digest {key}: no later digest follows it"
        for key, document in sorted(documents.items())
        if key not in named and key != newest and not any(start >= document["end"] for start in first)
    ]


def _link_faults(document, items, documents, since):
    previous = document.get("previousDigestS3Object")
    if not previous:
        return []
    if previous not in items:
        # Inside the time asked for the link must be there.
        return [f"the digest before it, {previous}, is missing"] if document["start"] > since else []
    found, before = [], items[previous]
    if document.get("previousDigestHashValue") != hashlib.sha256(before["content"]).hexdigest():
        found.append(f"the digest before it, {previous}, was changed")
    if document.get("previousDigestSignature") != before.get("signature"):
        found.append(f"the digest before it, {previous}, has another signature")
    if previous in documents and documents[previous]["end"] != document["start"]:
        found.append(f"there is a gap between it and {previous}")
    return found


def start_of(document):
    """Return the start of the time that a digest covers, with time zone. Raises DigestError."""
    return parse_time(document.get("digestStartTime") or document["digestEndTime"])


def parse_time(text):
    """Return a time of a digest with its time zone. Raises DigestError."""
    try:
        return datetime.strptime(text, TIME_FORM).replace(tzinfo=timezone.utc)
    except (TypeError, ValueError):
        raise DigestError(f"{text!r} is not a time") from None


def log_files(content):
    """Return the log files that a digest names: list of (bucket, key, hash in hexadecimal)."""
    return [(entry["s3Bucket"], entry["s3Object"], entry["hashValue"]) for entry in read(content).get("logFiles") or []]


def log_file_fault(content, hash_value):
    """Return what is wrong with a log file, "" if nothing is. I(content) None: it is not there."""
    if content is None:
        return "is missing"
    return "" if hashlib.sha256(content).hexdigest() == hash_value else "was changed"
