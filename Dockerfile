# The one binary, `chartlift`, in an image of its own; `docker-compose.yml` runs it as
# `api`, `worker` and `migrate`.

FROM rust:1.95.0-bookworm AS build
# The image's own toolchain is the one of rust-toolchain.toml.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package chartlift \
    && cp target/release/chartlift /chartlift

FROM debian:12.12-slim
# Servers are trusted by the system's certificates.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --create-home \
        --home-dir /var/lib/chartlift chartlift
COPY --from=build /chartlift /usr/local/bin/chartlift
USER 10001:10001
WORKDIR /var/lib/chartlift
ENV CHARTLIFT_DATA__DIR=/var/lib/chartlift
EXPOSE 8080
ENTRYPOINT ["chartlift"]
CMD ["up"]
