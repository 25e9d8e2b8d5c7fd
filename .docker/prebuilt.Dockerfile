# The same images from programs that were built outside; the context is a folder that holds just them. Needs no
# registry: `.docker/build-images` says where its DEBIAN comes from.
ARG DEBIAN=debian:bookworm-slim

FROM scratch AS server
COPY assay-server /assay-server
ENTRYPOINT ["/assay-server"]

FROM ${DEBIAN} AS harness
RUN apt-get update -q && apt-get install -qy --no-install-recommends iptables && rm -rf /var/lib/apt/lists/*
COPY assay /usr/local/bin/assay
ENTRYPOINT ["/usr/local/bin/assay"]
