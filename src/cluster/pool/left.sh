# Runs in a pool node and prints what keeps it from being a machine that does not exist yet, a thing a line.
! systemctl is-active --quiet kubelet || echo 'its kubelet runs'
! systemctl is-enabled --quiet kubelet 2>/dev/null || echo 'its kubelet would start by itself'
tasks=$(ctr --namespace=k8s.io tasks ls -q) && containers=$(ctr --namespace=k8s.io containers ls -q) || echo 'its containerd does not answer'
[ -z "$tasks$containers" ] || echo "it has $(printf '%s\n' "$containers" | grep -c .) containers"
[ -z "$(ls /var/lib/kubelet/pods 2>/dev/null)" ] || echo 'it has volumes of pods'
[ -z "$(ls /etc/cni/net.d 2>/dev/null)" ] || echo 'its pod network is configured'
