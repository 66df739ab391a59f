FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY stream_twin stream_twin
RUN python -m venv /opt/stream-twin && /opt/stream-twin/bin/pip install --no-cache-dir --constraint requirements.lock .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/stream-twin /opt/stream-twin
RUN useradd --system --uid 10001 stream-twin
USER stream-twin
ENTRYPOINT ["/opt/stream-twin/bin/stream-twin"]
CMD ["worker"]
