"""Records that a broken gateway sends. Each kind has a name; ingest or the lane must reject every one, and nothing else."""

import json
from typing import Any, NamedTuple

from stream_twin.events import LOINC


class Rubbish(NamedTuple):
    topic: str
    key: bytes
    value: bytes


TOPIC = "wearable.observations"
KINDS = (
    "cut off",
    "not UTF-8",
    "NaN",
    "infinity",
    "text for a number",
    "no code",
    "unknown code",
    "unknown unit",
    "implausible value",
    "empty patient id",
    "key of somebody else",
    "milliseconds",
    "two days ahead",
    "year 1850",
    "unequal series",
    "nested too deep",
    "unknown patient",
    "device of somebody else",
    "same id, other body",
)


def rubbish(kind: str, *, number: int, patient: str, device: str, stranger: str, at: float) -> list[Rubbish]:
    """The last record is of the kind; what it needs before it to be rubbish, a good record, comes first.

    Args:
        number: of this record; makes its id.
        device: a device of ``patient`` that measures the heart rate.
        stranger: another patient of the ward.
        at: the time of sending.

    Raises:
        ValueError: no such kind.
    """
    body: dict[str, Any] = {
        "type": "observation",
        "id": f"gateway-07/{number}",
        "patient_id": patient,
        "code": "8867-4",
        "code_system": LOINC,
        "unit": "/min",
        "device_id": device,
        "value": 77.0,
        "measured_at": round(at - 1.0, 3),
    }
    key = patient
    value: bytes | None = None
    good: list[Rubbish] = []
    match kind:
        case "cut off":
            value = json.dumps(body).encode()[:-40]
        case "not UTF-8":
            value = json.dumps(body).encode().replace(b"gateway", b"g\xe4teway")
        case "NaN":
            body["value"] = float("nan")
        case "infinity":
            value = json.dumps(body).replace("77.0", "1e999").encode()
        case "text for a number":
            body["value"] = "seventy"
        case "no code":
            del body["code"]
        case "unknown code":
            body["code"] = "00000-0"
        case "unknown unit":
            body["unit"] = "furlong/wk"
        case "implausible value":
            body["value"] = 7700.0
        case "empty patient id":
            body["patient_id"] = key = ""
        case "key of somebody else":
            key = stranger
        case "milliseconds":
            body["measured_at"] = round(at) * 1000
        case "two days ahead":
            body["measured_at"] = round(at + 2 * 86400.0, 3)
        case "year 1850":
            body["measured_at"] = "1850-01-01T00:00:00Z"
        case "unequal series":
            del body["value"]
            body |= {"type": "series", "values": [71, 72, 73], "measured_at": [at - 10, at - 5]}
        case "nested too deep":
            value = (json.dumps(body)[:-1] + ', "extra": ' + "[" * 600 + "]" * 600 + "}").encode()
        case "unknown patient":
            body["patient_id"] = key = "nobody-99"
        case "device of somebody else":
            body["device_id"] = device.rsplit("-", 1)[0] + "-" + stranger.rsplit("-", 1)[1]
        case "same id, other body":
            good = [Rubbish(TOPIC, key.encode(), json.dumps(body).encode())]
            body["value"] = 78.0
        case _:
            raise ValueError(f"no rubbish of the kind {kind!r}; there are {', '.join(KINDS)}")
    return [*good, Rubbish(TOPIC, key.encode(), json.dumps(body).encode() if value is None else value)]
