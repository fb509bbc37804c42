"""Write docs/reference/ from argument specs, defaults and module documentation, or check that it is up to date.

Usage: python docs/generate.py [--check]

The check also fails where an argument spec and the defaults of a role disagree: a variable in one and not in the
other, a default written in the spec, a required variable with a default, an option without a description.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"


class Loader(yaml.SafeLoader):
    """Reads role defaults: unknown tags such as !unsafe are plain strings here."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def read_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader) if path.exists() else None  # noqa: S506 (a SafeLoader)


def markup(description: Any) -> str:
    """Turn C(x), O(x), V(x), M(x) into `x`."""
    joined = " ".join(description) if isinstance(description, list) else str(description or "")
    out, position = "", 0
    while position < len(joined):
        mark = next((m for m in ("RV(", "C(", "O(", "V(", "I(", "M(", "E(") if joined.startswith(m, position)), None)
        end = joined.find(")", position)
        starts_word = position == 0 or not joined[position - 1].isalnum()
        if mark and starts_word and end > 0:
            out += f"`{joined[position + len(mark) : end]}`"
            position = end + 1
        else:
            out += joined[position]
            position += 1
    return out.replace("|", "\\|").replace("\n", " ").strip()


def kind(option: dict[str, Any]) -> str:
    name = option.get("type", "str")
    return f"list of {option['elements']}" if name == "list" and "elements" in option else name


