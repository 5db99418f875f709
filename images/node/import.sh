#!/bin/bash
# Puts the images of an archive on standard input into the node's containerd and leaves nothing of the build behind; runs inside a
# container of the node.
set -euo pipefail
log=/build/containerd.log

containerd >"$log" 2>&1 &
daemon=$!
for ((n = 0; ; n++)); do
  ctr version >/dev/null 2>&1 && break
  if [ $n -ge 150 ] || ! kill -0 $daemon 2>/dev/null; then
    echo "containerd did not start: $(tail -n 1 "$log")" >&2
    exit 1
  fi
  sleep 0.2
done

# Not unpacked: the store lies on an overlay while the image is built. A node has a volume there and unpacks at first use.
ctr -n k8s.io images import --no-unpack -
ctr -n k8s.io images list -q

kill $daemon
wait $daemon || true
rm -rf /build /run/containerd /tmp/*
