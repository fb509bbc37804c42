# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a platform: one item in a DynamoDB table, written on a condition, kept by a process of its own.

The table has the hash key C(name) (string). The item: C(name) the platform, C(owner) who in words, C(token) which run,
C(started) and C(expires) in seconds since 1970. Clocks of operators may differ by less than the lease.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from ansible_collections.selfhosted.ec2.plugins.module_utils.aws import Aws, AwsError

LEASE = 60
RENEW = 15
#: DynamoDB's code when the condition of a write does not hold.
REFUSED = "ConditionalCheckFailedException"
NO_TABLE = "ResourceNotFoundException"


class LockError(Exception):
    """The lock cannot be had; the text is one sentence."""


def table_name(platform):
    """Return the name of the table of a platform's lock."""
    return f"{platform}-lock"


def utc(seconds):
    """Return a time in seconds since 1970 as text."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


class Lock:
    """The lock of one platform as seen by one run.

    :arg dynamodb: C(module_utils.aws.Client) of DynamoDB.
    :arg platform: name of the platform.
    :arg owner: who runs what, in words.
    :arg token: the same in every play of one run, in no other run.
    """

    def __init__(self, dynamodb, platform, owner, token, clock=time.time):
        self._dynamodb, self.platform, self.owner, self.token, self._clock = dynamodb, platform, owner, token, clock
        self._table = table_name(platform)

    def take(self):
        """Take the lock; return False when this run has it already, and its lease begins anew.

        The lock of a run that has ended on this machine, whose keeper has not given it back yet, is taken over.

        :raises LockError: another run has it, or there is no table.
        """
        now = {":now": {"N": str(int(self._clock()))}}
        names = {"#name": "name", "#expires": "expires"}
        if self._put("attribute_not_exists(#name) OR #expires < :now", names, now):
            return True
        if self.renew():
            return False
        found = self.holder()
        token = found.get("token", "")
        if ended_here(token) and self._put("#token = :token", {"#token": "token"}, {":token": {"S": token}}):
            return True
        raise LockError(self._taken())

    def renew(self):
        """Put off the end of the lease; return False when the lock is not this run's any more."""
        return self._if_own(
            "update_item",
            UpdateExpression="SET #expires = :expires",
            names={"#expires": "expires"},
            values={":expires": {"N": str(int(self._clock()) + LEASE)}},
        )

    def hold_on(self):
        """Renew the lock that this run took in an earlier play.

        :raises LockError: it is not this run's any more, or there is no table.
        """
        if not self.renew():
            owner = self.holder().get("owner")
            now = f"is at it now ({owner})" if owner else "may have been at it meanwhile"
            raise LockError(
                f"This run has lost the lock of platform {self.platform} and stops here, as another run {now};"
                " start it again when nobody else is at it."
            )

    def release(self):
        """Give the lock back; return False when it was not this run's."""
        return self._if_own("delete_item")

    def holder(self):
        """Return the item as a dict of texts, {} when nobody has the lock."""
        answer = self._write("get_item", ConsistentRead=True)
        return {key: next(iter(value.values())) for key, value in answer.get("Item", {}).items()}

    def break_held_by(self, owner):
        """Remove the lock of I(owner), all of its text or its first word; return whether there was one.

        :raises LockError: it is somebody else's.
        """
        found = self.holder()
        if not found:
            return False
        if owner not in (found["owner"], found["owner"].split(" ", 1)[0]):
            raise LockError(
                f"The lock of platform {self.platform} is not held by {owner} but by {found['owner']};"
                " it is only broken under its owner's name."
            )
        try:
            self._write(
                "delete_item",
                ConditionExpression="#token = :token",
                ExpressionAttributeNames={"#token": "token"},
                ExpressionAttributeValues={":token": {"S": found["token"]}},
            )
        except AwsError as error:
            if error.code != REFUSED:
                raise
            raise LockError(f"The lock of platform {self.platform} changed hands meanwhile; try again.") from None
        return True

    def _put(self, condition, names, values):
        """Write the item of this run; return False when the condition does not hold."""
        now = int(self._clock())
        item = {
            "name": {"S": self.platform},
            "owner": {"S": self.owner},
            "token": {"S": self.token},
            "started": {"N": str(now)},
            "expires": {"N": str(now + LEASE)},
        }
        try:
            self._write(
                "put_item",
                Item=item,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        except AwsError as error:
            if error.code != REFUSED:
                raise
            return False
        return True

    def _taken(self):
        found = self.holder()
        if not found:
            return f"The lock of platform {self.platform} was given back this moment; start again."
        left = int(found["expires"]) - int(self._clock())
        return (
            f"Platform {self.platform} is being changed by {found['owner']} since {utc(int(found['started']))};"
            f" wait for its end. If that run is dead, its lock ends in {max(0, left)} s,"
            f" or at once by the playbook break_lock with -e lock_owner={found['owner'].split(' ', 1)[0]}."
        )

    def _if_own(self, operation, names=None, values=None, **parameters):
        try:
            self._write(
                operation,
                ConditionExpression="#token = :token",
                ExpressionAttributeNames={"#token": "token", **(names or {})},
                ExpressionAttributeValues={":token": {"S": self.token}, **(values or {})},
                **parameters,
            )
        except AwsError as error:
            if error.code == REFUSED:
                return False
            raise
        return True

    def _write(self, operation, **parameters):
        if "Item" not in parameters:
            parameters["Key"] = {"name": {"S": self.platform}}
        try:
            return self._dynamodb.call(operation, TableName=self._table, **parameters)
        except AwsError as error:
            if error.code != NO_TABLE:
                raise
            raise LockError(
                f"The table {self._table} of the platform's lock does not exist; run the provision playbook, which"
                " creates it, or correct platform_name and platform_region."
            ) from None


def started_at(pid):
    """Return what tells a process from a later one with its pid (on Linux the start time), None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return "" if not os.path.isdir("/proc/self") and _signalled(pid) else None
    # A zombie has ended, only its parent has not looked.
    return None if fields[0] == "Z" else fields[19]


def _here():
    """Return what tells this user's processes on this machine since its start from all others, "" when unknown.

    A host name alone may be that of several machines or containers, and processes of other users may be hidden.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}/{os.getuid()}"
    except OSError:
        return ""


