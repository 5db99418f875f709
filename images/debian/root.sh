#!/bin/bash
# Makes a Debian root file system as one tar file.
#
#   root.sh RESULT.tar SUITE MIRROR COMPONENTS PACKAGES WITHOUT DEBS [KEYRING]
#
# COMPONENTS, PACKAGES and WITHOUT are separated by commas. WITHOUT names packages whose files are taken out again: they are needed to
# install the others and not to run them. DEBS is a folder that keeps downloaded packages for the next time. Must run as root
# and in mount and pid namespaces of its own: what debootstrap mounts then goes away with this process, however it ends.
set -euo pipefail
# The first process of a pid namespace gets no signal that it has no handler for.
trap 'exit 143' TERM INT

result=$1 suite=$2 mirror=$3 components=$4 packages=$5 without=$6 debs=$7 keyring=${8:-}

tree=$(mktemp -d "$(dirname "$result")/tree.XXXXXX")
# A build that is cut off starts again from nothing: dpkg need not wait for the disk after every file.
mkdir -p "$debs" "$tree/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io >"$tree/etc/dpkg/dpkg.cfg.d/unsafe-io"
debootstrap --variant=minbase --components="$components" --include="$packages" --cache-dir="$debs" \
  ${keyring:+--keyring="$keyring"} "$suite" "$tree" "$mirror" || {
  status=$?
  # debootstrap keeps the reason to its own log.
  tail -n 3 "$tree/debootstrap/debootstrap.log" >&2 2>/dev/null || true
  exit "$status"
}

cd "$tree"
# Nobody reads manuals in a node; licences stay.
find usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete
rm -rf usr/share/{man,info,locale,lintian,linda,doc-base,bash-completion} \
  var/cache/{apt,debconf,ldconfig}/* var/lib/apt/lists/* var/log/{apt,bootstrap.log,dpkg.log,alternatives.log} \
  var/cache/ldconfig etc/apt/sources.list etc/apt/apt.conf.d/*proxy* \
  etc/dpkg/dpkg.cfg.d/unsafe-io etc/machine-id etc/resolv.conf etc/hostname root/.wget-hsts
# Each node makes a machine id of its own; an empty file is what systemd takes for "not yet".
: >etc/machine-id

if [ -n "$without" ]; then
  for package in ${without//,/ }; do
    dpkg-query --admindir=var/lib/dpkg --listfiles "$package" | while read -r path; do
      # Folders are shared, and so are the links that stand for folders (/bin).
      [ -d ".$path" ] || rm -f ".$path"
    done
  done
  # Nothing will be installed any more: what packages consist of is known to nobody.
  rm -rf var/lib/dpkg/info usr/share/zoneinfo usr/lib/*/gconv usr/lib/*/perl-base usr/share/perl5 usr/lib/apt
  # What is left must still do its work.
  chroot . sh -ec 'for tool in curl jq; do ! command -v $tool >/dev/null || $tool --version >/dev/null; done; sed --version >/dev/null'
fi

# Container engines provide these three.
tar --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --numeric-owner --sort=name -cf "$result" .
cd /
rm -rf --one-file-system "$tree"
