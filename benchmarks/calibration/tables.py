"""The report as text for a terminal and as a page of the documentation."""

from typing import Any

RULES = ("each alone, fitted", "catalogue, alone", "last value", "average")


def text(found: dict[str, Any]) -> str:
    """One data set; of the rules: their log score minus the twin's, both by what is strictly older."""
    columns = {"n": 8, "90 %": 7, "same": 7, "twin": 9, "alone": 8, "catal.": 8, "last": 8, "averg.": 8, "local": 8, "fusion": 8}
    heads = "".join(f"{name:>{width}}" for name, width in (columns | {"ahead": 8}).items())
    lines = [f"{found['title']}: {found['people']} people, {found['overall']['samples']} samples", f"{'':28}{heads}"]
    for signal, row in found["signals"].items():
        score, local = row["log_score"], row["local_level"]
        against = "".join(f"{score[other] - score['twin']:8.3f}" for other in RULES)
        level = f"{local['log_score'] - local['twin_log_score']:8.3f}" if isinstance(local, dict) else f"{'-':>8}"
        shares = f"{100 * row['covered']:7.1f}{100 * row['covered_joint']:7.1f}"
        lines.append(
            f"{signal:28}{row['samples']:8}{shares}{score['twin']:9.3f}{against}{level}{row['fusion']:8.3f}{row['fusion_ahead']:8.3f}"
        )
    o = found["overall"]
    against = "".join(f"{-o[f'over {other}']:8.3f}" for other in RULES)
    shares = f"{100 * o['covered']:7.1f}{100 * o['covered_joint']:7.1f}"
    lines.append(f"{'all':28}{o['samples']:8}{shares}{'':9}{against}{'':8}{o['fusion']:8.3f}{o['fusion_ahead']:8.3f}")
    lines.append("  " + ", ".join(f"{key} {100 * part['covered']:.1f} %" for key, part in o["subgroups"].items()))
    return "\n".join(lines)


EXPLAINED = """- **90 %**: share of samples in the 90 % interval that strictly older samples predicted; **same**: when
  the samples of the same moment that stand before are known too.
- **Log score**: mean, nats, density in the signal's own unit, strictly ahead. Of the others: how much less (-) or more (+) it
  is than the twin's. *alone*: each signal for itself, fitted to the same people; *catalogue*: the catalogue's models, each for
  itself; *last*, *average*: last value, best exponential average; *local*: statsmodels' local level, on the second halves of at
  most 60 people's samples.
- **CRPS**: mean, in the signal's unit, strictly ahead.
- **Fusion**: log score of the joint twin, same moment known, minus that of the same model which sees this signal alone;
  **ahead**: the same, strictly ahead."""
COLUMNS = "samples, 90 %, same, log score, alone, catalogue, last, average, local, CRPS, last, average, fusion, ahead"


def markdown(sets: dict[str, Any], date: str) -> str:
    about = f"Made by `make calibrate`, {date}; [twin.md](../twin.md) explains it. On people on whom nothing was fitted."
    lines = ["# What was measured of the twin", "", about, "", EXPLAINED]
    for found in sets.values():
        lines += ["", f"## {found['title']}: {found['people']} people", ""]
        lines += ["| | " + COLUMNS.replace(", ", " | ") + " |", "|---|" + "---:|" * 14]
        lines += [_row([name.replace("_", " "), *_signal(row)]) for name, row in found["signals"].items()]
        o = found["overall"]
        against = [f"{-o[f'over {other}']:+.3f}" for other in RULES]
        lines.append(_row(["**all**", *_shares(o), "", *against, *[""] * 4, *_fusion(o)]))
        lines += ["", "| samples | how many | in the 90 % interval |", "|---|---:|---:|"]
        lines += [_row([name, f"{g['samples']:,}", f"{100 * g['covered']:.1f} %"]) for name, g in o["subgroups"].items()]
    return "\n".join(lines) + "\n"


def _signal(row: dict[str, Any]) -> list[str]:
    score, crps, local = row["log_score"], row["crps"], row["local_level"]
    against = [f"{score[other] - score['twin']:+.3f}" for other in RULES]
    level = f"{local['log_score'] - local['twin_log_score']:+.3f}" if isinstance(local, dict) else ""
    errors = [f"{crps[name]:.3g}" for name in ("twin", "last value", "average")]
    return [*_shares(row), f"{score['twin']:.3f}", *against, level, *errors, *_fusion(row)]


def _shares(row: dict[str, Any]) -> list[str]:
    return [f"{row['samples']:,}", f"{100 * row['covered']:.1f}", f"{100 * row['covered_joint']:.1f}"]


def _fusion(row: dict[str, Any]) -> list[str]:
    return [f"{row['fusion']:+.3f}", f"{row['fusion_ahead']:+.3f}"]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
