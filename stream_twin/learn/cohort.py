"""One learner per cohort: examples and labels in, numbered model parameters out. Pure.

Examples wait for their label. Each is judged by the probability that the twin gave when it was made, then learnt from; an
outcome makes those shortly before it positive (:class:`~stream_twin.learn.recipe.Recipe`). What waits is kept as columns of
four-byte numbers, in the snapshot too, so that a restored learner goes on exactly where it was; at most :data:`PER_PATIENT`
for each patient and :data:`WAITING` in all, the oldest go first.

It starts from a fitted model or, ``cold``, from nothing: then there are no predictions until :data:`PUBLISH_EVERY` patients
have their labels.
"""

from array import array
from collections import deque
from collections.abc import Iterable
from math import sqrt
from typing import Protocol

import msgspec
import numpy as np
from msgspec import Struct, field

from stream_twin.events import Example, Label, ModelParameters, Output
from stream_twin.learn.drift import Drift, DriftState
from stream_twin.learn.logistic import OnlineLogistic, Posterior, prior
from stream_twin.learn.recipe import Flags, Recipe, standards
from stream_twin.learn.risk import SCHEMA as PARAMETERS_SCHEMA
from stream_twin.learn.terms import Floats, Terms, features_of

SCHEMA = 1
PER_PATIENT = 240
WAITING = 6000
PUBLISH_EVERY = 10
WINDOW = 4000
"""Judged examples over which discrimination and calibration are measured."""
_decode = msgspec.json.Decoder(Example | Label).decode
_encode = msgspec.json.Encoder().encode


