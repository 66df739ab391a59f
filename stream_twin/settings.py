"""All settings of the service: from options, the environment and a file, checked once at the start.

Precedence: option, environment variable, file, default. ``python -m stream_twin.settings`` writes ``docs/settings.md``,
``--check`` compares it.
"""

import os
import ssl
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from stream_twin.ingest import Bounds
from stream_twin.lane import LaneSettings
from stream_twin.tables import bounds, from_table, merged, shown, struct_rows, suggestion, type_name

PREFIX = "STREAM_TWIN_"
NOT_SETTINGS = {"STREAM_TWIN_CONFIG", "STREAM_TWIN_RECORDINGS"}
"""Names in the environment that are read elsewhere: the file's path, and where tests find recordings."""


class SettingsError(ValueError):
    """A setting is wrong; the message is for people, one line per setting, and holds no secret."""

    exit_code = 2


def _addresses(broker: str) -> str:
    """``kafka://a:9092,b:9092`` or without the scheme -> ``a:9092,b:9092``."""
    addresses = []
    for part in broker.replace(";", ",").split(","):
        address = part.strip().removeprefix("kafka://")
        host, colon, port = address.rpartition(":")
        if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536 or "/" in address:
            raise ValueError(f"{part.strip()!r} is not HOST:PORT or kafka://HOST:PORT")
        addresses.append(address)
    return ",".join(addresses)


class KafkaOptions(BaseModel):
    """How clients authenticate with the brokers, in aiokafka's names."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to talk to the brokers."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """With a SASL protocol only."""
    sasl_plain_username: str | None = None
    """User for any of the mechanisms."""
    sasl_plain_password: SecretStr | None = None
    """Password for any of the mechanisms; never printed."""
    ssl_cafile: Path | None = None
    """Certificates (PEM) that sign the brokers' ones; without it the system's."""
    ssl_certfile: Path | None = None
    """The client's own certificate (PEM)."""
    ssl_keyfile: Path | None = None
    """Key of the client's certificate (PEM)."""
    ssl_password: SecretStr | None = None
    """Password of the key; never printed."""
    ssl_check_hostname: bool = True
    """Whether a broker's certificate must name its host."""

    def for_aiokafka(self) -> dict[str, Any]:
        """Keyword arguments of an aiokafka consumer, producer or admin client. Raises OSError for an unreadable file."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if "SASL" in self.security_protocol:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_plain_username,
                "sasl_plain_password": _revealed(self.sasl_plain_password),
            }
        if "SSL" in self.security_protocol:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            context.check_hostname = self.ssl_check_hostname
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, _revealed(self.ssl_password))
            options["ssl_context"] = context
        return options

    def for_confluent(self) -> dict[str, Any]:
        """The same for librdkafka."""
        options: dict[str, Any] = {
            "log_level": 0,  # what fails is raised; librdkafka would repeat it 20 times a second
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism if "SASL" in self.security_protocol else None,
            "sasl.username": self.sasl_plain_username,
            "sasl.password": _revealed(self.sasl_plain_password),
            "ssl.ca.location": self.ssl_cafile and str(self.ssl_cafile),
            "ssl.certificate.location": self.ssl_certfile and str(self.ssl_certfile),
            "ssl.key.location": self.ssl_keyfile and str(self.ssl_keyfile),
            "ssl.key.password": _revealed(self.ssl_password),
            "ssl.endpoint.identification.algorithm": None if self.ssl_check_hostname else "none",
        }
        return {name: value for name, value in options.items() if value is not None}


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


class Settings(BaseSettings):
    """Validated settings; made by :func:`load`, or in tests by keyword, which reads neither environment nor file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )

    broker: Annotated[str, AfterValidator(_addresses)] = "kafka://127.0.0.1:9092"
    """Brokers to start from: HOST:PORT, with or without kafka://, several with commas."""
    prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{0,100}$")] = ""
    """Put before every topic's name."""
    group: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,100}$")] = "stream-twin"
    """Consumer group, and start of the lanes' transactional ids: one per installation."""
    partition_count: Annotated[int, Field(ge=1, le=1024)] = 16
    """Number of lanes: partitions of every topic. Once the topics are made, only `topics grow` changes it."""
    clock: Literal["wall", "stream"] = "wall"
    """Whose time it is: this machine's, or that of clock.ticks (a simulation or a replay)."""
    kafka_options: KafkaOptions = KafkaOptions()
    """SASL and TLS of the Kafka clients."""
    commit_every_s: Annotated[float, Field(ge=0.005, le=5)] = 0.02
    """Shortest time between two transactions of a lane; under load they stretch."""
    checkpoint_every_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Time between two checkpoints of a lane: how much log is read again after a crash."""
    session_timeout_s: Annotated[float, Field(ge=6, le=300)] = 6.0
    """After so much silence of a worker its lanes go to others."""
    cohorts: Annotated[str, Field(pattern=r"^[\w-]*(,[\w-]+)*$")] = "home,intensive_care"
    """Whose risk models are taught here, with commas; empty: none."""
    metrics_host: str = "127.0.0.1"
    """Address at which Prometheus finds the metrics."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """Its port; 0: any free one, which the log names."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged."""
    rules_file: Path | None = None
    """File of rule parameters for everybody, per population and per patient (docs/alerts.md): goes before lane.rules."""
    lane: Annotated[LaneSettings, from_table(LaneSettings)] = LaneSettings()
    """What a lane decides by; travels in its own log."""
    bounds: Annotated[Bounds, from_table(Bounds)] = Bounds()
    """What ingest accepts at most."""

    @property
    def cohort_names(self) -> list[str]:
        return [name for name in self.cohorts.split(",") if name]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # load() names the other sources, so that nothing is read from the side


