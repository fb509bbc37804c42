# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that talk to the members of a cluster, whatever the product."""

    DOCUMENTATION = r"""
options: {}
"""

    # Modules that log in at the members.
    LOGIN = r"""
options:
  name:
    description: This host's member.
    type: str
    required: true
  ca_file:
    description: Certificates to trust.
    type: path
    required: true
  user:
    description: User that may do everything at every member.
    type: str
    default: admin
  password:
    description: Password of this user.
    type: str
    required: true
"""

    # Modules that show a client certificate to the members.
    CERTIFICATE = r"""
options:
  ca_file:
    description: Certificates to trust.
    type: path
    required: true
  cert_file:
    description: Client certificate.
    type: path
    required: true
  key_file:
    description: Key of the client certificate.
    type: path
    required: true
"""

    # Modules that read what this host's volume says of itself.
    VOLUME = r"""
options:
  identity_file:
    description: Identity file beside the data, which says whose volume this is.
    type: path
  data_dir:
    description: Directory of the data on this host.
    type: path
"""

    # Modules that can wait for a state, which their option C(require) names.
    WAIT = r"""
options:
  wait:
    description: Seconds to wait for what O(require) says before the module fails.
    type: int
    default: 0
"""