class Record(Protocol):
    """A record of ``learning.examples``."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


class Waiting(Struct, kw_only=True):
    """A patient's examples without a label, oldest first; ``features``: rows of the recipe's features, NaN where not known."""

    at: "array[float]" = field(default_factory=lambda: array("d"))
    probability: "array[float]" = field(default_factory=lambda: array("f"))
    features: "array[float]" = field(default_factory=lambda: array("f"))


class Saved(Struct, kw_only=True):
    schema: int = SCHEMA
    cohort: str
    setting: str
    positions: dict[int, int]
    version: int
    trained_on: int
    labels: int
    frozen: bool
    posterior: Posterior
    waiting: dict[str, tuple[bytes, bytes, bytes]]
    judged: bytes
    outcomes: bytes
    drift: DriftState


class CohortLearner:
    """``apply`` records in order of their partitions; what comes again is passed over.

    ``frozen``: go on judging, learn and publish nothing.
    """

    def __init__(self, recipe: Recipe, base: Posterior | None = None, *, trained_on: int = 0, frozen: bool = False) -> None:
        self.recipe = recipe
        self.frozen = frozen
        self.positions: dict[int, int] = {}
        self.version = 0
        self.trained_on = trained_on
        self.labels = 0
        self._features = features_of(recipe.terms)
        self._means, self._scales = standards(self._features)
        self._terms = Terms(recipe.terms, self._means, self._scales)
        self._model = OnlineLogistic(base or prior(recipe.terms, recipe.rate, recipe.precision, recipe.product_precision))
        self._waiting: dict[str, Waiting] = {}
        self._count = 0
        self._judged: deque[float] = deque(maxlen=WINDOW)
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)
        self._drift = Drift()

    @classmethod
    def restore(cls, recipe: Recipe, snapshot: bytes) -> "CohortLearner":
        """Raises ValueError where the snapshot is of another schema, cohort, setting or list of terms."""
        saved = msgspec.msgpack.decode(snapshot, type=Saved)
        found = (saved.schema, saved.cohort, saved.setting, saved.posterior.names[1:])
        if found != (SCHEMA, recipe.cohort, recipe.setting, list(recipe.terms)):
            of = f"schema {saved.schema}, cohort {saved.cohort}, setting {saved.setting}"
            raise ValueError(f"the learner's state is of {of}, or has other terms than this version: start it anew from the log")
        learner = cls(recipe, saved.posterior, trained_on=saved.trained_on, frozen=saved.frozen)
        learner.positions, learner.version, learner.labels = saved.positions, saved.version, saved.labels
        for patient, columns in saved.waiting.items():
            waiting = learner._waiting[patient] = Waiting()
            for column, stored in zip((waiting.at, waiting.probability, waiting.features), columns, strict=True):
                column.frombytes(stored)
            learner._count += len(waiting.at)
        learner._judged.extend(np.frombuffer(saved.judged, "<f8").tolist())
        learner._outcomes.extend(bool(outcome) for outcome in saved.outcomes)
        learner._drift = Drift(saved.drift)
        return learner

    # -------------------------------------------------------------------------------------------------------- learning

    def apply(self, records: Iterable[Record]) -> list[Output]:
        outputs: list[Output] = []
        for record in records:
            if record.offset < self.positions.get(record.partition, 0):
                continue
            self.positions[record.partition] = record.offset + 1
            message = _decode(record.value or b"")
            if message.cohort != self.recipe.cohort:
                continue
            if isinstance(message, Example):
                self._take_example(message)
            else:
                outputs.extend(self._take_label(message))
        return outputs

    def _take_example(self, example: Example) -> None:
        known = example.features
        if not any(name in known for name in self._features if "." in name):
            return  # of somebody of whom nothing was measured there is nothing to learn
        waiting = self._waiting.pop(example.patient_id, None) or Waiting()
        self._waiting[example.patient_id] = waiting  # last in the order of who was heard of
        waiting.at.append(example.at)
        nan = float("nan")
        waiting.probability.append(nan if example.probability is None else example.probability)
        waiting.features.extend([known.get(name, nan) for name in self._features])
        self._count += 1
        if len(waiting.at) > PER_PATIENT:
            self._drop_oldest(waiting)
        while self._count > WAITING:
            silent = next(iter(self._waiting))
            self._drop_oldest(self._waiting[silent])
            if not self._waiting[silent].at:
                del self._waiting[silent]

    def _drop_oldest(self, waiting: Waiting) -> None:
        del waiting.at[0], waiting.probability[0]
        del waiting.features[: len(self._features)]
        self._count -= 1

    def _take_label(self, label: Label) -> list[Output]:
        if not self.recipe.concerns(label):
            return []
        waiting = self._waiting.pop(label.patient_id, None)
        if waiting is None:
            return []
        self._count -= len(waiting.at)
        self.labels += 1
        used, occurred = self.recipe.outcomes(np.array(waiting.at), label)
        self._judge(np.array(waiting.probability)[used], occurred)
        if self.frozen:
            return []
        raw = np.array(waiting.features, dtype=np.float64).reshape(len(used), -1)
        rows = self._terms.columns(self._terms.standardised(raw[used]))
        self._model.learn(rows, occurred.tolist())
        self.trained_on += len(rows)
        return [self._publish(label.known_at)] if self.labels % PUBLISH_EVERY == 0 else []

    def _judge(self, probability: Floats, occurred: Flags) -> None:
        """Predictions as they were made, against what became of them: scored before they are learnt from."""
        made = ~np.isnan(probability)
        expected, seen, spread = 0.0, 0, 0.0
        inside = np.minimum(np.maximum(probability[made], 1e-6), 1 - 1e-6)
        for p, outcome in zip(inside.tolist(), occurred[made].tolist(), strict=True):
            self._judged.append(p)
            self._outcomes.append(outcome)
            expected, seen, spread = expected + p, seen + outcome, spread + p * (1 - p)
        if spread > 0:
            self._drift.update((seen - expected) / sqrt(spread))

    def _publish(self, at: float) -> Output:
        self.version += 1
        parameters = self.parameters(at)
        return Output("models", self.recipe.cohort.encode(), _encode(parameters))

    def parameters(self, effective_at: float) -> ModelParameters:
        """What is known now, as numbers."""
        intercept, *weights = (float(f"{w:.7g}") for w in self._model.weights.tolist())
        return ModelParameters(
            cohort=self.recipe.cohort,
            version=self.version,
            schema=PARAMETERS_SCHEMA,
            trained_on=self.trained_on,
            effective_at=effective_at,
            weights=dict(zip(self.recipe.terms, weights, strict=True)),
            intercept=intercept,
            means=self._means,
            scales=self._scales,
            metrics=self.metrics(),
            name=self.recipe.setting,
        )

    # --------------------------------------------------------------------------------------------------------- metrics

    def metrics(self) -> dict[str, float]:
        """Prequential: of the last :data:`WINDOW` predictions as they were made."""
        known = {
            "labels": float(self.labels),
            "examples_waiting": float(self._count),
            "drifts": float(self._drift.state.drifts),
        }
        if self._judged:
            p, y = np.array(self._judged), np.array(self._outcomes)
            log_loss = -np.log(np.where(y, p, 1 - p)).mean()
            known |= {"log_loss": float(log_loss), "expected": float(p.mean()), "observed": float(y.mean())}
            if y.any() and not y.all():
                known["auroc"] = auroc(p, y)
        return known

    # -------------------------------------------------------------------------------------------------------- snapshot

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            Saved(
                cohort=self.recipe.cohort,
                setting=self.recipe.setting,
                positions=self.positions,
                version=self.version,
                trained_on=self.trained_on,
                labels=self.labels,
                frozen=self.frozen,
                posterior=self._model.posterior,
                waiting={
                    patient: (w.at.tobytes(), w.probability.tobytes(), w.features.tobytes())
                    for patient, w in self._waiting.items()
                },
                judged=array("d", self._judged).tobytes(),
                outcomes=bytes(self._outcomes),
                drift=self._drift.state,
            )
        )


def auroc(probability: Floats, occurred: Flags) -> float:
    """How often a positive example has the higher probability than a negative one; ties count half."""
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    positive = int(occurred.sum())
    return float((rank[occurred].sum() - positive * (positive + 1) / 2) / (positive * (len(occurred) - positive)))
