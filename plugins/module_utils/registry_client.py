# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a registry over HTTP."""

from __future__ import annotations

from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import open_url
from ansible_collections.selfhosted.ec2.plugins.module_utils.oci import OciError


class Client:
    """Sends requests as one agent, each given up after a time without data."""

    def __init__(self, agent, timeout):
        self.agent, self.timeout = agent, timeout

    def open(self, url, headers=None):
        """The answer's stream. Raises what open_url raises."""
        # A token is the registry's, not that of the store it leads to.
        private = ["authorization"]
        return open_url(url, headers=headers, unredirected_headers=private, timeout=self.timeout, http_agent=self.agent)

    def send(self, url, headers):
        """Status, headers and stream of an answer, also of one that refuses. Raises OciError when there is none."""
        try:
            answer = self.open(url, headers)
        except HTTPError as error:
            answer = error
        except (URLError, ValueError, OSError) as error:
            raise OciError("%s could not be asked: %s." % (url, error)) from error
        return answer.code, {key.lower(): value for key, value in answer.headers.items()}, answer
