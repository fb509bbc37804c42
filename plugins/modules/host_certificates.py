#!/usr/bin/python
# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_certificates
short_description: Certificates of a host, signed by the platform CA
version_added: 0.1.0
author: The selfhosted.ec2 authors (@selfhosted)
description:
  - Makes EC P-256 keys on the host, which never leave it, and certificates that the platform CA signs in the memory of
    the controller, where the CA's key stays.
  - All certificates of a host take one module execution when nothing changes and two when something is issued.
  - A certificate is issued anew when it ends within O(renew_days), when its names or usages differ, when it does not
    match its key (with a warning), or when the first CA certificate has not signed it. The key is kept unless it is
    missing or broken, does not match its certificate, or O(force) is set.
  - Writes C(<directory>/<name>.key), C(<directory>/<name>.crt) and C(<directory>/ca.crt), which holds all CA
    certificates, so that a CA can be rotated by putting the new one first and keeping the old one for a while.
extends_documentation_fragment:
  - selfhosted.ec2.attributes.linux
attributes:
  check_mode:
    support: full
    description: Reports what would be issued. On a host without python3-cryptography that is every certificate.
  diff_mode:
    support: full
    description: Describes the certificates by names, issuer and end; keys are never shown.
requirements:
  - python3-cryptography on the host (the role host_baseline installs it) and cryptography on the controller
options:
  certificates:
    description: The certificates.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Base name of the files.
        type: str
        required: true
      directory:
        description: Directory of the files. It is created with mode 0755 when it does not exist.
        type: path
        required: true
      owner:
        description: Owner of the files, by name or number.
        type: str
        default: root
      group:
        description: Group of the files, by name or number.
        type: str
        default: root
      key_mode:
        description: Mode of the key and of the combined file.
        type: str
        default: "0600"
      common_name:
        description: Common name of the subject. One with a dot must lie under O(domains).
        type: str
        required: true
      dns_names:
        description: DNS names. They must lie under O(domains); C(localhost) may be asked for too.
        type: list
        elements: str
        default: []
      ip_addresses:
        description: IP addresses.
        type: list
        elements: str
        default: []
      usages:
        description: What the certificate may be used for.
        type: list
        elements: str
        choices: [server, client]
        default: [server, client]
      combined:
        description: Write C(<directory>/<name>.pem) too, the key followed by the certificate.
        type: bool
        default: false
      notify:
        description: Handlers to notify when a file of this certificate changes.
        type: list
        elements: str
        default: []
  ca_certificate:
    description:
      - CA certificates as PEM, the signing one first. Default is C(platform_secrets['ca/certificate']).
    type: str
  ca_key:
    description: Key of the first one as PEM. Default is C(platform_secrets['ca/key']). It stays on the controller.
    type: str
  domains:
    description: Domains whose names may be signed. Default is C(platform_domain).
    type: list
    elements: str
  metrics_directory:
    description:
      - Where the exporter of the host reads metrics from files. The end of each certificate is written there, as
        C(platform_certificate_not_after_seconds) in C(certificate_<name>.prom). It is created with mode 0755.
    type: path
  valid_days:
    description: Life of a certificate in days.
    type: int
    default: 90
  renew_days:
    description: A certificate that ends within so many days is issued anew.
    type: int
    default: 30
  force:
    description: Issue all anew, with new keys.
    type: bool
    default: false
  issued:
    description: Set by the action plugin, signed certificates by path without suffix.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: configure | Write the certificates
  selfhosted.ec2.host_certificates:
    certificates:
      - name: server
        directory: /etc/etcd/tls
        group: etcd
        key_mode: "0640"
        common_name: "{{ inventory_hostname }}.{{ platform_domain }}"
        dns_names: ["{{ inventory_hostname }}.{{ platform_domain }}", localhost]
        ip_addresses: ["{{ ec2_private_ip }}", 127.0.0.1]
        notify: [Reload etcd]
  register: __etcd_certificates
"""

RETURN = r"""
changed_certificates:
  description: Names of certificates of which a file changed.
  returned: success
  type: list
  elements: str
issued_certificates:
  description: Names of those among them that were issued anew, with the reason.
  returned: success
  type: dict
changed_files:
  description: Paths of the changed files.
  returned: success
  type: list
  elements: str
notified:
  description: Handlers notified for single certificates.
  returned: success
  type: list
  elements: str
requests:
  description: Between the two executions, signing requests by path without suffix; empty at the end.
  returned: success
  type: dict
