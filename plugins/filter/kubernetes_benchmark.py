# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of the CIS Kubernetes Benchmark, as lines to read in a terminal and as a page."""

from __future__ import annotations

import html

from ansible_collections.selfhosted.ec2.plugins.module_utils import kubernetes_benchmark

_SIGNS = {
    kubernetes_benchmark.PASS: ("yes", "pass"),
    kubernetes_benchmark.FAIL: ("no", "fail"),
    kubernetes_benchmark.MANUAL: ("look", "manual"),
    kubernetes_benchmark.NOT_APPLICABLE: ("-", "none"),
}
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; max-width: 80em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border: 1px solid #ccc; padding: .25em .6em; text-align: left; vertical-align: top; }
th { background: #f2f2f2; }
.pass { background: #e2f4e2; } .fail { background: #f9dcdc; } .reason { background: #fbe9cd; }
.manual { background: #e6edf9; } .none { color: #888; }
"""


def _whole(places):
    return kubernetes_benchmark.score([item for place in places.values() for item in place["controls"]])


def _percent(score):
    return "nothing judged" if score["percent"] is None else f"{score['percent']} of 100"


def _failed(place):
    return [item for item in place["controls"] if item["result"] == kubernetes_benchmark.FAIL]


def kubernetes_benchmark_report(places):
    """Return the results as lines: the score of each place, and what failed there.

    :arg places: dict of names to what the module kubernetes_benchmark_info returned.
    """
    lines = []
    for name, place in places.items():
        score = place["score"]
        lines.append(
            f"{name}: {_percent(score)}, {score['passed']} passed, {score['failed']} failed"
            f" ({score['excepted']} with a reason), {score['manual']} for a person"
        )
        for item in _failed(place):
            reason = f" ({item['reason']})" if item["reason"] else ""
            lines.append(f"  {item['number']} {item['title']}: {item['found']}; right: {item['right']}{reason}")
    score = _whole(places)
    lines.append(f"all: {_percent(score)}, {score['passed']} passed, {score['failed']} failed")
    return lines


def _row(cells, cell="td"):
    return "<tr>" + "".join(f"<{cell}{kind}>{html.escape(str(text))}</{cell}>" for text, kind in cells) + "</tr>"


def _plain(*texts):
    return [(text, "") for text in texts]


def _table(head, rows):
    return ["<table>", _row(_plain(*head), "th"), *rows, "</table>"]


def _cell(item):
    """Return the text and the attributes of one result in the table of all controls."""
    if item is None:
        return ("", ' class="none"')
    text, kind = _SIGNS[item["result"]]
    return (text, f' class="{"reason" if item["reason"] else kind}" title="{html.escape(item["found"])}"')


def _scores(places):
    rows = []
    for name, score in (*((name, place["score"]) for name, place in places.items()), ("all", _whole(places))):
        numbers = (score[key] for key in ("passed", "failed", "excepted", "manual", "not_applicable"))
        rows.append(_row(_plain(name, _percent(score), *numbers)))
    return _table(("", "score", "passed", "failed", "with a reason", "for a person", "not applicable"), rows)


def _findings(places, result):
    """Return a table of what has a result, the same finding of several places in one row."""
    found = {}
    for name, place in places.items():
        for item in place["controls"]:
            if item["result"] == result:
                key = (item["number"], item["title"], item["found"], item["right"], item["reason"])
                found.setdefault(key, []).append(name)
    order = {control.number: place for place, control in enumerate(kubernetes_benchmark.CONTROLS)}
    rows = [
        _row(_plain(number, title, ", ".join(found[key]), *rest))
        for key in sorted(found, key=lambda key: order[key[0]])
        for number, title, *rest in [key]
    ]
    return _table(("", "control", "where", "found", "right", "reason"), rows) if rows else ["<p>None.</p>"]


def kubernetes_benchmark_page(places, title):
    """Return the results as one HTML page that needs nothing else.

    :arg places: as of C(kubernetes_benchmark_report).
    """
    by_place = {name: {item["number"]: item for item in place["controls"]} for name, place in places.items()}
    rows = []
    for control in kubernetes_benchmark.CONTROLS:
        cells = [_cell(found.get(control.number)) for found in by_place.values()]
        if any(text for text, _kind in cells):
            kind = "automated" if control.automated else "manual"
            words = _plain(control.number, control.title, control.role, control.level, kind, control.right)
            rows.append(_row(words + cells))
    head = ("", "control", "part", "level", "in the benchmark", "right", *by_place)
    heading = html.escape(f"{title}: CIS Kubernetes Benchmark {kubernetes_benchmark.VERSION}")
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{heading}</title><style>{_STYLE}</style></head><body>',
            f"<h1>{heading}</h1>",
            "<p>The score is the share of controls that passed among those that passed or failed. A failed one with a"
            " reason counts as failed.</p>",
            *_scores(places),
            "<h2>What failed</h2>",
            *_findings(places, kubernetes_benchmark.FAIL),
            "<h2>What a person has to look at</h2>",
            *_findings(places, kubernetes_benchmark.MANUAL),
            "<h2>All controls</h2>",
            *_table(head, rows),
            "</body></html>",
            "",
        ]
    )


class FilterModule:
    """Filters for verify_kubernetes.yml."""

    def filters(self):
        return {
            "kubernetes_benchmark_page": kubernetes_benchmark_page,
            "kubernetes_benchmark_report": kubernetes_benchmark_report,
        }
