#!/bin/bash
# Keeps this node's CNI configuration at the pod CIDR that its Node object has.
#
# A Node that is deleted and registers again may get another CIDR. While there is none, there is no configuration either: the kubelet
# reports the network as not ready and no pod gets an address of somebody else.
set -euo pipefail

config=/etc/cni/net.d/10-rekindle.conflist
kubeconfig=/etc/kubernetes/kubelet.conf
ca=/etc/kubernetes/pki/ca.crt
identity=/var/lib/kubelet/pki/kubelet-client-current.pem
mkdir -p "$(dirname "$config")"

write() {
  local cidr=$1 mtu
  mtu=$(cat /sys/class/net/eth0/mtu 2>/dev/null || echo 1500)
  # Written beside it and renamed: containerd reads the folder whenever something changes in it.
  jq -n --arg cidr "$cidr" --argjson mtu "$mtu" '{cniVersion: "0.4.0", name: "rekindle", plugins: [
    {type: "ptp", ipMasq: true, mtu: $mtu,
     ipam: {type: "host-local", dataDir: "/run/cni-ipam", ranges: [[{subnet: $cidr}]], routes: [{dst: "0.0.0.0/0"}]}},
    {type: "portmap", capabilities: {portMappings: true}}]}' >"$config.new"
  mv "$config.new" "$config"
  echo "pods of this node get addresses of $cidr"
}

# One stream instead of a poll: it costs nothing while nothing changes. It ends when the server ends it; then it is opened again.
while sleep 0.2; do
  [ -s "$kubeconfig" ] && [ -s "$identity" ] && [ -s "$ca" ] || continue
  server=$(sed -n 's/^ *server: *//p' "$kubeconfig" | head -n 1)
  node=$(hostname)
  { curl -sfN --connect-timeout 5 --cacert "$ca" --cert "$identity" --key "$identity" \
    "$server/api/v1/nodes?watch=true&fieldSelector=metadata.name%3D${node,,}" || true; } |
    jq --unbuffered -r '"\(.type) \(.object.spec.podCIDR // "")"' |
    while read -r event cidr; do
      case $event in
        DELETED) rm -f "$config" ;;
        ADDED | MODIFIED) [ -z "$cidr" ] || grep -qsF "\"$cidr\"" "$config" || write "$cidr" ;;
      esac
    done || true
done
