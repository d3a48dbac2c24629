#!/usr/bin/env bash
# The base of the Dockerfile where no registry of images can be reached: a Debian of its own packages (mmdebstrap), npm's
# package of Node, and npm. usage: stand-in.sh NODE_BINARY FOLDER IMAGE; FOLDER keeps what was made for the next time.
set -euo pipefail
node=$1 folder=$2 image=$3
suite=trixie
npm=11.19.1
mkdir -p "$folder"
debian="$folder/debian-$suite.tar"
if [ ! -f "$debian" ]; then
  rm -rf "$debian" "$debian.new"
  mmdebstrap --quiet --format=tar --variant=essential --include=libatomic1,libstdc++6 --aptopt='APT::Sandbox::User "root"' \
    "$suite" "$debian.new"
  mv "$debian.new" "$debian"
fi
[ -s "$folder/npm-$npm.tgz" ] || (cd "$folder" && npm pack --silent "npm@$npm" >/dev/null)
container=$(buildah from scratch)
trap 'buildah rm "$container" >/dev/null' EXIT
root=$(buildah mount "$container")
tar xf "$debian" -C "$root" --exclude './dev/*'
install -D -m 0755 "$node" "$root/usr/local/bin/node"
mkdir -p "$root/usr/local/lib/node_modules/npm"
tar xzf "$folder/npm-$npm.tgz" --strip-components=1 -C "$root/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
# What this machine trusts, where it has a proxy of its own before the registry of packages.
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
buildah config --env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
  --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$container"
buildah commit --quiet "$container" "$image" >/dev/null
