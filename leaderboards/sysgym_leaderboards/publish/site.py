"""The static site: self-contained pages, no script, nothing from another server. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from sysgym_leaderboards.certificates import names_beside
from sysgym_leaderboards.names import shown_authors
from sysgym_leaderboards.publish.charts import COLOURS, SHOWN, interval_axis, interval_bar, profile_chart, scale_of

if TYPE_CHECKING:
    from sysgym_leaderboards.publish.pictures import Picture

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; margin: 0 auto;
  padding: 1.5rem 1rem 4rem; max-width: 76rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.2rem 0; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 0.6rem; }
a { color: #0b57d0; }
p { max-width: 46rem; margin: 0.5rem 0; }
.muted, figcaption, small { color: #566070; }
.scroll { overflow-x: auto; background: linear-gradient(90deg, #fff0, #fff 70%) right / 3rem 100% no-repeat local,
  linear-gradient(90deg, #fff0, #1c24302b) right / 0.7rem 100% no-repeat scroll; }
.scroll:focus-visible { outline: 2px solid #0b57d0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e7ec; }
th { font-weight: 600; border-bottom: 2px solid #c3cad3; vertical-align: bottom; }
th.text, td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
th.name { white-space: normal; overflow-wrap: break-word; min-width: 5rem; max-width: 9rem; }
td.name { white-space: nowrap; }
td.fixed, th.fixed { position: sticky; left: 0; background: #fff; z-index: 1; }
td.bar, th.bar { padding: 0 0.4rem; text-align: left; }
td.best { font-weight: 700; background: #e8f3ec; }
td.bad { color: #a3212f; }
small.range { display: block; }
svg { display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1rem; margin: 0.8rem 0; }
dt { color: #566070; }
dd { margin: 0; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; }
figure img { width: 100%; height: auto; border: 1px solid #e3e7ec; }
figcaption { font-size: 0.9rem; overflow-wrap: anywhere; }
.agent { display: inline-block; margin-right: 1.2em; }
.key { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 2px; margin-right: 0.35em; }
@media (max-width: 40rem) {
  body { padding: 1rem 0.75rem 3rem; }
  dl { display: block; }
  dd { margin: 0 0 0.5rem; }
  th, td { padding: 0.35rem 0.45rem; }
  th.text, td.text { min-width: 6rem; }
  td.name { white-space: normal; overflow-wrap: break-word; min-width: 6rem; max-width: 9rem; }
  .pictures { grid-template-columns: 1fr; }
}
"""


SEEDS = {  # what they mean, by division
    "solutions": "authors answer each with any computation they like: seeds show how much a method's answers vary only "
    "as far as its author says so; identical answers count once",
    "policy": "the judge runs the submitted agent with each: seeds are those of its random numbers; identical answers "
    "count once",
}


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _table(head: str, lines: Sequence[str]) -> str:
    """A table in a box of its own, which scrolls where the page is narrow."""
    return f'<div class="scroll" tabindex="0"><table>\n{head}\n{chr(10).join(lines)}\n</table></div>'


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:,.{digits}f}" if abs(value) < 1e6 else f"{value:.4g}"


