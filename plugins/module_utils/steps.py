# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a list of API calls that may name what earlier calls will have made."""

from __future__ import annotations

from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import AwsError

#: Strings that begin so stand for the id of what a step makes, C(@subnet/trading-private-a).
REFERENCE = "@"


class Step:
    """One call of a plan.

    :arg text: what it does, for the user.
    :arg operation: boto3 method of the EC2 client, or the name of one of the executor's waits.
    :arg arguments: its parameters; references in them are replaced by ids.
    :arg produces: reference that stands for the id in the answer at I(path).
    :arg tolerate: error codes that mean that there is nothing left to do.
    """

    def __init__(self, text, operation, arguments, produces="", path=(), tolerate=()):
        self.text, self.operation, self.arguments = text, operation, arguments
        self.produces, self.path, self.tolerate = produces, path, tolerate

    def __repr__(self):
        return f"Step({self.operation}: {self.text})"


def resolve(value, ids):
    """Return I(value) with every reference in it replaced by its id; raises KeyError for an unknown one."""
    if isinstance(value, str):
        return ids[value] if value.startswith(REFERENCE) else value
    if isinstance(value, dict):
        return {key: resolve(item, ids) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, ids) for item in value]
    return value


def dig(answer, path):
    """Return what lies at a path of keys and indexes in an answer."""
    for key in path:
        answer = answer[key]
    return answer


def run(steps, client, ids, waits=None):
    """Carry a plan out in order and return the ids, those of new things added.

    :arg client: what has C(call(operation, **arguments)).
    :arg ids: dict of reference to id of what exists already.
    :arg waits: dict of further operations by name, functions of the step's arguments, mostly waits.
    """
    for step in steps:
        arguments = resolve(step.arguments, ids)
        try:
            if waits and step.operation in waits:
                answer = waits[step.operation](**arguments)
            else:
                answer = client.call(step.operation, **arguments)
        except AwsError as error:
            if error.code in step.tolerate:
                continue
            raise AwsError(f"To {step.text} failed: {error}", error.code) from error
        if step.produces:
            ids[step.produces] = dig(answer, step.path)
    return ids


def wait_until(check, what, clock, timeout, interval=2.0):
    """Call I(check) until it gives something true, and return that.

    :arg what: end of the sentence, such as "the instances run".
    :arg timeout: seconds; after them AwsError is raised.
    """
    started = clock.now()
    while True:
        result = check()
        if result:
            return result
        if clock.now() - started > timeout:
            raise AwsError(f"Waited {timeout} s in vain until {what}; run the playbook again to go on.")
        clock.sleep(interval)
