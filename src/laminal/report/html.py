"""Pieces of HTML; every text that comes from outside is escaped here."""

from collections.abc import Mapping, Sequence
from html import escape


def text(value: object) -> str:
    """Escape a text for content and for attributes."""
    return escape(str(value), quote=True)


def listing(lines: Sequence[str], kind: str = "said") -> str:
    """Make a list of sentences."""
    return f'<ul class="{kind}">' + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>" if lines else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], wrap: Sequence[int] = ()) -> str:
    """Make a table that scrolls on a narrow screen; columns in `wrap` break their lines."""
    if not rows:
        return ""
    mark = [' class="wrap"' if place in wrap else "" for place in range(len(heads))]
    head = "".join(f"<th{mark[place]}>{text(each)}</th>" for place, each in enumerate(heads))
    body = "".join("<tr>" + "".join(f"<td{mark[place]}>{text(each)}</td>" for place, each in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(title: str, content: str) -> str:
    """Make a part that opens on a click; nothing where it is empty."""
    return f"<details><summary>{text(title)}</summary>{content}</details>" if content else ""


def select(section: str, column: str, label: str, options: Mapping[str, str], chosen: str) -> str:
    """Make a choice; nothing where there is nothing to choose from."""
    if len(options) < 2:
        return ""
    made = "".join(
        f'<option value="{text(value)}"{" selected" if value == chosen else ""}>{text(said)}</option>' for value, said in options.items()
    )
    return f'<label>{text(label)} <select data-section="{text(section)}" data-column="{text(column)}">{made}</select></label>'


def section(name: str, title: str, content: str) -> str:
    """Make a section with a heading."""
    return f'<section id="{text(name)}"><h2>{text(title)}</h2>{content}</section>' if content else ""
