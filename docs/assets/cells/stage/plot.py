"""`workerlab.plot` in the page: numbers as a table, because matplotlib is too heavy here."""

from dataclasses import dataclass
from html import escape

from workerlab.experiment import number

HEAD = "図を描く matplotlib は重いので、ページの中では表で示します。"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Rows of text; the first of each is its name."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self):
        return "\n".join([self.title, *(" ".join(row) for row in self.rows)])

    def _repr_html_(self):
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.head)
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(f"<td>{escape(value)}</td>" for value in values)
            + "</tr>"
            for name, *values in self.rows
        )
        return (
            f"<table><caption>{escape(self.title)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{HEAD}</p>"
        )


def bars(values, *, title, unit, expected=None, expected_label="正しい数"):
    """One row for each name."""
    rows = [(name, number(value)) for name, value in values.items()]
    if expected is not None:
        rows.append((expected_label, number(expected)))
    return Picture(title=title, head=("", unit), rows=tuple(rows))


def lines(at, series, *, title, along, unit, expected=None, expected_label="正しい数"):
    """One row for each place of *at*, one column for each series."""
    named = dict(series)
    if expected is not None:
        named[expected_label] = [expected] * len(at)
    rows = tuple(
        (number(place), *(number(values[index]) for values in named.values()))
        for index, place in enumerate(at)
    )
    return Picture(title=f"{title}（{unit}）", head=(along, *named), rows=rows)
