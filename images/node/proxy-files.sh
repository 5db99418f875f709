#!/bin/bash
# Prints, as a tar file, what kube-proxy needs beside itself: iptables with every one of its modules and every library that those need.
#
# A module whose library is missing does not load, and then every sync of kube-proxy fails: Services with endpoints silently do not work.
# Therefore the set is computed, tried in a root of its own, and only then printed. Runs inside a container of the node.
set -euo pipefail

# A path and, where it is a link, everything it leads through. Folders that are links themselves (/lib) are resolved.
with_links() {
  local path=$1 dir
  while :; do
    dir=$(realpath "$(dirname "$path")")
    path=$dir/$(basename "$path")
    echo "${path#/}"
    [ -L "$path" ] || return 0
    path=$(readlink "$path")
    case $path in /*) ;; *) path=$dir/$path ;; esac
  done
}

programs="$(command -v xtables-legacy-multi) $(command -v xtables-nft-multi) $(command -v conntrack) $(command -v kmod)"
modules=$(find /usr/lib/*/xtables -name '*.so')
names=$(find /usr/sbin -name 'ip*tables*' -o -name modprobe)
# shellcheck disable=SC2086 # lists of words
libraries=$(ldd $programs $modules 2>/dev/null | grep -o '/[^ :]*' | sort -u)

list=$(mktemp)
{
  for path in $programs $modules $names $libraries; do with_links "$path"; done
  for link in bin sbin lib lib64; do [ ! -L "/$link" ] || echo "$link"; done
  printf '%s\n' etc/passwd etc/group etc/protocols etc/services run tmp
} | while read -r path; do [ ! -e "/$path" ] && [ ! -L "/$path" ] || echo "$path"; done | sort -u >"$list"

trial=$(mktemp -d)
tar -C / --no-recursion --numeric-owner --mtime=@0 -c -T "$list" | tar -C "$trial" -x
for module in statistic comment conntrack mark addrtype; do
  chroot "$trial" iptables -m "$module" --help >/dev/null || {
    echo "iptables cannot load its module $module from the collected files" >&2
    exit 1
  }
done
rm -rf "$trial"
tar -C / --no-recursion --numeric-owner --mtime=@0 -c -T "$list"
