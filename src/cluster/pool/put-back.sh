# Runs in a pool node and makes it a machine that does not exist yet: no kubelet, no containers, and nothing of what ran there before.
# Images stay, as in the image that a new machine boots from. May be run again at any time.
set -eu
cri() { ctr --namespace=k8s.io "$@"; }

# What a start gives the kubelet besides; and a node that Docker restarts stays as it is.
drop_in=/etc/systemd/system/kubelet.service.d/90-rekindle-pool.conf
mkdir -p "${drop_in%/*}"
printf '[Service]\nEnvironmentFile=-/etc/default/kubelet-pool\n' >"$drop_in"
systemctl disable --now kubelet 2>/dev/null
rm -f /etc/default/kubelet-pool

# By their group, so that it does not matter what they share with the node; ctr's own way to kill all of a task's waits for ever here.
until [ -z "$(grep -ls kubepods /proc/[0-9]*/cgroup)" ]; do
  for of in $(grep -ls kubepods /proc/[0-9]*/cgroup); do
    pid=${of#/proc/}
    kill -KILL "${pid%/cgroup}" 2>/dev/null || :
  done
  sleep 0.05
done
until cri version >/dev/null 2>&1; do sleep 0.1; done
until [ -z "$(cri tasks ls -q)" ]; do
  # Most go by themselves when their process does.
  for id in $(cri tasks ls -q); do
    cri tasks delete "$id" >/dev/null 2>&1 && continue
    # One that was being made when its container was deleted is nobody's any more; it goes when its shim does.
    cri containers info "$id" >/dev/null 2>&1 || pkill -KILL -f "containerd-shim.* -id $id " || :
  done
  sleep 0.05
done
for id in $(cri containers ls -q); do cri containers delete "$id"; done
# What containerd's kubelet side remembers is made of what is stored, at its start.
systemctl restart containerd

# The longest paths first: a mount may hold another one.
awk '$2 ~ "^(/var/lib/kubelet/pods|/run/netns|/var/run/netns|/run/containerd)/" { print $2 }' /proc/mounts | sort -r |
  while read -r path; do umount "$path" || :; done
rm -rf --one-file-system /var/lib/kubelet/pods/* /run/netns/cni-* /run/cni-ipam /var/lib/cni/* /var/log/pods/* /var/log/containers/*
rm -f /etc/cni/net.d/*

# kube-proxy's and the pods' rules; Docker's own ones, by which the node finds its API server, stay.
for family in iptables ip6tables; do
  "$family-save" | grep -vE '(KUBE|CNI)-' | "$family-restore"
done
