"""Two servers that take writes at the same time are found; a change of the leader is none."""

from __future__ import annotations

import pytest

from tests.platform import witness


def answers(text):
    """`a:f..f` is a host and its answers second by second; a point is none."""
    found = []
    for host, letters in (word.split(":") for word in text.split()):
        found += [witness.parse(host, f"{second} {second + 0.1} {letter}") for second, letter in enumerate(letters)]
    return [item for item in found if item]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("a:fff... b:ttttff", 0),
        ("a:ffft.. b:ttttff", 0),
        ("a:ffffff b:tttttt", 0),
        ("a:fffttf b:tttfft", 0),
        ("a:ffffff b:tttfff", 1.9),
        ("a:ff...f b:ttffff", 2.9),
        # Stood still, and was asked once before it was ended.
        ("a:ff........f b:ttffffffffff", 0.1),
        ("a:ff........t b:ttffffffffff", 0),
        ("a:fff... b:ttffff c:tttttt", 0),
    ],
)
def test_two_at_once(text, seconds):
    assert witness.two_at_once(answers(text)) == pytest.approx(seconds)


@pytest.mark.parametrize("line", ["", "1.0 2.0 none", "1.0", "1.0 2.0", "x y f", "1.0 2.0 f more"])
def test_what_is_no_answer(line):
    assert witness.parse("a", line) is None
