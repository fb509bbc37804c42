# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of Kafka's protocol over TLS.

Every message is read and written by the schemas in the installed kafka-clients library, so nothing of the protocol is
written down twice, and the client always speaks the versions of the Kafka that runs beside it.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import hmac
import json
import os
import re
import secrets
import socket
import struct
import uuid
import zipfile

CLIENT_ID = "selfhosted.ec2"
#: Numbers of fixed size: type to its struct format.
_NUMBERS = {
    "int8": ">b",
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "float64": ">d",
    "bool": ">?",
}
_EMPTY = {"string": "", "bytes": b"", "uuid": str(uuid.UUID(int=0)), "records": b""}
_MAX_ANSWER = 64 * 1024**2
CONNECT_SECONDS = 5


class KafkaError(Exception):
    """One request failed; the text says which address and why."""


class Refused(KafkaError):
    """The server answered with an error. C(code) is its number."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


#: The errors that a reader of the sentences must understand; others are shown by their number.
ERRORS = {
    3: "the topic or partition is not known",
    7: "it took too long",
    29: "not authorized for this topic",
    30: "not authorized for this group",
    31: "not authorized for this cluster",
    36: "the topic exists",
    37: "a topic cannot have this number of partitions",
    38: "more replicas than brokers",
    40: "the configuration is not valid",
    41: "not the controller",
    42: "the request is not valid",
    44: "a policy forbids it",
    58: "the user or password is wrong",
    60: "a reassignment of partitions is under way",
    85: "no reassignment is under way",
    126: "the voter is one already",
    127: "the voter is not known",
}


def error_text(code, message=None):
    """Return an error of the protocol in words.

    >>> error_text(36)
    'the topic exists (36)'
    """
    words = message or ERRORS.get(code, "error")
    return f"{words} ({code})"


class Span:
    """A range of versions as the schemas write it: C(none), C(3), C(0-2), C(3+).

    >>> 4 in Span("3+"), 4 in Span("0-2"), 0 in Span("none")
    (True, False, False)
    """

    def __init__(self, text):
        self.first, self.last = 0, -1
        if text and text != "none":
            first, dash, last = text.partition("-")
            self.first = int(first.rstrip("+"))
            self.last = 1 << 15 if first.endswith("+") else int(last) if dash else self.first

    def __contains__(self, version):
        return self.first <= version <= self.last


class Field:
    """One field of a message."""

    def __init__(self, description, structs):
        self.name = description["name"]
        kind = description["type"]
        self.is_list = kind.startswith("[]")
        self.kind = kind[2:] if self.is_list else kind
        self.versions = Span(description.get("versions"))
        self.nullable = Span(description.get("nullableVersions"))
        self.tagged = Span(description.get("taggedVersions"))
        self.flexible = Span(description["flexibleVersions"]) if "flexibleVersions" in description else None
        self.tag = description.get("tag")
        self.default = description.get("default")
        own = description.get("fields")
        self.fields = [Field(item, structs) for item in own] if own is not None else structs.get(self.kind)

    def empty(self):
        """Return the value of a field that is not given."""
        if self.is_list:
            return None if self.default == "null" else []
        if self.default in (None, "null"):
            if self.default == "null":
                return None
            return {} if self.fields is not None else _EMPTY.get(self.kind, 0)
        if self.kind == "bool":
            return str(self.default).lower() == "true"
        return self.default if self.kind == "string" else int(str(self.default), 0)


class Schema:
    """One message: its fields and the versions of the protocol that have it."""

    def __init__(self, text):
        description = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
        structs = {}
        for item in description.get("commonStructs", []):
            structs[item["name"]] = [Field(field, structs) for field in item["fields"]]
        self.key = description.get("apiKey")
        self.versions = Span(description["validVersions"])
        self.flexible = Span(description["flexibleVersions"])
        self.fields = [Field(item, structs) for item in description["fields"]]

    def write(self, values, version):
        """Return the bytes of a message.

        :raises ValueError: a value's name is unknown.
        """
        out = bytearray()
        _write_fields(out, self.fields, values, version, version in self.flexible)
        return bytes(out)

    def read(self, data, version):
        """Return a message as a dict of field to value.

        :raises ValueError: the data ends too early.
        """
        return _read_fields(Reader(data), self.fields, version, version in self.flexible)


def _varint(out, number):
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_length(out, length, flexible, wide):
    if flexible:
        _varint(out, 0 if length is None else length + 1)
    else:
        out += struct.pack(">i" if wide else ">h", -1 if length is None else length)


def _write_fields(out, fields, values, version, flexible):
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")
    tagged = []
    for field in fields:
        if version not in field.versions:
            continue
        value = values.get(field.name, field.empty())
        if version in field.tagged:
            if field.name in values:
                tagged.append((field, value))
            continue
        _write_value(out, field, value, version, flexible if field.flexible is None else version in field.flexible)
    if flexible:
        _varint(out, len(tagged))
        for field, value in sorted(tagged, key=lambda pair: pair[0].tag):
            part = bytearray()
            _write_value(part, field, value, version, flexible)
            _varint(out, field.tag)
            _varint(out, len(part))
            out += part


def _write_value(out, field, value, version, flexible):
    if field.is_list:
        _write_length(out, None if value is None else len(value), flexible, True)
        for item in value or []:
            _write_one(out, field, item, version, flexible)
    else:
        _write_one(out, field, value, version, flexible)


def _write_one(out, field, value, version, flexible):
    if field.fields is not None:
        if version in field.nullable and not field.is_list:
            out += b"\xff" if value is None else b"\x01"
            if value is None:
                return
        _write_fields(out, field.fields, value, version, flexible)
    elif field.kind in _NUMBERS:
        out += struct.pack(_NUMBERS[field.kind], value)
    elif field.kind == "uuid":
        out += uuid.UUID(value).bytes
    else:
        data = value.encode() if isinstance(value, str) else value
        _write_length(out, None if data is None else len(data), flexible, field.kind != "string")
        out += data or b""


class Reader:
    """Takes values from the front of some bytes."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def take(self, size):
        """Return the next I(size) bytes.

        :raises ValueError: there are fewer.
        """
        end = self._at + size
        if end > len(self._data):
            raise ValueError("an answer ended too early")
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, form):
        """Return the next number of a struct format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def varint(self):
        """Return the next number of variable length."""
        number, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def length(self, flexible, wide):
        """Return the next length, None for a value that is null."""
        length = self.varint() - 1 if flexible else self.number(">i" if wide else ">h")
        return None if length < 0 else length


def _read_fields(reader, fields, version, flexible):
    values = {}
    for field in fields:
        if version in field.versions and version not in field.tagged:
            own = flexible if field.flexible is None else version in field.flexible
            values[field.name] = _read_value(reader, field, version, own)
    if flexible:
        tags = {field.tag: field for field in fields if version in field.tagged}
        values.update((field.name, field.empty()) for field in tags.values())
        for _number in range(reader.varint()):
            field, data = tags.get(reader.varint()), reader.take(reader.varint())
            if field:
                values[field.name] = _read_value(Reader(data), field, version, flexible)
    return values


def _read_value(reader, field, version, flexible):
    if field.is_list:
        length = reader.length(flexible, True)
        return None if length is None else [_read_one(reader, field, version, flexible) for _number in range(length)]
    return _read_one(reader, field, version, flexible)


def _read_one(reader, field, version, flexible):
    if field.fields is not None:
        if version in field.nullable and not field.is_list and reader.number(">b") < 0:
            return None
        return _read_fields(reader, field.fields, version, flexible)
    if field.kind in _NUMBERS:
        return reader.number(_NUMBERS[field.kind])
    if field.kind == "uuid":
        return str(uuid.UUID(bytes=bytes(reader.take(16))))
    length = reader.length(flexible, field.kind != "string")
    if length is None:
        return None
    data = bytes(reader.take(length))
    return data.decode() if field.kind == "string" else data


class Schemas:
    """The messages of an installed Kafka.

    :arg directory: its home, which has C(libs/kafka-clients-<version>.jar).
    :raises KafkaError: the library is not there.
    """

    def __init__(self, directory):
        found = sorted(glob.glob(os.path.join(directory, "libs", "kafka-clients-*.jar")))
        if not found:
            raise KafkaError(f"{directory}/libs has no kafka-clients library")
        self._archive = zipfile.ZipFile(found[-1])
        self._known = {}

    def get(self, name):
        """Return one message's C(Schema).

        :raises KafkaError: this Kafka has none of that name.
        """
        if name not in self._known:
            try:
                text = self._archive.read(f"common/message/{name}.json").decode()
            except KeyError:
                raise KafkaError(f"the installed Kafka has no message {name}") from None
            self._known[name] = Schema(text)
        return self._known[name]


class Connection:
    """One connection to a broker or controller, over TLS with the name verified.

    :arg host: name that the certificate must hold.
    :arg port: TCP port.
    :arg context: C(ssl.SSLContext).
    :arg schemas: C(Schemas).
    :arg login: None, or (user, password) for SCRAM-SHA-512.
    :arg timeout: seconds for one answer; the connection has 5 at most.
    :raises Refused: the user or password is wrong.
    :raises KafkaError: the server cannot be reached.
    """

    def __init__(self, host, port, context, schemas, login=None, timeout=5):
        self.address = f"{host}:{port}"
        self.member = ""
        self._schemas = schemas
        self._number = 0
        self._versions = {}
        try:
            plain = socket.create_connection((host, port), min(timeout, CONNECT_SECONDS))
            try:
                self._socket = context.wrap_socket(plain, server_hostname=host)
                self._socket.settimeout(timeout)
            except (OSError, ValueError):
                plain.close()
                raise
        except (OSError, ValueError) as error:
            raise KafkaError(f"{self.address} does not answer: {error}") from error
        try:
            self.features = self._negotiate()
            if login:
                self._log_in(*login)
        except KafkaError:
            self.close()
            raise

    def _negotiate(self):
        answer = self.call("ApiVersions", {"ClientSoftwareName": "selfhosted-ec2", "ClientSoftwareVersion": "1"}, 3)
        self._versions = {key["ApiKey"]: (key["MinVersion"], key["MaxVersion"]) for key in answer["ApiKeys"]}
        return {
            "supported": {item["Name"]: item["MaxVersion"] for item in answer["SupportedFeatures"]},
            "finalized": {item["Name"]: item["MaxVersionLevel"] for item in answer["FinalizedFeatures"]},
        }

    def _log_in(self, user, password):
        self.call("SaslHandshake", {"Mechanism": "SCRAM-SHA-512"})
        nonce = secrets.token_urlsafe(24)
        bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        first = self._authenticate("n,," + bare)
        parts = dict(item.split("=", 1) for item in first.split(","))
        salted = salted_password(password, base64.b64decode(parts["s"]), int(parts["i"]))
        end = f"c=biws,r={parts['r']}"
        signed = f"{bare},{first},{end}".encode()
        client_key = hmac.digest(salted, b"Client Key", "sha512")
        signature = hmac.digest(hashlib.sha512(client_key).digest(), signed, "sha512")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        last = self._authenticate(f"{end},p={base64.b64encode(proof).decode()}")
        expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha512"), signed, "sha512")
        if not parts["r"].startswith(nonce) or base64.b64decode(last.partition("v=")[2]) != expected:
            raise KafkaError(f"{self.address} does not prove that it knows the password of {user}")

    def _authenticate(self, text):
        return self.call("SaslAuthenticate", {"AuthBytes": text.encode()})["AuthBytes"].decode()

    def call(self, name, values=None, version=None):
        """Send one request; return its answer as a dict.

        :raises Refused: the answer as a whole is an error.
        :raises KafkaError: the connection broke, or the server does not know the request.
        """
        request, response = self._schemas.get(name + "Request"), self._schemas.get(name + "Response")
        if version is None:
            version = self._version(name, request)
        self._number += 1
        flexible = version in request.flexible
        header = struct.pack(">hhih", request.key, version, self._number, len(CLIENT_ID)) + CLIENT_ID.encode()
        try:
            message = header + (b"\0" if flexible else b"") + request.write(values or {}, version)
            self._socket.sendall(struct.pack(">i", len(message)) + message)
            # The answer to ApiVersions has the old header, as the client cannot know the version yet.
            skipped = 5 if flexible and name != "ApiVersions" else 4
            answer = response.read(self._receive()[skipped:], version)
        except (OSError, ValueError) as error:
            raise KafkaError(f"{self.address} broke off at {name}: {error}") from error
        if answer.get("ErrorCode"):
            text = error_text(answer["ErrorCode"], answer.get("ErrorMessage"))
            raise Refused(f"{self.address} answered {name} with: {text}", answer["ErrorCode"])
        return answer

    def _version(self, name, request):
        if not self._versions and name == "ApiVersions":
            return 3
        low, high = self._versions.get(request.key, (1, 0))
        version = min(high, request.versions.last)
        if version < max(low, request.versions.first):
            raise KafkaError(f"{self.address} does not answer {name} in a version that is known here")
        return version

    def _receive(self):
        size = struct.unpack(">i", self._exactly(4))[0]
        if not 4 <= size <= _MAX_ANSWER:
            raise ValueError(f"an answer of {size} bytes")
        return self._exactly(size)

    def _exactly(self, size):
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise ValueError("the connection was closed")
            parts += part
        return bytes(parts)

    def close(self):
        """Close the connection."""
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()


def salted_password(password, salt, iterations):
    """Return what SCRAM-SHA-512 keeps instead of a password."""
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)


def short_uuid(text):
    """Return an id as Kafka writes it.

    >>> short_uuid("00000000-0000-0000-0000-000000000001")
    'AAAAAAAAAAAAAAAAAAAAAQ'
    """
    return base64.urlsafe_b64encode(uuid.UUID(text).bytes).decode().rstrip("=")


def long_uuid(text):
    """Return an id as Kafka writes it in the usual form.

    >>> long_uuid("AAAAAAAAAAAAAAAAAAAAAQ")
    '00000000-0000-0000-0000-000000000001'
    """
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(text + "==")))
