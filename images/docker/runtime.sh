#!/bin/sh
# OCI runtime for a host whose capability bounding set lacks something: what nobody can have is taken out of what the container asks
# for, then the real runtime runs. Without this a privileged container fails with "unable to apply caps".
missing='@MISSING@'
runtime='@RUNTIME@'

# Only the lists in "capabilities" are touched, never a word of the command line that happens to read the same. -z: the whole file is
# one line. First and middle, last, only: one substitution for each place in a list, repeated until none is left.
without_missing() {
  for capability in $missing; do
    set -- "$@" -e ":$capability" \
      -e 's/("capabilities"[[:space:]]*:[[:space:]]*\{[^{}]*)"'"$capability"'"[[:space:]]*,[[:space:]]*/\1/' \
      -e 's/("capabilities"[[:space:]]*:[[:space:]]*\{[^{}]*),[[:space:]]*"'"$capability"'"/\1/' \
      -e 's/("capabilities"[[:space:]]*:[[:space:]]*\{[^{}]*\[[[:space:]]*)"'"$capability"'"([[:space:]]*\])/\1\2/' \
      -e "t$capability"
  done
  file=$1
  shift
  [ ! -f "$file" ] || sed -E -z -i "$@" "$file"
}

previous=
for argument in "$@"; do
  case $previous in
    --bundle | -b) without_missing "$argument/config.json" ;;
    --process | -p) without_missing "$argument" ;;
  esac
  case $argument in
    --bundle=*) without_missing "${argument#--bundle=}/config.json" ;;
    --process=*) without_missing "${argument#--process=}" ;;
  esac
  previous=$argument
done
exec "$runtime" "$@"
