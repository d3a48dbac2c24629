#!/bin/sh
# vault.kms for a key in an HSM, by PKCS#11 (OpenSC's pkcs11-tool, openssl): RSA-OAEP, whose private half never leaves.
# Asked by deputy as docs/operate/kms.md says; it sees these variables and no others of deputy's environment.
#   DEPUTY_KMS_MODULE  the PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so
#   DEPUTY_KMS_TOKEN   label of the token       DEPUTY_KMS_KEY  id of the key pair, hex (default: 01)
#   DEPUTY_KMS_PIN     a file that holds the PIN, readable by deputy's user alone
set -eu
umask 077
: "${DEPUTY_KMS_MODULE:?}" "${DEPUTY_KMS_TOKEN:?}" "${DEPUTY_KMS_PIN:?}"
id=${DEPUTY_KMS_KEY:-01}
# SoftHSM alone: where its tokens are.
[ -z "${DEPUTY_KMS_SOFTHSM2_CONF:-}" ] || export SOFTHSM2_CONF="$DEPUTY_KMS_SOFTHSM2_CONF"

read -r name version verb
[ "$name $version" = 'deputy-kms 1' ] || { echo "speaks deputy-kms 1 only, not $name $version" >&2; exit 2; }
read -r question
# Values are base64 and names of keys: no quote stands in them.
member() { printf '%s' "$question" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# Of what lies here for a moment nothing is a key in the clear.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
token() { pkcs11-tool --module "$DEPUTY_KMS_MODULE" --token-label "$DEPUTY_KMS_TOKEN" --id "$id" "$@" 2>>"$work/said"; }
# $1: the member of the answer, $2: its value; nothing: it failed, and what was said is told.
answer() {
  [ -n "$2" ] || { cat "$work/said" >&2; exit 1; }
  printf '{"%s":"%s"}\n' "$1" "$2"
}

case $verb in
wrap)
  token --read-object --type pubkey --output-file "$work/public.der" >&2 || answer wrapped ''
  answer wrapped "$(member key | base64 -d | openssl pkeyutl -encrypt -pubin -keyform DER -inkey "$work/public.der" \
    -pkeyopt rsa_padding_mode:oaep 2>>"$work/said" | base64 -w0)"
  ;;
unwrap)
  member wrapped | base64 -d >"$work/wrapped"
  PIN=$(cat "$DEPUTY_KMS_PIN")
  export PIN
  answer key "$(token --login --pin env:PIN --decrypt --mechanism RSA-PKCS-OAEP --hash-algorithm SHA-1 \
    --input-file "$work/wrapped" | base64 -w0)"
  ;;
*)
  echo "knows wrap and unwrap, not $verb" >&2
  exit 2
  ;;
esac
