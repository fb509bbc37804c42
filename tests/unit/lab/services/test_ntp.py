"""The time source's answers."""

from __future__ import annotations

import struct

from lab.services.ntp import EPOCH, answer


def test_answer_to_a_client():
    request = struct.pack("!BBbb", 4 << 3 | 3, 0, 6, 0) + b"\0" * 36 + struct.pack("!Q", 12345)
    reply = answer(request, 1000.5, 1001.0)
    assert len(reply) == 48
    assert (reply[0] & 7, reply[0] >> 3 & 7, reply[1]) == (4, 4, 3)
    _reference, originate, received, sent = struct.unpack("!QQQQ", reply[16:])
    assert originate == 12345
    assert received == int((1000.5 + EPOCH) * 2**32)
    assert sent - received == 2**31


def test_other_packets_are_ignored():
    assert answer(b"\x23" * 47, 0, 0) is None
    assert answer(b"\x24" + b"\0" * 47, 0, 0) is None
