"""The time source of a VPC, 169.254.169.123: the machine's own clock by NTP (RFC 5905)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

# Seconds from 1900, where NTP counts from, to 1970.
EPOCH = 2208988800
CLIENT_MODE, SERVER_MODE = 3, 4


def _timestamp(seconds: float) -> int:
    return int((seconds + EPOCH) * 2**32) & (2**64 - 1)


def answer(packet: bytes, received: float, sent: float) -> bytes | None:
    """The answer to a client's request, times in seconds of the Unix epoch; None for anything else."""
    if len(packet) < 48 or packet[0] & 7 != CLIENT_MODE:
        return None
    version = (packet[0] >> 3) & 7
    originate = struct.unpack("!Q", packet[40:48])[0]
    first = version << 3 | SERVER_MODE
    # Stratum 3, poll as asked, precision 2^-20 s, root delay and dispersion of one 1/65536 s.
    head = struct.pack("!BBbbII4s", first, 3, packet[2], -20, 1, 1, b"\x7f\x7f\x01\x01")
    return head + struct.pack("!QQQQ", _timestamp(received), originate, _timestamp(received), _timestamp(sent))


class Server:
    """Answers on the UDP socket until closed."""

    def __init__(self, udp: socket.socket):
        self.udp = udp
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.udp.shutdown(socket.SHUT_RDWR)
        self.udp.close()

    def _serve(self) -> None:
        while True:
            try:
                packet, client = self.udp.recvfrom(1024)
                message = answer(packet, time.time(), time.time())
                if message:
                    self.udp.sendto(message, client)
            except OSError:
                if self.udp.fileno() < 0:
                    return
