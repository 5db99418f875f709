# Runs in a pool node and returns when Services answer there, which kube-proxy sees to: $1 is the address of the API server's own.
tries=0
until curl --insecure --silent --output /dev/null --connect-timeout 0.15 --max-time 2 "https://$1/livez"; do
  tries=$((tries + 1))
  if [ $tries -ge 80 ]; then
    echo "kube-proxy has not come up: the Service at $1 does not answer" >&2
    exit 1
  fi
  sleep 0.05
done
