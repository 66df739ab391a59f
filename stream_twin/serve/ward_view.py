"""The ward in a terminal: one row per patient, those in need first, and the alerts as they come.

:class:`WardView` is fed with what the service puts out and draws itself; it reads no topic and asks no clock.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream_twin.events import AlertChange, Estimate
from stream_twin.signals import Catalogue

PRIORITIES = {"high": 0, "medium": 1, "low": 2}
COLOURS = {"high": "#ff5f5f", "medium": "#ffaf00", "low": "#5fd7ff"}
"""Red, amber and cyan as in IEC 60601-1-8; each priority has a mark of its own too."""
MARKS = {"high": "▲", "medium": "◆", "low": "●"}
QUIET, FAINT, GOOD = "#8a8a8a", "#5f6a72", "#87d787"
BARS = "▁▂▃▄▅▆▇█"
SHORT = {"acknowledged": "seen", "commented": "note"}
STALE_S = 600.0
TREND_S = 300.0
"""A point of the trend line for each such step of the ward's clock."""


@dataclass(frozen=True, slots=True)
class Column:
    signal: str
    heading: str
    decimals: int = 0
    stale_s: float = 600.0
    """Older than this, its age is shown in place of its trend."""
    wide_only: bool = False


COLUMNS = (
    Column("heart_rate", "heart"),
    Column("respiratory_rate", "breathing"),
    Column("spo2", "SpO₂"),
    Column("body_temperature", "temp", decimals=1),
    Column("glucose", "glucose"),
    Column("systolic_blood_pressure", "systolic", stale_s=8 * 3600.0, wide_only=True),
)


@dataclass(slots=True)
class Figures:
    """Numbers of the run, for the frame of the view. ``clock``: the ward's own time; None before it is known."""

    clock: float | None = None
    speed: float = 0.0
    elapsed_s: float = 0.0
    events_in: int = 0
    events_per_s: float = 0.0
    lag: int = 0
    estimates: int = 0
    note: str = ""


@dataclass(slots=True)
class _Row:
    estimate: Estimate
    trends: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    alerts: dict[str, AlertChange] = field(default_factory=dict)


