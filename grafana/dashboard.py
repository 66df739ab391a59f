"""Writes ``dashboards/service.json``: ``python grafana/dashboard.py [--check]``. One entry of PANELS is one panel."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parent / "dashboards" / "service.json"


class Panel(NamedTuple):
    """``queries``: PromQL and the legend. ``kind``: a Grafana panel type."""

    title: str
    meaning: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    rate = f"sum by (le) (rate(stream_twin_{metric}_bucket[$__rate_interval]))"
    return tuple((f"histogram_quantile({q}, {rate})", f"p{q * 100:g}") for q in (0.5, 0.99))


PANELS = (
    Panel(
        "Lanes",
        "Opening lanes restore their twins; none open means that nobody is watched.",
        (("sum by (state) (stream_twin_lanes)", "{{state}}"),),
        kind="stat",
    ),
    Panel("Twins", "Held in memory, over all workers.", (("sum(stream_twin_twins)", "twins"),), kind="stat"),
    Panel(
        "Behind by",
        "Age of what is completely in the logs: silence and lateness go by it. Should be a few seconds.",
        (("time() - min(stream_twin_complete_to_timestamp_seconds)", "age"),),
        "s",
        "stat",
    ),
    Panel(
        "Alerts raised in 24 h",
        "Changes to raised or escalated, by priority.",
        (('sum by (priority) (increase(stream_twin_alerts_total{state=~"raised|escalated"}[24h]))', "{{priority}}"),),
        kind="stat",
    ),
    Panel(
        "Events in",
        "Records read, by topic.",
        (("sum by (topic) (rate(stream_twin_events_in_total[$__rate_interval]))", "{{topic}}"),),
        "cps",
    ),
    Panel(
        "Not processed yet", "Records in Kafka that wait, by topic.", (("sum by (topic) (stream_twin_lag_records)", "{{topic}}"),)
    ),
    Panel("Source record to committed", "Oldest record of each batch.", quantiles("end_to_end_seconds"), "s"),
    Panel("Transactions", "Duration.", quantiles("transaction_seconds"), "s"),
    Panel(
        "Alerts",
        "Changes per hour, by rule and new state.",
        (("sum by (rule, state) (increase(stream_twin_alerts_total[1h]))", "{{rule}} {{state}}"),),
    ),
    Panel(
        "Refused",
        "Dead letters, by stage and reason.",
        (("sum by (stage, reason) (rate(stream_twin_rejected_total[$__rate_interval]))", "{{stage}}: {{reason}}"),),
        "cps",
    ),
    Panel(
        "Inputs that changed nothing",
        "Duplicates, late ones and failed updates.",
        (
            (
                'sum by (outcome) (rate(stream_twin_inputs_total{outcome=~"duplicate|late|failed"}[$__rate_interval]))',
                "{{outcome}}",
            ),
        ),
        "cps",
    ),
    Panel(
        "Samples within 90 %",
        "Share of innovations below 1.64 standard deviations, by signal: 90 % is calibrated.",
        (
            (
                'sum by (signal) (rate(stream_twin_innovation_sigmas_bucket{le="1.64"}[1h]))'
                " / sum by (signal) (rate(stream_twin_innovation_sigmas_count[1h]))",
                "{{signal}}",
            ),
        ),
        "percentunit",
    ),
    Panel("Drifts", "Per hour, by signal.", (("sum by (signal) (increase(stream_twin_drifts_total[1h]))", "{{signal}}"),)),
    Panel("Learners", "What each cohort's learner measures of itself.", (("stream_twin_learner", "{{cohort}} {{measure}}"),)),
)


def dashboard() -> dict[str, Any]:
    return {
        "uid": "stream-twin-service",
        "title": "Stream Twin: the service",
        "description": "How the service is doing. No patient is named here; stream-twin show does that.",
        "schemaVersion": 41,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    stats = sum(one.kind == "stat" for one in PANELS)
    if panel.kind == "stat":
        place = {"h": 4, "w": 24 // stats, "x": 24 // stats * number, "y": 0}
    else:
        place = {"h": 8, "w": 12, "x": (number - stats) % 2 * 12, "y": 4 + (number - stats) // 2 * 8}
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(65 + place_), "expr": query, "legendFormat": legend}
            for place_, (query, legend) in enumerate(panel.queries)
        ],
    }


def main() -> None:
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        if not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
            sys.exit(f"{FILE} is out of date: run python grafana/dashboard.py")
    else:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