class _Environment(EnvSettingsSource):
    def field_is_complex(self, field: FieldInfo) -> bool:
        return _struct_of(field) is not None or super().field_is_complex(field)


def _struct_of(field: FieldInfo) -> type[msgspec.Struct] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def load(config: Path | None = None, **options: Any) -> Settings:
    """Settings from ``options`` (None: not given), the environment, the file and the defaults, in this order.

    ``options`` may hold nested ones by a dotted name (``**{"lane.hold_unknown_s": "60"}``). Raises SettingsError.
    """
    file = _read(config or (Path(path) if (path := os.environ.get("STREAM_TWIN_CONFIG")) else None))
    given: dict[str, Any] = {}
    for dotted, value in options.items():
        if value is not None:
            _put(given, dotted.split("."), value)
    environment: dict[str, Any] = {}
    try:
        environment = _Environment(Settings)()
        return Settings(**merged(merged(file, environment), given))
    except ValidationError as error:
        sources = [("option", given), ("environment", environment), (f"file {config or ''}".strip(), file)]
        raise SettingsError("\n".join(_complaint(dict(one), sources) for one in error.errors())) from None
    except ValueError as error:  # text in the environment that should be JSON
        raise SettingsError(str(error)) from None


def unknown_environment() -> list[str]:
    """A sentence for each STREAM_TWIN_ variable that no setting reads. Not an error: Kubernetes makes some up."""
    known = {_variable(name) for name in Settings.model_fields}
    wrong = [
        name
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in NOT_SETTINGS and name.split("__")[0] not in known
    ]
    return [f"{name} is set but no setting reads it{suggestion(name, known)}" for name in wrong]


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings file {path}: {error}") from None


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _complaint(error: dict[str, Any], sources: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    path = [str(part) for part in error["loc"]]
    name = ".".join(path)
    source = next((label for label, values in sources if path[0] in values), "default")
    if error["type"] == "extra_forbidden":
        names = Settings.model_fields if len(path) == 1 else KafkaOptions.model_fields
        return f"{name} (from {source}): no such setting{suggestion(path[-1], names)}"
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if isinstance(error["input"], Mapping):  # a Struct: the message names the inner setting
        return f"{name}.{message} (from {source})"
    shown = "***" if "password" in name else repr(error["input"])
    return f"{name} = {shown} (from {source}): {message}"


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "__").upper()


# ----------------------------------------------------------------------------------------------- docs/settings.md


def _rows() -> list[tuple[str, str, str, str]]:
    """(name, default, allowed, meaning) of every setting."""
    rows = []
    for name, field in Settings.model_fields.items():
        if (kind := _struct_of(field)) is not None:
            rows += struct_rows(name, kind)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += [_row(f"{name}.{inner}", info) for inner, info in field.annotation.model_fields.items()]
        else:
            rows.append(_row(name, field))
    return rows


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    allowed = [type_name(field.annotation), *(bound for item in field.metadata for bound in bounds(item))]
    return name, shown(field.default), ", ".join(allowed), field.description or ""


def document() -> str:
    """The page ``docs/settings.md``."""
    lines = [
        "# Settings",
        "",
        "Every setting can be given as an option of `stream-twin worker`, as an environment variable, or in a TOML file named",
        "by `--config` or `STREAM_TWIN_CONFIG`; an option goes before the environment, the environment before the file. An",
        "option is the name with dashes (`--partition-count 8`). One with a dot is given by `--set`",
        "(`--set lane.hold_unknown_s=60`), in the environment with two underscores (`STREAM_TWIN_LANE__HOLD_UNKNOWN_S=60`), in",
        "the file as a table (`[lane]`). A table as a whole may be JSON.",
        "",
        "Written by `python -m stream_twin.settings`.",
        "",
        "| setting | default | allowed | meaning | environment |",
        "|---|---|---|---|---|",
    ]
    for name, default, allowed, meaning in _rows():
        cells = (f"`{name}`", f"`{default}`" if default else "", allowed, meaning, f"`{_variable(name)}`")
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    if "--check" in sys.argv[1:]:
        if not page.exists() or page.read_text(encoding="utf-8") != document():
            sys.exit(f"{page} is out of date: run python -m stream_twin.settings")
    else:
        page.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
