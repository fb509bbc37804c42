# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What modules can do that many can do alike."""

    DOCUMENTATION = r"""
options: {}
"""

    # Modules that compare, plan and write.
    PLAN = r"""
attributes:
  check_mode:
    description: Reads, and returns the plan that a run would carry out.
    support: full
"""

    # Modules that write, and return no plan.
    CHANGE = r"""
attributes:
  check_mode:
    description: Says what would change.
    support: full
"""

    # Modules that only read.
    INFO = r"""
attributes:
  check_mode:
    description: Does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

    # Modules that run on the hosts.
    LINUX = r"""
attributes:
  platform:
    description: Linux hosts.
    platforms: posix
    support: full
"""

    # Modules that are actions.
    CONTROLLER = r"""
attributes:
  action:
    description: Runs on the controller only.
    support: full
"""
