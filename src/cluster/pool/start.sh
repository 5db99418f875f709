# Runs in a pool node that is cold: $1 are the labels and $2 the taints with which its kubelet registers it.
set -eu
given=$(sed -n 's/^KUBELET_EXTRA_ARGS=//p' /etc/default/kubelet | tail -n 1)
given=${given#[\"\']} given=${given%[\"\']}
printf 'KUBELET_EXTRA_ARGS="%s --node-labels=%s --register-with-taints=%s"\n' "$given" "$1" "$2" >/etc/default/kubelet-pool
systemctl start kubelet
