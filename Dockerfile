# deputy as an image: docker build --build-arg REVISION="$(git rev-parse HEAD)" -t deputy .
# docs/operate/image.md tells how to build, check and run it; test/image/ builds and runs it at each change.

# The one base, for building alone: what runs is begun from nothing, so it has the very Node that compiled its cache, and
# no shell and no package manager by construction. A tag, because a digest is only known where the image is pulled: name
# yours with --build-arg NODE_IMAGE=node@sha256:… (any Debian with Node 24.12 or newer at /usr/local/bin/node).
ARG NODE_IMAGE=node:26.10.0-trixie-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /opt/deputy-proxy
COPY package.json package-lock.json .npmrc ./
COPY bin/sbom.js ./bin/
# The lock alone says what is installed; nothing of it runs while it is. A mirror is named in a secret .npmrc. What Node
# cannot load is left out: it strips no types below node_modules.
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci --omit=dev --ignore-scripts \
    && npm run --silent sbom > sbom.cdx.json \
    && find node_modules -type f \( -name '*.map' -o -name '*.ts' -o -name '*.mts' -o -name '*.cts' \) -delete
# Node's own libraries, with Debian's words on their packages for scanners and their licences for people. Node's binary may
# be run but not read: the kernel then writes no core of it and lets no process of its user look into its memory.
RUN set -eu; \
    mkdir -p /root.new/usr/local/bin /root.new/etc/deputy /root.new/var/lib/dpkg/status.d /state/deputy; \
    install -m 0111 /usr/local/bin/node /root.new/usr/local/bin/node; \
    ldd /usr/local/bin/node > /tmp/linked; \
    grep -o '/[^ ]*' /tmp/linked > /tmp/files; \
    while read -r file; do \
      cp -L --parents "$file" /root.new; \
      { dpkg-query -S "$file" || dpkg-query -S "/usr$file"; } 2> /dev/null >> /tmp/owners; \
    done < /tmp/files; \
    sed -n -i 's/^\([a-z0-9.+-]*\):.*/\1/p' /tmp/owners; \
    sort -u -o /tmp/owners /tmp/owners; \
    while read -r package; do \
      dpkg-query -s "$package" > "/root.new/var/lib/dpkg/status.d/$package"; \
      cp -L --parents "/usr/share/doc/$package/copyright" /root.new; \
    done < /tmp/owners; \
    test -s /root.new/var/lib/dpkg/status.d/libc6; \
    printf '#!/usr/local/bin/node --disable-sigusr1\nrequire("/opt/deputy-proxy/bin/deputy.js")\n' > /root.new/usr/local/bin/deputy; \
    chmod 0555 /root.new/usr/local/bin/deputy; \
    printf 'root:x:0:0:root:/:/none\ndeputy:x:65532:65532:deputy:/var/lib/deputy:/none\n' > /root.new/etc/passwd; \
    printf 'root:x:0:\ndeputy:x:65532:\n' > /root.new/etc/group; \
    printf 'hosts: files dns\n' > /root.new/etc/nsswitch.conf; \
    chmod 0700 /state/deputy
COPY LICENSE ./
COPY providers ./providers
COPY policies ./policies
COPY bin ./bin
COPY proxy ./proxy
# Whoever cloned with another umask builds the same image.
RUN chmod -R a=rX . && install -d -o 65532 -g 65532 .cache
# Compiled code is kept under the uid that reads it, so that user makes it, by the flags that it will run with; the image
# then gives it to root. Its first start is here: an image whose deputy does not serve is not built.
USER 65532:65532
RUN ["/usr/local/bin/node", "--disable-sigusr1", "--no-addons", "--max-semi-space-size=4", "bin/warm.js"]
# hadolint ignore=DL3002
USER 0
RUN chmod -R a=rX .cache && rm -r .npmrc package-lock.json bin/sbom.js bin/warm.js node_modules/.bin

FROM scratch
ARG SOURCE=""
ARG REVISION=""
ARG VERSION="0.1.0"
ARG LICENCES="Apache-2.0"
LABEL org.opencontainers.image.title="deputy" \
      org.opencontainers.image.description="A policy-enforcing proxy that lets an AI agent act in its user's stead without ever holding the user's credentials" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="${LICENCES}"
COPY --from=build --chown=0:0 /root.new/ /
COPY --from=build --chown=0:0 /opt/deputy-proxy/ /opt/deputy-proxy/
# The one folder that deputy writes to, where no volume is mounted there. No VOLUME: state must not vanish with a container
# because nobody thought of it; with a read-only root and no volume deputy says so and does not start.
COPY --from=build --chown=65532:65532 /state/ /var/lib/
ENV NODE_ENV=production \
    DEPUTY_CONFIG=/etc/deputy/deputy.yaml \
    MALLOC_ARENA_MAX=1
WORKDIR /var/lib/deputy
USER 65532:65532
EXPOSE 7410 7411 7412
# Three quarters of what the container may have; a young generation that fits a sidecar. No HEALTHCHECK: orchestrators
# ask /livez and /readyz, others run `deputy healthz`.
ENTRYPOINT ["/usr/local/bin/node", "--disable-sigusr1", "--no-addons", "--max-semi-space-size=4", "--max-old-space-size-percentage=75", "/opt/deputy-proxy/bin/deputy.js"]
CMD ["serve"]
