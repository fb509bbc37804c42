# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that show a client certificate to what they talk to."""

    DOCUMENTATION = r"""
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
