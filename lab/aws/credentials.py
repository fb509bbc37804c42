"""Who may call: the administrator's keys, the keys the API made, and the role credentials of the hosts.

Role credentials need no register: key and session token are derived from one secret of the lab (`secret` in its
state directory), so that the metadata service hands them out and the front checks them without talking to each other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

LIFETIME_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Identity:
    """The owner of an access key. `secret_key` signs; `arn` and `user_id` are what GetCallerIdentity answers."""

    secret_key: str
    arn: str
    user_id: str
    account: str
    role: str = ""
    session: str = ""


class Expired(Exception):
    """The session token was valid once."""


def lab_secret(state: Path) -> bytes:
    """The lab's secret, made at first use (32 bytes, mode 0600)."""
    path = state / "secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        state.mkdir(parents=True, exist_ok=True)
        temporary = state / f"secret.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        return path.read_bytes()


def _digest(secret: bytes, *parts: str) -> bytes:
    return hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).digest()


def _keys(secret: bytes, payload: str) -> tuple[str, str]:
    access_key = "ASIA" + base64.b32encode(_digest(secret, "access", payload)).decode()[:16]
    return access_key, base64.b64encode(_digest(secret, "secret", payload)).decode()[:40]


def role_credentials(
    state: Path, role: str, instance_id: str, account: str = "123456789012", now: float | None = None
) -> dict[str, str | int]:
    """Credentials of a role on a host, as the metadata service answers them.

    `state` is the lab's state directory, `role` the role's name, `now` seconds since 1970 (default: the clock).
    Returns AccessKeyId, SecretAccessKey, Token, Expiration (ISO 8601), LastUpdated, Code and Type. They change once an
    hour and are valid for six, as on EC2.
    """
    secret = lab_secret(state)
    issued = int((time.time() if now is None else now) // 3600 * 3600)
    expires = issued + LIFETIME_SECONDS
    payload = json.dumps([role, instance_id, account, expires])
    access_key, secret_key = _keys(secret, payload)
    seal = base64.urlsafe_b64encode(_digest(secret, "token", payload)).decode()
    token = base64.urlsafe_b64encode(payload.encode()).decode() + "." + seal
    return {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(issued)),
        "AccessKeyId": access_key,
        "SecretAccessKey": secret_key,
        "Token": token,
        "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
    }


def role_identity(secret: bytes, access_key: str, token: str, now: float | None = None) -> Identity | None:
    """The identity of a host's credentials, None if key and token are not ours. Raises Expired."""
    try:
        encoded, seal = token.split(".")
        payload = base64.urlsafe_b64decode(encoded).decode()
        role, instance_id, account, expires = json.loads(payload)
    except (ValueError, UnicodeDecodeError):
        return None
    expected = base64.urlsafe_b64encode(_digest(secret, "token", payload)).decode()
    known_key, secret_key = _keys(secret, payload)
    if not hmac.compare_digest(seal, expected) or known_key != access_key:
        return None
    if (time.time() if now is None else now) > expires:
        raise Expired
    role_id = "AROA" + base64.b32encode(hashlib.sha256(role.encode()).digest()).decode()[:17]
    arn = f"arn:aws:sts::{account}:assumed-role/{role}/{instance_id}"
    return Identity(secret_key, arn, f"{role_id}:{instance_id}", account, role, instance_id)


class Directory:
    """Finds the identity behind an access key."""

    def __init__(self, administrator: dict[str, str], secret: bytes, account: str):
        self.administrator, self.secret, self.account = administrator, secret, account

    def find(self, access_key: str, token: str) -> Identity | None:
        """None if the key is unknown. Raises Expired for a host's credentials that are too old."""
        if access_key == self.administrator["aws_access_key_id"]:
            root = f"arn:aws:iam::{self.account}:user/administrator"
            return Identity(self.administrator["aws_secret_access_key"], root, "AIDALABADMINISTRATOR", self.account)
        if token and (host := role_identity(self.secret, access_key, token)):
            return host
        return self._made_by_api(access_key, token)

    def _made_by_api(self, access_key: str, token: str) -> Identity | None:
        from moto.iam.models import iam_backends
        from moto.sts.models import sts_backends

        iam = iam_backends[self.account]["aws"]
        key = iam.access_keys.get(access_key)
        if key is not None and key.status == "Active" and key.user_name:
            user = iam.get_user(key.user_name)
            return Identity(key.secret_access_key, user.arn, user.id, self.account)
        for backend in list(sts_backends[self.account].values()):
            for role in list(backend.assumed_roles):
                if role.access_key_id == access_key and role.session_token == token:
                    name = role.role_arn.split("/")[-1]
                    return Identity(
                        role.secret_access_key, role.arn, role.user_id, self.account, name, role.session_name
                    )
        return None
