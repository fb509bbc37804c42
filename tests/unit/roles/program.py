"""Programs that roles write to hosts from templates, as modules of this process."""

from __future__ import annotations

import json
import types

import jinja2


def load(template, **variables):
    """Render a template of a Python program with the role's variables; return it as a module; no main runs."""
    loader = jinja2.FileSystemLoader(template.parent)
    environment = jinja2.Environment(loader=loader, autoescape=False)  # noqa: S701 (Python, not HTML)
    environment.filters.update(comment=lambda text: f"# {text}", to_json=json.dumps)
    text = environment.from_string(template.read_text()).render(ansible_managed="Managed", **variables)
    module = types.ModuleType(template.name.removesuffix(".j2"))
    exec(compile(text, template.name, "exec"), module.__dict__)  # noqa: S102 (it has no .py name to import)
    return module
