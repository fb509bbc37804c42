# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Further options of the modules that talk to Kafka's brokers and controllers."""

    DOCUMENTATION = r"""
options:
  nodes:
    description: >-
      All members, name to C(id) (node.id), C(host) (name in its certificate), C(broker) and C(controller) (whether it
      is one).
    type: dict
    required: true
  home:
    description: Directory of the installed Kafka, whose C(libs) hold the schemas of the protocol.
    type: path
    required: true
  client_port:
    description: Port of the brokers' listener for clients, SASL_SSL.
    type: int
    default: 9092
  controller_port:
    description: Port of the controllers, mutual TLS.
    type: int
    default: 9093
  cert_file:
    description: Key and certificate, in one file, with which nodes speak to controllers.
    type: path
    required: true
  timeout:
    description: Seconds for one answer; a connection has 5 at most.
    type: int
    default: 5
"""