def option_rows(options: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> list[str]:
    rows = []
    for name, option in options.items():
        description = markup(option.get("description"))
        if option.get("choices"):
            description += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        value = "required" if option.get("required") else default_text(defaults.get(name, option.get("default")))
        rows.append(f"| `{prefix}{name}` | {kind(option)} | {value} | {description} |")
        nested = option.get("options") or option.get("suboptions") or {}
        rows += option_rows(nested, {}, f"{prefix}{name}.")
    return rows


def default_text(value: Any) -> str:
    if value is None:
        return ""
    rendered = str(value).replace("\n", " ").replace("|", "\\|")
    if isinstance(value, bool):
        rendered = str(value).lower()
    return f"`{rendered}`" if len(rendered) <= 60 else "see defaults/main.yml"


def table(rows: list[str]) -> list[str]:
    return ["| name | type | default | what it is |", "| --- | --- | --- | --- |", *rows]


def role_page(role: Path) -> str:
    specs = read_yaml(role / "meta" / "argument_specs.yml")["argument_specs"]
    defaults = read_yaml(role / "defaults" / "main.yml") or {}
    lines = [f"# Role `selfhosted.ec2.{role.name}`", ""]
    for entry, spec in specs.items():
        title = markup(spec.get("short_description"))
        lines += [f"## {title}" if entry == "main" else f"## `tasks_from: {entry}`: {title}", ""]
        if spec.get("description"):
            lines += [markup(spec["description"]), ""]
        if spec.get("options"):
            lines += [*table(option_rows(spec["options"], defaults)), ""]
    return "\n".join(lines).rstrip() + "\n"


def assigned(body: list[ast.stmt], name: str) -> dict[str, Any] | None:
    """The YAML text that a name stands for, read without importing the file."""
    for node in body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    return None


def documentation(path: Path) -> dict[str, Any] | None:
    """The DOCUMENTATION of a plugin file, with the options of its fragments but for those of every AWS module."""
    document = assigned(ast.parse(path.read_text()).body, "DOCUMENTATION")
    for name in (document or {}).get("extends_documentation_fragment") or []:
        parts = name.split(".")[2:]
        if parts == ["aws"]:
            continue
        source = ast.parse((ROOT / "plugins" / "doc_fragments" / f"{parts[0]}.py").read_text())
        kept = next(node.body for node in source.body if isinstance(node, ast.ClassDef))
        fragment = assigned(kept, parts[1].upper() if len(parts) > 1 else "DOCUMENTATION") or {}
        document["options"] = {**document.get("options", {}), **fragment.get("options", {})}
    return document


def plugin_page(kind_name: str, path: Path, document: dict[str, Any]) -> str:
    lines = [f"# {kind_name} `selfhosted.ec2.{path.stem}`", "", markup(document.get("short_description")), ""]
    lines += [markup(document.get("description")), ""]
    if document.get("options"):
        lines += [*table(option_rows(document["options"], {})), ""]
    if "selfhosted.ec2.aws" in document.get("extends_documentation_fragment", []):
        lines += [
            f"Besides, the connection of every AWS module: {', '.join(f'`{name}`' for name in connection())}.",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def connection() -> list[str]:
    """The names of the options that every AWS module has."""
    source = ast.parse((ROOT / "plugins" / "doc_fragments" / "aws.py").read_text())
    fragment = assigned(next(node.body for node in source.body if isinstance(node, ast.ClassDef)), "DOCUMENTATION")
    return list(fragment["options"])


def roles() -> list[Path]:
    return sorted(path.parent.parent for path in (ROOT / "roles").glob("*/tasks/main.yml"))


def pages() -> dict[Path, str]:
    """Every generated file with its text."""
    result = {REFERENCE / "roles" / f"{role.name}.md": role_page(role) for role in roles()}
    for folder, name in (("modules", "Module"), ("inventory", "Inventory"), ("lookup", "Lookup"), ("filter", "Filter")):
        for path in sorted((ROOT / "plugins" / folder).glob("*.py")):
            document = documentation(path)
            if document:
                result[REFERENCE / folder / f"{path.stem}.md"] = plugin_page(name, path, document)
    index = ["# Reference", "", "Written by `make docs` from argument specs and module documentation.", ""]
    index += [f"- [{path.stem}]({path.relative_to(REFERENCE)})" for path in sorted(result)]
    result[REFERENCE / "README.md"] = "\n".join(index) + "\n"
    return result


def disagreements(role: Path) -> list[str]:
    """Sentences on where a role's argument spec and defaults differ."""
    specs = read_yaml(role / "meta" / "argument_specs.yml")
    if not specs:
        return [f"roles/{role.name} has no meta/argument_specs.yml"]
    defaults = read_yaml(role / "defaults" / "main.yml") or {}
    options = specs["argument_specs"]["main"].get("options", {})
    found = [
        f"roles/{role.name}: {name} has a default but no entry in the argument spec"
        for name in defaults.keys() - options
    ]
    for name, option in options.items():
        required, has_default = bool(option.get("required")), name in defaults
        if required and has_default:
            found.append(f"roles/{role.name}: {name} is required in the argument spec but has a default")
        if not required and not has_default:
            found.append(f"roles/{role.name}: {name} is in the argument spec but has no default in defaults/main.yml")
    for entry in specs["argument_specs"].values():
        found += option_faults(role.name, entry.get("options", {}), "")
    return found


def option_faults(role: str, options: dict[str, Any], prefix: str) -> list[str]:
    found = []
    for name, option in options.items():
        if not option.get("description"):
            found.append(f"roles/{role}: {prefix}{name} has no description in the argument spec")
        if "default" in option and not prefix:
            found.append(
                f"roles/{role}: {prefix}{name} writes its default in the argument spec; it belongs to defaults/main.yml"
            )
        found += option_faults(role, option.get("options", {}), f"{prefix}{name}.")
    return found


def stale(wanted: dict[Path, str]) -> list[str]:
    found = [
        f"{path.relative_to(ROOT)} is not what make docs writes"
        for path, content in wanted.items()
        if not path.exists() or path.read_text() != content
    ]
    extra = set(REFERENCE.rglob("*.md")) - wanted.keys() if REFERENCE.exists() else set()
    return found + [f"{path.relative_to(ROOT)} describes nothing that exists" for path in sorted(extra)]


def main() -> int:
    faults = [fault for role in roles() for fault in disagreements(role)]
    if faults:
        print("\n".join(faults))
        return 1
    wanted = pages()
    if "--check" in sys.argv[1:]:
        faults = stale(wanted)
        print("\n".join(faults) if faults else "docs, argument specs and defaults agree")
        return 1 if faults else 0
    for path in set(REFERENCE.rglob("*.md")) - wanted.keys():
        path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    print(f"wrote {len(wanted)} pages to docs/reference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