"""

import os
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.selfhosted.ec2.plugins.module_utils import certificates as x
from ansible_collections.selfhosted.ec2.plugins.module_utils.atomic_files import (
    Account,
    FileError,
    apply_attributes,
    attributes_diff,
    attributes_differ,
    find_account,
    parse_mode,
    read_state,
    sync_directory,
    wanted_attributes,
    write_atomic,
)

PENDING = ".%s.key.new"  # a key whose certificate is still to be signed


@dataclass
class Result:
    """What the module reports, gathered certificate by certificate."""

    requests: dict = field(default_factory=dict)
    reasons: dict = field(default_factory=dict)
    names: list = field(default_factory=list)
    files: list = field(default_factory=list)
    diff: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


class HostCertificate:
    """One certificate with its files."""

    def __init__(self, option, params, authority, check_mode):
        self.option = option
        self.params = params
        self.authority = authority
        self.check_mode = check_mode
        self.base = os.path.join(option["directory"], option["name"])
        self.pending = os.path.join(option["directory"], PENDING % option["name"])
        self.account = find_account(option["owner"], option["group"])
        self.key_mode = parse_mode(option["key_mode"])

    def current(self):
        """The key, the certificates (either may be None) and why they have to be replaced, empty when good."""
        key, key_reason = self._load(self.base + ".key", x.load_key, "the key")
        chain, chain_reason = self._load(self.base + ".crt", x.load_certificates, "the certificate")
        reason = key_reason or chain_reason
        if not reason:
            moment = x.now()
            reason = x.renewal_reason(chain[0], key, self.option, self.authority, self.params["renew_days"], moment)
        if self.params["force"]:
            reason = "it was asked for"
        if self.params["force"] or reason == x.MISMATCH:
            key = None
        return key, chain, reason

    @staticmethod
    def _load(path, load, what):
        state = read_state(path)
        if state.kind != "file":
            return None, "there is none" if what != "the key" else "there is no key"
        try:
            return load(state.content), ""
        except x.CertificateError as error:
            return None, "%s cannot be used (%s)" % (what, error)

    def process(self, result):
        """Write what is known, or ask for a signature."""
        pem = self.params["issued"].get(self.base)
        if pem is not None:
            self.install(pem, result)
            return
        key, chain, reason = self.current()
        if not reason:
            self.write(b"".join(map(x.certificate_pem, chain)), x.key_pem(key), result)
            return
        if chain and reason == x.MISMATCH:
            result.warnings.append("%s.crt does not match its key and is issued anew." % self.base)
        result.reasons[self.option["name"]] = reason
        self.describe(chain, reason, result)
        if self.check_mode:
            result.names.append(self.option["name"])
            return
        result.requests[self.base] = x.make_request(self.request_key(key), self.option["common_name"])

    def describe(self, chain, reason, result):
        """Add the diff of a new certificate."""
        end = "%d days after it is issued" % self.params["valid_days"]
        result.diff.append(
            {
                "before_header": self.base + ".crt",
                "after_header": "%s.crt (%s)" % (self.base, reason),
                "before": x.describe(chain[0]) if chain else "",
                "after": x.describe_wanted(self.option, self.authority, end),
            }
        )

    def request_key(self, key):
        """The key to request with. A new one waits beside its future place, so that key and certificate change
        together; a run that was cut off in between leaves it there, and the next one replaces or deletes it."""
        if key is not None:
            self.drop_pending()
            return key
        make_directory(self.option["directory"])
        key = x.new_key()
        write_atomic(self.pending, x.key_pem(key), Account(), 0o600)
        return key

    def install(self, pem, result):
        """Write a signed certificate with its key. Raises FileError when they do not belong together."""
        certificate = x.load_certificates(pem)[0]
        keys = [self._load(path, x.load_key, "the key")[0] for path in (self.pending, self.base + ".key")]
        key = next((key for key in keys if key is not None and x.matches_key(certificate, key)), None)
        if key is None:
            raise FileError("The certificate issued for %s does not match its key, nothing was replaced." % self.base)
        self.write(pem.encode(), x.key_pem(key), result)
        self.drop_pending()

    def drop_pending(self):
        """Delete the key of a request that was not answered or is now in place."""
        if os.path.exists(self.pending):
            os.unlink(self.pending)
            sync_directory(self.option["directory"])

    def write(self, certificate, key, result):
        """Make the files of this certificate so. Key first: until the certificate follows, a re-run mends it."""
        wanted = [
            (self.base + ".key", key, self.key_mode),
            (self.base + ".crt", certificate, 0o644),
            (os.path.join(self.option["directory"], "ca.crt"), self.params["ca_certificate"].encode(), 0o644),
        ]
        if self.option["combined"]:
            wanted.append((self.base + ".pem", key + certificate, self.key_mode))
        changed = [
            path
            for path, content, mode in wanted
            # The ca.crt of a directory belongs to all its certificates: a change concerns each of them.
            if path in result.files or self.write_file(path, content, mode, result)
        ]
        result.files += [path for path in changed if path not in result.files]
        if changed:
            result.names.append(self.option["name"])
        if self.params.get("metrics_directory"):
            self.write_metrics(x.load_certificates(certificate)[0], result)

    def write_metrics(self, certificate, result):
        """Write the end of the certificate for the exporter of the host; no handler is interested in it."""
        directory = self.params["metrics_directory"]
        path = os.path.join(directory, "certificate_%s.prom" % self.option["name"])
        content = x.metrics(certificate, self.option["name"], self.base + ".crt").encode()
        before = read_state(path)
        account = Account()
        if before.content == content and not attributes_differ(before, account, 0o644):
            return
        result.files.append(path)
        if not self.check_mode:
            make_directory(directory)
            write_atomic(path, content, account, 0o644, before)

    def write_file(self, path, content, mode, result):
        """Replace one file or correct its attributes; whether it changed."""
        before = read_state(path)
        rewrite = before.kind != "file" or not same_pem(before.content, content)
        if not rewrite and not attributes_differ(before, self.account, mode):
            return False
        if rewrite and path.endswith("ca.crt"):
            result.diff.append(authorities_diff(path, before.content, content))
        text = wanted_attributes(before, self.account, self.option["owner"], self.option["group"], mode)
        if text != before.attributes:
            result.diff.append(attributes_diff(path, before.attributes, text))
        if not self.check_mode:
            if rewrite:
                write_atomic(path, content, self.account, mode, before)
            else:
                apply_attributes(path, self.account, mode)
        return True


def make_directory(path):
    """Make a directory that everybody may read, unless it exists."""
    if not os.path.isdir(path):
        os.makedirs(path, 0o755)
        os.chmod(path, 0o755)


def same_pem(one, other):
    """Whether two PEM texts hold the same, whatever the line ends and the text around the blocks."""

    def body(data):
        lines = data.decode("ascii", "replace").splitlines()
        inside, kept = False, []
        for line in (line.strip() for line in lines):
            inside = inside or line.startswith("-----BEGIN")
            if inside:
                kept.append(line)
            inside = inside and not line.startswith("-----END")
        return kept

    return body(one) == body(other)


def authorities_diff(path, before, after):
    """Diff entry of ca.crt: one line per CA certificate."""

    def lines(pem):
        try:
            found = x.load_certificates(pem)
        except x.CertificateError:
            return ""
        return "".join(
            "%s, serial %x, until %s\n" % (x.common_name(item.subject), item.serial_number, x.not_after(item).date())
            for item in found
        )

    return {"before_header": path, "after_header": path, "before": lines(before), "after": lines(after)}


def process_all(params, check_mode):
    """The Result for all certificates. Raises FileError or CertificateError."""
    authority = x.load_certificates(params["ca_certificate"])[0]
    items = [HostCertificate(option, params, authority, check_mode) for option in params["certificates"]]
    for item in items:
        if item.account.missing and not check_mode:
            raise FileError("The host has no %s; create it before its certificates." % item.account.missing[0])
    result = Result()
    for item in items:
        item.process(result)
    return result


def finish(module, result):
    """Leave the module with a Result."""
    for warning in result.warnings:
        module.warn(warning)
    output = {
        "changed": bool(result.names or result.requests or result.files),
        "changed_certificates": list(dict.fromkeys(result.names)),
        "issued_certificates": result.reasons,
        "changed_files": result.files,
        "requests": result.requests,
    }
    if module._diff:
        output["diff"] = result.diff
    module.exit_json(**output)


CERTIFICATE = {
    "name": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "key_mode": {"type": "str", "default": "0600", "no_log": False},
    "common_name": {"type": "str", "required": True},
    "dns_names": {"type": "list", "elements": "str", "default": []},
    "ip_addresses": {"type": "list", "elements": "str", "default": []},
    "usages": {"type": "list", "elements": "str", "choices": ["server", "client"], "default": ["server", "client"]},
    "combined": {"type": "bool", "default": False},
    "notify": {"type": "list", "elements": "str", "default": []},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "certificates": {"type": "list", "elements": "dict", "required": True, "options": CERTIFICATE},
            "ca_certificate": {"type": "str"},
            "ca_key": {"type": "str", "no_log": True},
            "domains": {"type": "list", "elements": "str"},
            "metrics_directory": {"type": "path"},
            "valid_days": {"type": "int", "default": 90},
            "renew_days": {"type": "int", "default": 30},
            "force": {"type": "bool", "default": False},
            "issued": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if not x.HAS_CRYPTOGRAPHY:
        if not module.check_mode:
            module.fail_json(msg="The host lacks python3-cryptography; run the role host_baseline on it first.")
        missing = "the host lacks python3-cryptography"
        names = [option["name"] for option in module.params["certificates"]]
        finish(module, Result(names=names, reasons=dict.fromkeys(names, missing)))
    try:
        finish(module, process_all(module.params, module.check_mode))
    except (FileError, x.CertificateError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="%s: %s." % (error.filename, error.strerror))


if __name__ == "__main__":
    main()
