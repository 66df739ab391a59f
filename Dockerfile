FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY stream_twin stream_twin
RUN python -m venv /opt/stream-twin && /opt/stream-twin/bin/pip install --no-cache-dir --constraint requirements.lock .
# Compiles the filter into the image: where the service runs, the file system may be read-only.
RUN /opt/stream-twin/bin/python -c "from stream_twin import signals; from stream_twin.twin import kernel, tracks; tracks.Tracks(kernel.Parameters.of(list(signals.load().signals.values())))"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/stream-twin /opt/stream-twin
RUN useradd --system --uid 10001 stream-twin
USER stream-twin
ENTRYPOINT ["/opt/stream-twin/bin/stream-twin"]
CMD ["worker"]
