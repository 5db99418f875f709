#!/bin/bash
# Turns a Debian root file system into a kind node; runs inside a container of it.
#
#   configure.sh KUBERNETES_VERSION PAUSE_IMAGE
#
# /build/kind holds the files of kind's own base image, /build/node ours. What kind's Dockerfile does with its files is done here too,
# so that kind finds what it looks for.
set -euo pipefail
version=$1 pause=$2
from=/build/kind ours=/build/node

install -d /kind/bin /kind/manifests /etc/containerd /etc/kubernetes/manifests /opt/cni/bin /LICENSES
install -m 755 "$from"/usr/local/bin/* /usr/local/bin/
install -m 755 "$from"/kind/bin/* /kind/bin/
install -m 644 "$from"/etc/crictl.yaml /etc/
install -m 644 "$from"/etc/default/* /etc/default/
install -m 644 "$from"/etc/sysctl.d/* /etc/sysctl.d/
cp -r --no-preserve=mode,ownership "$from"/etc/systemd/system/. /etc/systemd/system/

# Hosts that cannot lower oom_score_adj would not start a single pod; the pause image must be one that is there.
sed -e 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' -e "s#sandbox_image = .*#sandbox_image = \"$pause\"#" \
  "$from"/etc/containerd/config.toml >/etc/containerd/config.toml
grep -q 'restrict_oom_score_adj = true' /etc/containerd/config.toml
grep -q "sandbox_image = \"$pause\"" /etc/containerd/config.toml

# kind's units name the places of its own build of containerd.
ln -sf /usr/bin/containerd /usr/local/bin/containerd
cp -a /usr/lib/cni/* /opt/cni/bin/
printf '%s' "$version" >/kind/version

install -m 644 "$ours"/manifests/*.yaml /kind/manifests/
install -m 755 "$ours"/follow-pod-cidr.sh /kind/bin/follow-pod-cidr
install -m 644 "$ours"/follow-pod-cidr.service /etc/systemd/system/

# A node is no machine: nothing that mounts, probes or logs the host's hardware.
find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* /lib/systemd/system/local-fs.target.wants/* \
  /lib/systemd/system/sockets.target.wants/*{udev,initctl}* /lib/systemd/system/basic.target.wants/*
echo ReadKMsg=no >>/etc/systemd/journald.conf
systemctl enable kubelet containerd undo-mount-hacks follow-pod-cidr
# It would register interpreters with the host's kernel.
systemctl mask systemd-binfmt

ctr oci spec |
  jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' >/etc/containerd/cri-base.json
