#!/bin/sh
# sh tls_echo.sh <22_tls_echo>
# Makes a certificate, starts the example, and talks with it by openssl s_client.
set -eu

command -v openssl >/dev/null || exit 77
folder=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$folder/key.pem" \
  -out "$folder/cert.pem" -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
"$1" "$folder/cert.pem" "$folder/key.pem" >"$folder/output" &
server=$!
tries=0
until grep -q '^port ' "$folder/output"; do
  tries=$((tries + 1))
  if [ $tries -gt 200 ] || ! kill -0 "$server" 2>/dev/null; then
    echo "the server did not start:" && cat "$folder/output"
    exit 1
  fi
  sleep 0.05
done
port=$(sed -n 's/^port //p' "$folder/output")

answer=$(printf 'from s_client\nstop\n' | timeout 20 openssl s_client -quiet -connect "127.0.0.1:$port" \
  -servername localhost -verify_hostname localhost -CAfile "$folder/cert.pem" -verify_return_error 2>/dev/null)
wait "$server"
server=

sed -i '/^port /d' "$folder/output"
printf '%s\n' "answer: hello" \
  "TLS handshake with another.example: hostname mismatch: certificate verify failed" "stopped" >"$folder/expected"
diff -u "$folder/expected" "$folder/output"
[ "$answer" = "from s_client" ] || { echo "s_client got: $answer"; exit 1; }
echo "s_client got its line back"
