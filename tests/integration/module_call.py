"""Calls a module's manage() as its main() does: options checked and completed by its argument spec."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator


def options(module: Any, **given: Any) -> dict[str, Any]:
    """The module's options with their defaults. Raises AssertionError when the spec refuses them."""
    checked = ArgumentSpecValidator(module.argument_spec()).validate({"region": "eu-west-1", **given})
    assert not checked.errors.messages, checked.errors.messages
    return checked.validated_parameters
