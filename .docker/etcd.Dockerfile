# Real etcd as Debian packages it, with nothing of ours in it. The context may be empty.
ARG DEBIAN=debian:bookworm-slim
FROM ${DEBIAN}
RUN apt-get update -q && apt-get install -qy --no-install-recommends etcd-server && rm -rf /var/lib/apt/lists/*
CMD ["etcd"]