class WardView:
    def __init__(self, catalogue: Catalogue) -> None:
        self.alerts_raised = 0
        self.dead_letters: Counter[str] = Counter()
        self._catalogue = catalogue
        self._rows: dict[str, _Row] = {}
        self._changes: deque[AlertChange] = deque(maxlen=60)
        self._orphans: dict[str, dict[str, AlertChange]] = {}

    def see_estimate(self, estimate: Estimate) -> None:
        row = self._rows.get(estimate.patient_id)
        if row is None:
            row = self._rows[estimate.patient_id] = _Row(estimate, alerts=self._orphans.pop(estimate.patient_id, {}))
        row.estimate = estimate
        for name, signal in estimate.signals.items():
            trend = row.trends.setdefault(name, deque(maxlen=90))
            if not trend or estimate.at - trend[-1][0] >= TREND_S:
                trend.append((estimate.at, signal.level))

    def see_alert(self, change: AlertChange) -> None:
        """An alert of a patient of whom there is no estimate yet waits for it."""
        row = self._rows.get(change.patient_id)
        alerts = row.alerts if row else self._orphans.setdefault(change.patient_id, {})
        if change.state in ("resolved", "expired"):
            alerts.pop(change.alert_id, None)
        else:
            alerts[change.alert_id] = change
        self.alerts_raised += change.state == "raised"
        self._changes.appendleft(change)

    def see_dead_letter(self, reason: str) -> None:
        self.dead_letters[reason] += 1

    @property
    def open_alerts(self) -> list[AlertChange]:
        return [change for row in self._rows.values() for change in row.alerts.values()] + [
            change for alerts in self._orphans.values() for change in alerts.values()
        ]

    def by_need(self) -> list[Estimate]:
        """The newest estimate of each patient, who needs somebody most first."""
        return [row.estimate for row in sorted(self._rows.values(), key=_need)]

    def render(self, width: int, height: int, figures: Figures) -> RenderableType:
        """A picture of exactly ``height`` lines, for a terminal of at least 80 columns."""
        count = len(self._rows)
        quarter = max(7, min(22, height // 3))
        shown = max(1, min(count, height - 6 - quarter))
        alert_lines = height - 6 - shown
        return Group(
            self._header(width, figures),
            self._table(width, shown, figures),
            self._alerts(width, alert_lines, hidden=max(0, count - shown)),
            self._footer(width, figures),
        )

    def _header(self, width: int, figures: Figures) -> RenderableType:
        clock = "the worker is starting" if figures.clock is None else f"{moment(figures.clock):%a %d %b  %H:%M:%S} UTC"
        left = Text.assemble((" Stream Twin ", "bold #ffffff on #005f87"), "  ", (clock, "bold"))
        if figures.speed:
            left.append(f"  ×{figures.speed:g}", style=QUIET)
        right = Text()
        for priority, colour in COLOURS.items():
            open_ = sum(change.priority == priority for change in self.open_alerts)
            right.append(f"{MARKS[priority]} {open_} ", style=f"bold {colour}" if open_ else FAINT)
        right.append(f" {len(self._rows)} patients", style=QUIET)
        return Group(_ends(left, right, width), _ends(_rate_line(figures), Text(figures.note, style=FAINT), width))

    def _table(self, width: int, shown: int, figures: Figures) -> RenderableType:
        wide = width >= 150
        columns = [column for column in COLUMNS if wide or not column.wide_only]
        table = Table(box=box.SIMPLE_HEAD, border_style=FAINT, header_style=QUIET, padding=(0, 1, 0, 0), expand=True)
        table.pad_edge = table.show_edge = False
        table.add_column("  patient", no_wrap=True, width=9)
        for column in columns:
            unit = self._catalogue[column.signal].unit.replace("Cel", "°C").replace("mm[Hg]", "mmHg")
            heading = Text.assemble(column.heading, (f" {unit}" if wide else "", FAINT))
            table.add_column(heading, no_wrap=True, ratio=12 + 3 * column.decimals)
        table.add_column("seen", no_wrap=True, width=4, justify="right")
        if wide:
            table.add_column("risk", no_wrap=True, width=4, justify="right")
            table.add_column("open alerts", no_wrap=True, ratio=12)
        shares = sum(12 + 3 * column.decimals for column in columns) + (12 if wide else 0)
        share = (width - (28 if wide else 17)) / shares
        for row in sorted(self._rows.values(), key=_need)[:shown]:
            table.add_row(*self._cells(row, columns, share, wide=wide, clock=figures.clock or row.estimate.at))
        return table

    def _cells(self, row: _Row, columns: Iterable[Column], share: float, *, wide: bool, clock: float) -> list[Text]:
        worst = _worst(row.alerts.values())
        mark = Text(MARKS[worst.priority] if worst else " ", style=COLOURS[worst.priority] if worst else "")
        cells = [Text.assemble(mark, " ", (row.estimate.patient_id, "bold" if worst else ""))]
        cells += [_cell(row, column, int(share * (12 + 3 * column.decimals)) - 1, clock) for column in columns]
        newest = max((signal.last_at for signal in row.estimate.signals.values()), default=clock)
        silent_s = max(0.0, clock - newest)
        cells.append(Text(age(silent_s), style=COLOURS["low"] if silent_s > STALE_S else QUIET))
        if wide:
            risk = row.estimate.risk
            cells.append(Text(f"{risk.probability:.0%}" if risk else "·", style="" if risk else FAINT))
            told = Text(no_wrap=True, overflow="ellipsis")
            for change in sorted(row.alerts.values(), key=lambda change: PRIORITIES[change.priority]):
                told.append(f"{', ' if told else ''}{_short(change.subject)}", style=COLOURS[change.priority])
            cells.append(told or Text("·", style=FAINT))
        return cells

    def _alerts(self, width: int, lines: int, hidden: int) -> RenderableType:
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
        for size in (5, 1, 8, 9):
            table.add_column(no_wrap=True, width=size)
        table.add_column(ratio=1)
        room, left = width - 31, lines - 2
        for change in self._changes:
            over = change.state in ("resolved", "expired", "latched")
            colour = FAINT if over else COLOURS[change.priority]
            said = Text(change.reason, style=QUIET if over else "")
            if change.next_step and not over:
                said.append(f"  → {change.next_step}", style=QUIET)
            wrapped = said.wrap(Console(width=width), room)[: max(1, min(left, 1 if over else 2))]
            left -= len(wrapped)
            table.add_row(
                Text(f"{moment(change.at):%H:%M}", style=QUIET),
                Text("✓" if over else MARKS[change.priority], style=GOOD if over else colour),
                Text(change.patient_id, style="" if over else "bold"),
                Text(SHORT.get(change.state, change.state), style=colour),
                Text("\n").join(wrapped),
            )
            if left <= 0:
                break
        if not self._changes:
            table.add_row("", "", "", "", Text("nothing so far", style=FAINT))
        subtitle = Text(f" {hidden} more patients, less in need ", style=FAINT) if hidden else None
        title = Text.assemble((" alerts ", "bold"), (f"{self.alerts_raised} raised so far ", QUIET))
        return Panel(
            table, box=box.ROUNDED, border_style=FAINT, title=title, title_align="left", height=lines, subtitle=subtitle,
            subtitle_align="right", padding=(0, 1),
        )  # fmt: skip

    def _footer(self, width: int, figures: Figures) -> RenderableType:
        total = sum(self.dead_letters.values())
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f" {total:,} dead letters ", style="bold" if total else FAINT)
        for reason, number in self.dead_letters.most_common():
            text.append(f" {reason.replace('_', ' ')} ", style=QUIET).append(str(number), style="#d7d7d7")
        text.truncate(width - 16, overflow="ellipsis")
        return _ends(text, Text("Ctrl-C ends it ", style=FAINT), width)


def _cell(row: _Row, column: Column, width: int, clock: float) -> Text:
    """Last value, belief with its 90 % interval, and where it has been going; or how old it is."""
    signal = row.estimate.signals.get(column.signal)
    if signal is None:
        return Text("  ·", style=FAINT)
    about = _worst(change for change in row.alerts.values() if change.subject == column.signal)
    colour = COLOURS[about.priority] if about else ""
    half = (signal.high - signal.low) / 2
    stale = clock - signal.last_at > column.stale_s
    belief = f"{signal.level:.{column.decimals}f}±{half:.{column.decimals}f}"
    text = Text(no_wrap=True, overflow="crop")
    value = f"{signal.last_value:>{3 + column.decimals}.{column.decimals}f} "
    text.append(value, style=FAINT if stale else f"bold {colour}".strip())
    text.append(f"{belief:<{6 + 2 * column.decimals}} ", style=FAINT if stale else QUIET)
    if stale:
        text.append(age(clock - signal.last_at), style=COLOURS["low"])
    else:
        levels = [level for _, level in row.trends[column.signal]]
        text.append(_spark(levels, min(16, width - text.cell_len), half), style=colour or "#44697f")
    return text


def _rate_line(figures: Figures) -> Text:
    line = Text(" ")
    pairs = (
        (f"{figures.events_per_s:,.0f}", " events/s  "),
        (f"{figures.events_in:,}", " in  "),
        (f"{figures.estimates:,}", " estimates  "),
        (f"{figures.lag:,}", " behind"),
    )
    for number, what in pairs:
        line.append(number, style="bold #d7d7d7").append(what, style=QUIET)
    return line


def alert_line(change: AlertChange) -> str:
    """One line for a log: when, how grave, who, what, why."""
    step = f"  ->  {change.next_step}" if change.next_step and change.state in {"raised", "escalated"} else ""
    when = f"{moment(change.at):%H:%M:%S}"
    what = f"{when}  {change.state:<12} {change.priority:<6} {change.patient_id}  {change.rule} {change.subject}"
    return f"{what}: {change.reason}{step}"


def figures_line(view: WardView, figures: Figures) -> str:
    """One line for a log: how the run is going."""
    clock = "--:--:--" if figures.clock is None else f"{moment(figures.clock):%H:%M:%S}"
    parts = (
        clock,
        f"{figures.events_per_s:,.0f} events/s",
        f"{figures.events_in:,} in",
        f"{figures.lag:,} behind",
        f"{figures.estimates:,} estimates",
        f"{len(view.open_alerts)} open alerts",
        f"{view.dead_letters.total():,} dead letters",
    )
    return "  ".join(parts)


def _need(row: _Row) -> tuple[float, ...]:
    """Smaller is more urgent: physiological before technical, then priority, then how many, then how far from usual."""
    graded = [(change.kind == "technical", PRIORITIES[change.priority]) for change in row.alerts.values()]
    technical, priority = min(graded, default=(True, 9))
    risk = row.estimate.risk.probability if row.estimate.risk else 0.0
    strangeness = round(_strangeness(row.estimate))
    return (float(technical), float(priority), -float(len(graded)), -round(risk, 2), -strangeness, _order(row))


def _order(row: _Row) -> float:
    digits = "".join(filter(str.isdigit, row.estimate.patient_id))
    return float(digits or 0)


def _strangeness(estimate: Estimate) -> float:
    """How many half intervals the level is from what is usual, the most over the signals."""
    return max(
        (abs(signal.level - signal.baseline) / max(1e-9, (signal.high - signal.low) / 2) for signal in estimate.signals.values()),
        default=0.0,
    )


def _worst(alerts: Iterable[AlertChange]) -> AlertChange | None:
    return min(alerts, key=lambda change: PRIORITIES[change.priority], default=None)


def _spark(levels: list[float], room: int, half: float) -> str:
    """The last levels as bars. What is small against the belief's own interval stays flat: noise is not drawn as a wave."""
    levels = levels[-room:] if room > 0 else []
    if not levels:
        return ""
    low, high = min(levels), max(levels)
    middle, reach = (low + high) / 2, max(high - low, half, 1e-9)
    return "".join(BARS[min(7, max(0, round(3.5 + 7 * (level - middle) / reach)))] for level in levels)


def age(seconds: float) -> str:
    """In the largest unit that still says something."""
    if seconds < 100:
        return f"{max(0.0, seconds):.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{seconds / 3600:.0f}h"


def _short(subject: str) -> str:
    names = {column.signal: column.heading for column in COLUMNS}
    return names.get(subject, subject.replace("_", " "))


def moment(at: float) -> datetime:
    """UTC."""
    return datetime.fromtimestamp(at, UTC)


def _ends(left: Text, right: Text, width: int) -> Text:
    """Left and right on one line."""
    line = left.copy()
    line.append(" " * max(1, width - left.cell_len - right.cell_len - 1))
    line.append_text(right)
    line.truncate(width)
    line.no_wrap = True
    return line
