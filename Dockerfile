# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin pixel-relay \
    && install -D target/release/pixel-relay /image/usr/local/bin/pixel-relay \
    && install -d -o 65532 -g 65532 /image/etc/pixel-relay \
    && install -d -o 65532 -g 65532 -m 700 /image/var/lib/pixel-relay

# glibc, libgcc, a CA bundle and a user without privileges; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/ /
USER 65532:65532
WORKDIR /var/lib/pixel-relay
ENV PIXEL_RELAY__QUEUE__PATH=/var/lib/pixel-relay
VOLUME /var/lib/pixel-relay
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/pixel-relay", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/pixel-relay"]
CMD ["run"]
