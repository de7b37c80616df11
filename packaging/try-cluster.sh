#!/usr/bin/env bash
# Starts two Elasticsearch APIs, two Fleet Servers and a console over an OpenSearch or Elasticsearch that is running, on this
# machine, to try such a set out. Ctrl-C stops them; kill one of them by its FOLDER/*.pid to see the others go on. Usage:
#   [API_PORTS="9201 9202" FLEET_PORTS="8221 8222" CONSOLE_PORT=5601] FLOTILLA=./flotilla \
#   STORE="https://node1:9200 https://node2:9200" STORE_CA=ca.crt STORE_USER=admin STORE_PASSWORD=.. try-cluster.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,6p' "$0"; exit 2; }
flotilla=${FLOTILLA:-flotilla}
read -ra nodes <<<"${STORE:-https://127.0.0.1:9200}"
store_ca=$(realpath "${STORE_CA:?the CA file of the OpenSearch or Elasticsearch}")
: "${STORE_USER:?its administrator: admin or elastic}" "${STORE_PASSWORD:?the password of that user}"
export STORE_PASSWORD STORE_USER
read -ra api_ports <<<"${API_PORTS:-9201 9202}"
read -ra fleet_ports <<<"${FLEET_PORTS:-8221 8222}"
console_port=${CONSOLE_PORT:-5601}
umask 077
mkdir -p "$1"
folder=$(realpath "$1")
cd "$folder"

if [ ! -f ca/ca.crt ]; then
  "$flotilla" certutil ca --pem --silent --out "$folder/ca.zip"
  unzip -q ca.zip
  "$flotilla" certutil cert --pem --silent --name node --dns localhost --ip 127.0.0.1 \
    --ca-cert ca/ca.crt --ca-key ca/ca.key --out "$folder/node.zip"
  unzip -q node.zip
  # Agents that know the CA by its fingerprint must be shown it.
  cat node/node.crt ca/ca.crt >node/chain.crt
fi
[ -f elastic-password ] || head -c 24 /dev/urandom | base64 | tr '+/' 'ab' >elastic-password
fingerprint=$(openssl x509 -in ca/ca.crt -outform der | sha256sum | cut -d' ' -f1)

configuration() { # FILE WHAT-IS-ITS-OWN
  cat >"$1" <<YML
output.elasticsearch:
  hosts: [$(printf '"%s",' "${nodes[@]}")]
  username: "\${STORE_USER}"
  password: "\${STORE_PASSWORD}"
  ssl.certificate_authorities: ["$store_ca"]
$2
YML
}
pair="{certificate: $folder/node/chain.crt, key: $folder/node/node.key}"
# Shippers may show a certificate in place of a key; its common name is the user's.
either="{certificate: $folder/node/chain.crt, key: $folder/node/node.key, certificate_authorities: [$folder/ca/ca.crt], client_authentication: optional}"

pids=()
stop() { trap - EXIT INT TERM; kill "${pids[@]}" 2>/dev/null || true; wait; }
trap stop EXIT
trap 'exit 0' INT TERM
start() { # NAME ARGUMENTS..
  local name=$1; shift
  "$flotilla" "$@" >>"$name.log" 2>&1 &
  pids+=($!)
  echo $! >"$name.pid"
}
until_answers() { # URL
  for _ in $(seq 120); do curl -s -o /dev/null --cacert ca/ca.crt "$1" && return; sleep 0.5; done
  echo "$1 does not answer; see $folder/*.log" >&2; exit 1
}

for port in "${api_ports[@]}"; do
  configuration "api-$port.yml" "elastic_password_path: $folder/elastic-password
elasticsearch-api: {host: 127.0.0.1, port: $port, ssl: $either}"
  start "api-$port" elasticsearch-api -c "api-$port.yml"
  until_answers "https://127.0.0.1:$port"
done
configuration console.yml "console:
  host: 127.0.0.1
  port: $console_port
  ssl: $pair
  fleet_server_urls: [$(printf '"https://127.0.0.1:%s",' "${fleet_ports[@]}")]
  elasticsearch_urls: [$(printf '"https://127.0.0.1:%s",' "${api_ports[@]}")]
  console_urls: [\"https://127.0.0.1:$console_port\"]
  ca_trusted_fingerprint: $fingerprint
  fleet_server_ssl: {certificate_authorities: [$folder/ca/ca.crt]}"
start console console -c console.yml
until_answers "https://127.0.0.1:$console_port"
for port in "${fleet_ports[@]}"; do
  configuration "fleet-$port.yml" "inputs:
  - type: fleet-server
    server: {host: 127.0.0.1, port: $port, ssl: $pair}"
  start "fleet-$port" fleet-server -c "fleet-$port.yml"
  until_answers "https://127.0.0.1:$port/api/status"
done

echo "console   https://127.0.0.1:$console_port   user elastic, password in $folder/elastic-password"
printf 'API       https://127.0.0.1:%s\n' "${api_ports[@]}"
printf 'fleet     https://127.0.0.1:%s\n' "${fleet_ports[@]}"
echo "CA        $folder/ca/ca.crt; logs in $folder/*.log; Ctrl-C stops all"
wait