def _cost(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


def _seconds(value: float | None) -> str:
    """Three significant digits, whole seconds from a thousand on."""
    return "–" if value is None else f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{math.floor(1000 * share) / 10:g} %"  # rounded down: 100 % means all


def index_page(reports: Sequence[Mapping[str, Any]]) -> str:
    """The list of boards with their leaders."""
    lines = []
    for report in reports:
        board, standings = report["board"], report["standings"]
        first = standings[0] if standings else None
        cells = [
            f'<td class="text fixed"><a href="{escape(board["id"])}.html">{escape(board["title"])}</a>'
            f"<br><small>{escape(board['id'])}</small></td>",
            f'<td class="text name">{escape(board["problem"])}</td>',
            f'<td class="text">{escape(_division(board))}</td>',
            f"<td>{len(board['expanded'])}</td>",
            f"<td>{len(standings)}</td>",
            f'<td class="text">{escape(first["agent"]) if first else "–"}</td>',
            f"<td>{_number(first['score'] if first else None)}</td>",
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = (
        '<tr><th class="text fixed">Board</th><th class="text">Problem</th><th class="text">Division</th>'
        "<th>Instances</th><th>Entries</th>"
        '<th class="text">Leader</th><th>Score</th></tr>'
    )
    intro = (
        "<h1>Leaderboards</h1>\n<p>Every entry was judged again from its solutions before it was listed. "
        "The score is the geometric mean of cost over reference cost: lower is better, 1 equals the reference.</p>"
    )
    return _page(
        "Leaderboards",
        f"{intro}\n{_table(head, lines)}{_footer(reports[:1])}",
    )


def _footer(reports: Sequence[Mapping[str, Any]]) -> str:
    return "".join(
        f'\n<p class="muted"><small>Store: {report["store"]["entries"]} entries, head of the hash chain '
        f"{escape(report['store']['head'][:16])}…</small></p>"
        for report in reports
    )


def board_page(report: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """The page of one board."""
    board = report["board"]
    parts = [
        '<p><a href="index.html">All boards</a></p>',
        f"<h1>{escape(board['title'])}</h1>",
        f'<p class="muted">{escape(board["id"])}</p>',
        _rules(board),
    ]
    if report["standings"]:
        parts += ["<h2>Ranking</h2>", _ranking(report), "<h2>Instances</h2>", _instances(report)]
        if len(report["win_matrix"]) > 1:
            parts += ["<h2>Head to head</h2>", _head_to_head(report)]
        parts += ["<h2>Performance profile</h2>", _profile(report)]
    elif not report["apart"]:
        parts.append("<h2>Ranking</h2><p>Nobody has submitted to this board yet.</p>")
    if report["apart"]:
        parts.append(_apart(report))
    if pictures:
        parts += ["<h2>Best solutions</h2>", f'<div class="pictures">{"".join(map(_figure, pictures))}</div>']
    name = escape(board["id"])
    counts = [(report[what], what) for what in ("rejected", "withdrawn") if report[what]]
    rejected = "".join(f"{n} submission{'s were' if n > 1 else ' was'} {what}. " for n, what in counts)
    parts.append(
        f'<h2>Data</h2><p>{rejected}This ranking as <a href="{name}.json">JSON</a> and '
        f'<a href="{name}.csv">CSV</a>.</p>'
    )
    return _page(board["title"], "\n".join(parts) + _footer([report]))


def _rules(board: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} = {value}" for key, value in board["options"].items())
    seeds = "one answer each" if board["seeds"] == 1 else f"seeds 0 to {board['seeds'] - 1} each"
    facts = {
        "Problem": board["problem"] + (f" with {options}" if options else ""),
        "Instances": f"{len(board['expanded'])} of {', '.join(board['instances'])}, {seeds}",
        "Score": f"geometric mean of cost / cost of {board['reference']}; lower is better, "
        f"an infeasible or missing answer counts {board['penalty']:g}, and a feasible one at most that; "
        f"a ratio counts at least {board['floor']:g}",
        "Division": _division(board) + (f": {board['freedom_about']}" if board["freedom"] else ""),
        "Seeds": SEEDS[board["division"]],
        "Budget": _budget(board),
    }
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in facts.items())}</dl>"


def _budget(board: Mapping[str, Any]) -> str:
    """What an answer may cost, and whether that is made sure of."""
    if board["division"] != "policy":
        return f"{board['seconds']:g} seconds an instance (not enforced; times are self-reported)"
    steps = f"{board['steps']} judged candidates and " if board["steps"] else ""
    return f"{steps}{board['seconds']:g} CPU seconds an answer; the judge runs the agent"


def _division(board: Mapping[str, Any]) -> str:
    """What entries have in common, such as "solutions, forces"."""
    return ", ".join(filter(None, (board["division"], board["freedom"])))


def ranked(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The standings that have a rank: all but copies."""
    return [line for line in report["standings"] if line["rank"] is not None]


def _apart(report: Mapping[str, Any]) -> str:
    lines = [
        f'<tr><td>{line["number"]}</td><td class="text fixed">{escape(line["agent"])}</td>'
        f'<td>{_number(line["score"])}</td><td class="text">{escape(line["judge"])}</td></tr>'
        for line in report["apart"]
    ]
    head = '<tr><th>Entry</th><th class="text fixed">Agent</th><th>Score</th><th class="text">Judge</th></tr>'
    return (
        f"<h2>Judged elsewhere</h2>{_table(head, lines)}\n"
        '<p class="muted">Verdicts of another judge than the one of this page; they rank once they are judged '
        "again.</p>"
    )


def _ranking(report: Mapping[str, Any]) -> str:
    standings = report["standings"]
    low, high = scale_of([(line["score"], line["low"], line["high"]) for line in standings])
    agents = {line["number"]: line["agent"] for line in standings}
    beside = names_beside(line.get("beside", {}) for line in standings)
    lines = []
    for line in standings:
        entry, about = line["entry"], line["entry"]["about"]
        agent = escape(line["agent"])
        if about.get("code"):
            agent = f'<a href="{escape(about["code"])}" rel="nofollow noopener">{agent}</a>'
        below = [escape(text) for text in (shown_authors(about.get("authors", [])), about.get("hardware")) if text]
        if line["same_as"] is not None:
            below.append(f"the same solutions as entry {line['same_as']}, {escape(agents[line['same_as']])}")
        if line["different"] < line["answers"]:
            below.append(f"{line['answers']} answers, {line['different']} different")
        cells = [
            f"<td>{'–' if line['rank'] is None else line['rank']}</td>",
            f'<td class="text fixed">{agent}{"".join(f"<br><small>{text}</small>" for text in below)}</td>',
            f"<td>{_number(line['score'])}</td>",
            f'<td class="bar">{interval_bar(line["score"], line["low"], line["high"], low, high)}</td>',
            f"<td>{_with_range(line['iqm'], line['iqm_low'], line['iqm_high'])}</td>",
            f"<td>{_with_range(line['gap'], line['gap_low'], line['gap_high'])}</td>",
            *(f"<td>{_number(line.get('beside', {}).get(name))}</td>" for name in beside),
            f"<td>{'–' if line['rank'] is None else line['wins']}</td>",
            f"<td>{_percent(line['feasible'])}</td>",
            f"<td>{_seconds(entry['claimed_seconds'])}</td>",
            f"<td>{escape(entry['created'][:10])}</td>",
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = (
        '<tr><th>Rank</th><th class="text fixed">Agent</th><th>Score</th>'
        f'<th class="bar"><small>Score, log scale</small>{interval_axis(low, high)}</th>'
        f"<th>IQM</th><th>Gap</th>{''.join(f'<th>{escape(name)}</th>' for name in beside)}<th>Wins</th>"
        "<th>Feasible</th><th>Seconds<br>(claimed)</th><th>Verified</th></tr>"
    )
    beyond = ", an arrow a score beyond the scale" if any(line["score"] > high for line in standings) else ""
    drawn = "instances drawn again"
    if report["board"]["seeds"] > 1:
        drawn = "seeds drawn again where answers to them differ, else instances"
    note = (
        f'<p class="muted">Bars and brackets: 95 % bootstrap intervals ({drawn}), the dashed line is the '
        f"reference{beyond}. IQM: mean of the middle half of reference / cost, higher is better. "
        "Gap: what reference / cost lacks to 1 on average (optimality gap), lower is better. "
        f"{_about_beside(beside)}"
        "Wins: instances on which no entry is better. Of equal scores, more feasible answers rank first. "
        "An entry with the solutions of an earlier one has no rank. "
        "Seconds and hardware are the authors' claims.</p>"
    )
    return f"{_table(head, lines)}\n{note}"


def _about_beside(names: Sequence[str]) -> str:
    what = (
        "means over the answers, such as of agreement with true classes, beside the ranking, which they do not decide"
    )
    return f"{escape(', '.join(names))}: {what}. " if names else ""


def _with_range(value: float | None, low: float | None, high: float | None) -> str:
    """A number and, below it, its interval."""
    return f'{_number(value)}<small class="range">[{_number(low)}, {_number(high)}]</small>'


def _win_cell(cell: tuple[float, float, float] | None) -> str:
    if cell is None:
        return "<td>–</td>"
    style = ' class="best"' if cell[1] > 0.5 else ""
    return f"<td{style}>{_with_range(*cell)}</td>"


def _head_to_head(report: Mapping[str, Any]) -> str:
    names = [escape(line["agent"]) for line in ranked(report)[:SHOWN]]
    lines = [
        f'<tr><td class="text name fixed">{name}</td>{"".join(map(_win_cell, row))}</tr>'
        for name, row in zip(names, report["win_matrix"], strict=True)
    ]
    columns = "".join(f'<th class="name">{name}</th>' for name in names)
    head = f'<tr><th class="text fixed">Better than</th>{columns}</tr>'
    return (
        f"{_table(head, lines)}\n"
        '<p class="muted">Probability that the agent of the row answers an instance better than that of'
        " the column, ties half, with its 95 % bootstrap interval; bold where the whole interval is above one half.</p>"
    )


def _instances(report: Mapping[str, Any]) -> str:
    standings = ranked(report)[:SHOWN]
    names = "".join(f'<th class="name">{escape(line["agent"])}</th>' for line in standings)
    lines = []
    for index, instance in enumerate(report["board"]["expanded"]):
        results = [line["results"][index] for line in standings]
        best = min(line["results"][index]["ratio"] for line in ranked(report))
        cells = "".join(_ratio_cell(result, best) for result in results)
        reference = _cost(results[0]["reference"])
        lines.append(f'<tr><td class="text name fixed">{escape(instance)}</td><td>{reference}</td>{cells}</tr>')
    label = escape(f"reference ({report['board']['reference']})")
    head = f'<tr><th class="text fixed">Instance</th><th class="name">{label}</th>{names}</tr>'
    more = len(ranked(report)) - len(standings)
    note = f" The other {more} entries are in the JSON and CSV." if more else ""
    return (
        f"{_table(head, lines)}\n"
        '<p class="muted">Mean cost of the feasible answers, and in brackets the geometric mean of the ratios to the '
        f"reference, counted as in the score, infeasible answers included; the lowest of these means is bold.{note}</p>"
    )


def _ratio_cell(result: Mapping[str, Any], best: float) -> str:
    if result["cost"] is None:
        return f'<td class="bad">infeasible ({_number(result["ratio"])})</td>'
    style = ' class="best"' if result["ratio"] == best else ""
    return f"<td{style}>{_cost(result['mean_cost'])} <small>({_number(result['ratio'])})</small></td>"


def _profile(report: Mapping[str, Any]) -> str:
    standings = ranked(report)[:SHOWN]
    keys = "".join(
        f'<span class="agent"><span class="key" style="background:{COLOURS[i]}"></span>{escape(line["agent"])}</span>'
        for i, line in enumerate(standings)
    )
    chart = profile_chart(report["profile_at"], [line["profile"] for line in standings])
    note = (
        '<p class="muted">Share of the answers that are feasible and within a ratio to the reference; '
        "higher is better.</p>"
    )
    return f'<p>{keys}</p>\n<div class="scroll" tabindex="0">{chart}</div>\n{note}'


def _figure(picture: Picture) -> str:
    caption = (
        f"{escape(picture.instance)}: {_cost(picture.cost)} by {escape(picture.agent)} "
        f"(reference {_cost(picture.reference)})"
    )
    width, height = picture.size
    return (
        f'<figure><img src="{escape(picture.file)}" width="{width}" height="{height}" loading="lazy" '
        f'alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )
