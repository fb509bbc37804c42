# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handlers that belong to single entries of a batch module."""

from __future__ import annotations


def as_list(value):
    """A list of names from a list, one name or nothing."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def handler_names(entries, key, changed):
    """Names in `notify` of the entries whose `key` is in `changed`, each once, in the order of the entries."""
    names = [str(name) for entry in entries if entry[key] in changed for name in as_list(entry.get("notify"))]
    return list(dict.fromkeys(names))


def notify(task, names):
    """Notify handlers from within an action plugin.

    The executor copies the task's `notify` into the result after the action has run, so names added there reach
    the handlers exactly as a `notify` of the task does (ansible-core 2.19 to 2.21).
    """
    if names:
        task.notify = as_list(task.notify) + names