def run_token(pid):
    """Return the token of the run whose ansible-playbook is the process I(pid) of this machine."""
    return f"{_here() or socket.gethostname()}/{pid}/{started_at(pid)}"


def ended_here(token):
    """Tell whether I(token) is of a run on this machine that has certainly ended."""
    where, pid, born = ([""] * 3 + token.rsplit("/", 2))[-3:]
    return bool(where) and where == _here() and pid.isdigit() and started_at(int(pid)) != born


def _signalled(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def keep(lock, pid, sleep=time.sleep, alive=started_at, renew_every=RENEW, look_every=1.0):
    """Renew a lock while the process I(pid) lives, then give it back. Ends early when the lock is lost.

    A renewal that fails is tried again at the next turn; AWS out of reach for a whole lease loses the lock.
    """
    born, waited = alive(pid), 0.0
    while born is not None and alive(pid) == born:
        sleep(look_every)
        waited += look_every
        if waited >= renew_every:
            waited = 0.0
            if not _renewed(lock):
                return
    try:
        lock.release()
    except (AwsError, LockError):
        # The lease ends it.
        return


def _renewed(lock):
    try:
        return lock.renew()
    except (AwsError, LockError):
        return True


def start_keeper(platform, region, owner, token, pid):
    """Start the process that keeps a lock for the process I(pid), and return at once.

    It is a Python of its own in a session of its own, without a file or secret of Ansible's: nothing waits for it, and
    the end of a terminal does not end it. It finds the AWS credentials in the environment, as its starter did.
    """
    root = os.path.abspath(__file__)
    for _level in range(6):
        root = os.path.dirname(root)
    arguments = [sys.executable, "-m", __spec__.name, platform, region or "", owner, token, str(pid)]
    subprocess.Popen(
        arguments,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
    )


def main(arguments):
    """Keep a lock: platform, region, owner, token, pid as I(start_keeper) gives them."""
    platform, region, owner, token, pid = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    keep(Lock(Aws({"region": region}, deadline=RENEW).client("dynamodb"), platform, owner, token), int(pid))


if __name__ == "__main__":
    main(sys.argv[1:])
