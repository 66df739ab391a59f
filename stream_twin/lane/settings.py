"""What a lane decides by. Its settings travel in its own log, so that a replay decides the same."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from stream_twin.events import RuleConfiguration

HOUR_S = 3600.0


def _lateness() -> dict[str, float]:
    return {"streaming": 120.0, "syncing": 48 * HOUR_S, "laboratory": 48 * HOUR_S, "bedside": 48 * HOUR_S}


class LaneSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds unless the name says otherwise."""

    estimate_every_s: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    """Least time between two estimates of a patient, by the lane's clock; alerts do not wait for it."""
    hold_unknown_s: Annotated[float, Meta(ge=0, le=86400)] = 60.0
    """How long samples of a patient or device that is not known yet are held."""
    unknown_patients: Literal["reject", "watch"] = "reject"
    """After that: dead letters, or a twin with the population's defaults and a technical alert."""
    lateness_s: dict[str, Annotated[float, Meta(ge=0)]] = field(default_factory=_lateness)
    """By kind of device: how late a sample may come and still be joined exactly."""
    pending_limit: Annotated[int, Meta(ge=64, le=1_000_000)] = 4000
    """Samples of one patient's block that are kept for late ones to join, whatever the lateness."""
    example_every_s: Annotated[float, Meta(ge=60)] = HOUR_S
    """How often a patient of a cohort is scored and gives an example to learn from."""
    rules: dict[str, dict[str, Any]] = {}
    """Parameters of alert rules that differ from the rule's own, by rule name."""
    rules_by_population: dict[str, dict[str, dict[str, Any]]] = {}
    """The same for patients of a population, which go before those."""
    rules_by_patient: dict[str, dict[str, dict[str, Any]]] = {}
    """The same for single patients, which go before both."""

    @property
    def configuration(self) -> RuleConfiguration:
        """What settings say of rules."""
        return RuleConfiguration(
            version=0, rules=self.rules, populations=self.rules_by_population, patients=self.rules_by_patient
        )
