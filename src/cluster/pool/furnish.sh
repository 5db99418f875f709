# Runs in a pool node: what would otherwise be unpacked while pods wait is unpacked now. Prints those of the images $@ that are not to be had
# from the archives of the mounted folder $1.
set -eu
from=$1
shift
cri() { ctr --namespace=k8s.io "$@"; }
missing() {
  have=$(cri images ls -q)
  for image in "$@"; do printf '%s\n' "$have" | grep -qxF -e "$image" || echo "$image"; done
}

# What Kubernetes itself starts on every node.
for manifest in $(cri images ls | awk '$1 ~ "/(kube-proxy|pause):" { print $3 }'); do cri snapshots unpack "$manifest" >/dev/null; done
if [ -n "$(missing "$@")" ]; then
  # Where the engine does not see this machine's files, such as in a virtual machine, the folder is empty.
  for archive in "$from"/*.tar; do [ ! -s "$archive" ] || cri images import "$archive" >/dev/null; done
fi
missing "$@"
