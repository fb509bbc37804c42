# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and values of DNS records as Route 53 takes, stores and compares them. Pure.

Sources: Route 53 Developer Guide, "Supported DNS record types" and "DNS domain name format"; RFC 1035, 9460.
"""

from __future__ import annotations

import ipaddress
import re

TYPES = (
    "A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB",
    "TLSA", "TXT",
)  # fmt: skip
#: A TXT value is strings of at most 255 characters, 4000 in all (Developer Guide, "TXT record type").
TXT_STRING, TXT_VALUE = 255, 4000

LABEL = re.compile(r"[a-z0-9_*]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
OCTAL = re.compile(r"\\([0-3][0-7]{2})")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*\Z', re.DOTALL)
ESCAPE = re.compile(r"\\([0-3][0-7]{2}|.)", re.DOTALL)
HEX = re.compile(r"([0-9a-f]{2})+\Z", re.IGNORECASE)
PARAMETER = re.compile(r'([a-z0-9-]{1,63})(?:=("(?:[^"\\]|\\.)*"|[^\s"]*))?\Z')


def canonical_name(name):
    """Return a name as Route 53 compares it: lower case, a final dot, escapes such as \\052 undone."""

    def undo(match):
        char = chr(int(match.group(1), 8))
        # An escaped dot or backslash is part of a label, not what it looks like.
        return match.group(0) if char in ".\\" else char

    text = OCTAL.sub(undo, str(name).strip()).lower()
    return text if text.endswith(".") else text + "."


def is_name(value):
    """Tell whether a text is a domain name: labels of 1 to 63 letters, digits, dashes and underscores."""
    name = canonical_name(value)
    return len(name) <= 255 and all(LABEL.match(label) for label in name[:-1].split("."))


# TXT


def plain_txt(value):
    """Return what a TXT value says, each character one byte: without quotes, escapes and the limits of its strings."""
    text = str(value)
    if not STRINGS.match(text.strip()):
        return text.encode().decode("latin-1")

    def undo(match):
        return chr(int(match.group(1), 8)) if len(match.group(1)) == 3 else match.group(1)

    raw = "".join(QUOTED.findall(text))
    return ESCAPE.sub(undo, "".join(char if ord(char) < 128 else char.encode().decode("latin-1") for char in raw))


def quote_txt(value):
    """Return a TXT value as the API wants it: quoted strings of at most 255 characters; what is quoted stays."""
    text = str(value)
    if STRINGS.match(text.strip()):
        return text.strip()
    plain = plain_txt(text)
    parts = [plain[start : start + TXT_STRING] for start in range(0, len(plain), TXT_STRING)] or [""]
    return " ".join('"' + "".join(_escape(char) for char in part) + '"' for part in parts)


def _escape(char):
    if char in '"\\':
        return "\\" + char
    return char if 32 <= ord(char) < 127 else f"\\{ord(char):03o}"


def _txt_fault(value):
    text = str(value).strip()
    if not STRINGS.match(text):
        if text.startswith('"'):
            return "quoted strings and nothing else, or a text that does not begin with a quotation mark"
    elif any(len(ESCAPE.sub("x", part)) > TXT_STRING for part in QUOTED.findall(text)):
        return f"strings of at most {TXT_STRING} characters; without quotation marks it is split for you"
    return "" if len(plain_txt(value)) <= TXT_VALUE else f"at most {TXT_VALUE} characters"


# The other types: what a value must be, and its one form


def _number(text, most=65535):
    return text.isascii() and text.isdigit() and int(text) <= most


def _is_address(text, version):
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _fields(*checks):
    """Return a check of a value of as many fields as there are checks."""

    def check(text):
        parts = text.split()
        return len(parts) == len(checks) and all(valid(part) for valid, part in zip(checks, parts, strict=True))

    return check


def _digest(*sizes):
    """Return a check of numbers with the given greatest values, and hexadecimal digits that may have spaces."""

    def check(text):
        parts = text.split()
        numbers, digits = parts[: len(sizes)], "".join(parts[len(sizes) :])
        return (
            len(numbers) == len(sizes)
            and all(_number(number, most) for number, most in zip(numbers, sizes, strict=True))
            and bool(HEX.match(digits))
        )

    return check


def _is_host(text):
    return is_name(text) and not _is_address(text.rstrip("."), 4)


def _is_target(text):
    return text == "." or _is_host(text)


def _is_caa(text):
    match = re.match(r'(\d{1,3}) ([A-Za-z0-9]{1,255}) (".*"|[^\s"]+)\Z', text)
    return bool(match) and int(match.group(1)) <= 255


NAPTR = re.compile(r'(\d{1,5}) (\d{1,5}) "([A-Za-z0-9]*)" "([^"]*)" "([^"]*)" (\S+)\Z')


def _is_naptr(text):
    match = NAPTR.match(text)
    return bool(match) and _number(match.group(1)) and _number(match.group(2)) and _is_target(match.group(6))


def _parameters(words):
    """Return the parameters of an SVCB value as a dict, None when one is no parameter or is there twice."""
    result = {}
    for word in words:
        match = PARAMETER.match(word)
        if not match or match.group(1) in result:
            return None
        result[match.group(1)] = (match.group(2) or "").strip('"')
    return result


def _is_service(text):
    words = text.split()
    if len(words) < 2 or not _number(words[0]) or not _is_target(words[1]):
        return False
    parameters = _parameters(words[2:])
    if parameters is None or (words[0] == "0" and parameters):
        return False
    hints = [(parameters.get(f"ipv{version}hint"), version) for version in (4, 6)]
    return _number(parameters.get("port", "0")) and all(
        _is_address(address, version) for hint, version in hints if hint is not None for address in hint.split(",")
    )


FORMS = {
    "A": (lambda text: _is_address(text, 4), "an IPv4 address"),
    "AAAA": (lambda text: _is_address(text, 6), "an IPv6 address"),
    "CAA": (_is_caa, 'flags, tag and a value, such as 0 issue "ca.example.com"'),
    "CNAME": (_is_host, "a domain name"),
    "DS": (_digest(65535, 255, 255), "key tag, algorithm, digest type and hexadecimal digest"),
    "HTTPS": (_is_service, 'priority, target and parameters, such as 1 . alpn="h2,h3"'),
    "MX": (_fields(_number, _is_target), "a preference and a domain name, such as 10 mail.example.com"),
    "NAPTR": (_is_naptr, 'order, preference, "flags", "service", "regexp" and replacement'),
    "NS": (_is_host, "a domain name"),
    "PTR": (_is_host, "a domain name"),
    "SOA": (
        _fields(is_name, is_name, *[lambda text: _number(text, 2**32 - 1)] * 5),
        "name server, mailbox, serial, refresh, retry, expire and minimum",
    ),
    "SRV": (
        _fields(_number, _number, _number, _is_target),
        "priority, weight, port and target, such as 10 5 2380 a.example.com",
    ),
    "SSHFP": (_digest(255, 255), "algorithm, fingerprint type and hexadecimal fingerprint"),
    "SVCB": (_is_service, 'priority, target and parameters, such as 1 svc.example.com port="8443"'),
    "TLSA": (_digest(255, 255, 255), "usage, selector, matching type and hexadecimal data"),
}


def fault(kind, value):
    """Return what a value of a type must be, "" when it is right.

    >>> fault("A", "10.0.0.300")
    'an IPv4 address'
    """
    if kind in ("TXT", "SPF"):
        return _txt_fault(value)
    valid, right = FORMS[kind]
    return "" if valid(str(value).strip()) else right


def _hexadecimal(fields):
    def canonical(text):
        parts = text.split()
        return " ".join([*(str(int(part)) for part in parts[:fields]), "".join(parts[fields:]).lower()])

    return canonical


def _caa(text):
    flags, tag, value = text.split(None, 2)
    return f'{int(flags)} {tag.lower()} "{value.strip(chr(34))}"'


def _naptr(text):
    order, preference, flags, service, regexp, replacement = NAPTR.match(text).groups()
    return (
        f'{int(order)} {int(preference)} "{flags.lower()}" "{service.lower()}" "{regexp}" {canonical_name(replacement)}'
    )


def _service(text):
    priority, target, *words = text.split()
    parameters = sorted((_parameters(words) or {}).items())
    target = "." if target == "." else canonical_name(target)
    return " ".join([str(int(priority)), target, *(f'{key}="{value}"' if value else key for key, value in parameters)])


def _soa(text):
    parts = text.split()
    return " ".join([canonical_name(parts[0]), canonical_name(parts[1]), *(str(int(part)) for part in parts[2:])])


def _numbers_and_name(text):
    *numbers, name = text.split()
    return " ".join([*(str(int(number)) for number in numbers), "." if name == "." else canonical_name(name)])


CANONICAL = {
    "A": lambda text: str(ipaddress.ip_address(text)),
    "AAAA": lambda text: str(ipaddress.ip_address(text)),
    "CAA": _caa,
    "CNAME": canonical_name,
    "DS": _hexadecimal(3),
    "HTTPS": _service,
    "MX": _numbers_and_name,
    "NAPTR": _naptr,
    "NS": canonical_name,
    "PTR": canonical_name,
    "SOA": _soa,
    "SRV": _numbers_and_name,
    "SSHFP": _hexadecimal(2),
    "SVCB": _service,
    "TLSA": _hexadecimal(3),
}


def canonical_value(kind, value):
    """Return a value as it is compared: two values that mean the same have the same form.

    A value of the zone that is not as it should be stays as it is.
    """
    if kind in ("TXT", "SPF"):
        return plain_txt(value)
    text = str(value).strip()
    return CANONICAL[kind](text) if kind in CANONICAL and not fault(kind, text) else text


def sent_value(kind, value):
    """Return a value as it is sent to the API."""
    if kind in ("TXT", "SPF"):
        return quote_txt(value)
    return _caa(str(value).strip()) if kind == "CAA" else str(value).strip()
